"""The page and its servers: what is there while a view is open, and that nothing is left of it."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, MissingExtraError
from ilastik_lazy.viewing.neuroglancer import page as pages

neuroglancer = pytest.importorskip("neuroglancer", reason="pip install 'ilastik_lazy[view]'")


def fetched(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "ilastik_lazy" in name or "_run_server" in name], names
    assert not neuroglancer.is_server_running()


def test_a_page_and_its_voxels_are_there_until_it_is_closed():
    with il.view(sample("raw"), open_browser=False) as view:
        assert b"neuroglancer" in fetched(view.url).lower()
        (layer,) = view.viewer.state.layers
        address = layer.source[0].url.removeprefix("zarr3://")
        served = zarr.open_group(address, mode="r")["scale0/image"]
        np.testing.assert_array_equal(served[5], il.open_dataarray(sample("raw"))[5])
        assert view.url in view._repr_html_()
        url = view.url
    view.close()
    for gone in (url, f"{address}zarr.json"):
        with pytest.raises(urllib.error.URLError):
            fetched(gone)


def test_the_names_of_classes_are_served():
    segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    with il.view(segmentation, open_browser=False) as view:
        place = view.viewer.state.layers[0].source[1].url.removeprefix("precomputed://")
        (names,) = json.loads(fetched(f"{place}/info"))["inline"]["properties"]
        assert names["values"] == ["nucleus", "background"]


def test_several_views_and_those_of_others_do_not_end_each_other():
    theirs = neuroglancer.Viewer()
    with il.view(sample("raw"), open_browser=False) as one, il.view(sample("raw"), open_browser=False) as other:
        one.close()
        fetched(other.url)
    fetched(theirs.get_viewer_url())
    neuroglancer.stop()


def test_a_view_without_a_name_stays_open():
    url = il.view(sample("raw"), open_browser=False).url
    fetched(url)
    for view in tuple(pages._open):
        view.close()


def test_the_page_gets_no_credentials_of_this_process():
    with il.view(sample("raw"), open_browser=False) as view:
        request = urllib.request.Request(f"{view.url.replace('/v/', '/credentials/')[:-1]}", method="POST", data=b"{}")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=20)


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open():
    with il.serve(sample("raw")) as server, pytest.raises(ArgumentError, match="cannot listen"):
        il.view(sample("raw"), port=server.port, open_browser=False)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_addresses_of_ipv6_are_those_of_urls():
    with il.view(sample("raw"), host="::1", open_browser=False) as view:
        assert view.url.startswith(f"http://[::1]:{view.ports[0]}/v/")
        fetched(view.url)


def test_a_browser_is_opened_where_there_is_a_display(monkeypatch):
    opened = []
    monkeypatch.setattr(pages.webbrowser, "open", opened.append)
    monkeypatch.setattr(pages.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    il.view(sample("raw")).close()
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    with il.view(sample("raw")) as view:
        assert opened == [view.url]


def test_without_neuroglancer_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(MissingExtraError, match=r"ilastik_lazy\[view\]"):
        il.view(sample("raw"))


@pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.NetworkWarning")
def test_a_page_for_other_machines_has_the_name_of_this_one(monkeypatch):
    monkeypatch.setattr(socket, "getfqdn", lambda *_: "localhost")
    with il.view(sample("raw"), host="0.0.0.0", open_browser=False) as view:
        assert view.url.startswith(f"http://{socket.gethostname()}:{view.ports[0]}/v/")


def test_the_command_prints_addresses_and_ends_with_an_interrupt(tmp_path):
    table = tmp_path / "t.csv"
    ids = il.label_objects(il.open_dataarray(sample("probabilities")).isel(c=0), min_size=20)
    il.measure_objects(ids).to_csv(table, index=False)
    il.to_ilastik(ids, tmp_path / "ids.h5")
    arguments = [
        "view", sample("probabilities"), "--project", sample("project"), "--raw", sample("raw"),
        "--labels", str(tmp_path / "ids.h5"), "--table", str(table), "--no-browser",
    ]  # fmt: skip
    # A shell without job control has its children ignore interrupts.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = 'x'\n"
    code += "from ilastik_lazy.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    opening = process.stderr.readline()
    assert opening.startswith(f"ilastik-lazy: opening {sample('probabilities')}, {sample('raw')}, ")
    lines = []
    while not lines or not lines[-1].startswith("Ctrl-C"):
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()
    text = "".join(lines)
    assert "layers: nuclei, nucleus, background, ids" in text
    (url,) = re.findall(r"^http://127\.0\.0\.1:\d+/v/\w+/$", text, re.MULTILINE)
    port = url.split("/")[2].split(":")[1]
    assert re.search(rf"ssh -L {port}:127\.0\.0\.1:{port} -L (\d+):127\.0\.0\.1:\1 \S+@", text)
    fetched(url)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
