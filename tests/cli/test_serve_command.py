"""``ilastik-lazy serve``: what it prints, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import zarr

from ilastik_lazy.demo import sample
from tests.support.children import run_command


def test_serve_prints_addresses_and_ends_with_ctrl_c():
    # A test run in the background has its children ignore Ctrl-C.
    code = "import signal; signal.signal(2, signal.default_int_handler); from ilastik_lazy.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", sample("probabilities"), sample("raw")]
    command += ["--labels", sample("segmentation")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()
        text = "".join(lines)
        urls = re.findall(r"http://\S+", text)
        port = re.search(r":(\d+)/", urls[0])
        assert port is not None
        assert f"ssh -L {port[1]}:127.0.0.1:{port[1]} " in text
        assert "probabilities, float32, z 40  y 128  x 160  c 2; 1 level, gzip chunks are sent as they are" in text
        assert "labels/nuclei_Simple_Segmentation: " in text
        shapes = [zarr.open_group(url, mode="r")["scale0/image"].shape for url in urls]
        assert shapes == [(2, 40, 128, 160)] * 2 + [(40, 128, 160)] * 2
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert errors.strip() == "ilastik-lazy: no longer served"


def test_serve_names_what_is_wrong_and_how_to_go_on():
    for arguments, words in {
        (sample("project"),): "is a project, and no image is embedded in it",
        (sample("raw"), "--labels", sample("probabilities")): "--labels: ",
        (sample("raw"), "--host", "1.2.3.4"): "--host 1.2.3.4",
        (sample("raw"), "--port", "99999"): "99999 is not in the range",
        (): "Missing argument 'FILE...'",
    }.items():
        found = run_command("serve", *arguments)
        assert found.returncode == 2, found
        assert words in found.stderr
        assert "Traceback" not in found.stderr
