"""Open each hostile file in a process of its own, with and without trust, and say what happened.

    python -m tests.acceptance.hostile_cases

writes the corpus (``../shared/hostile/make_bad_files.py``), prints a table of all cases and ends with 1 if one of
them did not end as its manifest says.  The imports are paid once: each case is a fork with 3 GB of address space and
60 seconds, so that a crash or a hang is the outcome of one case.  What the files point at is watched.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import dask.array  # noqa: F401  # half a second for each fork, if it were left to them
import numpy as np

import ilastik_lazy.api
import ilastik_lazy.formats.n5
import ilastik_lazy.formats.zarr
from ilastik_lazy.api import open_datatree
from ilastik_lazy.formats import list_images
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.inputs import open_input
from ilastik_lazy.project.paths import Roots
from ilastik_lazy.project.record import read_project
from ilastik_lazy.storage.allowed import checked_options
from tests.support.shared_files import SHARED

MAKER = SHARED / "hostile" / "make_bad_files.py"
MEMORY, SECONDS = 3 * 2**30, 60
STAGES = ["open", "inspect", "read"]
TRUSTS = ["local", "untrusted"]
# A file that is read right, and yet deserves a warning: its view has no axistags; N5 and Zarr of the maker lack them.
ALSO_WARNS = {"vds_same_file": ["MetadataWarning"], "ok_n5": ["MetadataWarning"]}
# Cases whose image is whole although they warn of something else, and those of which a part is missing.
PARTLY = {"export_incomplete_flushed": 0.5, "chunk_missing_interior": 0.875}


class Watch:
    """Which files in a folder are opened, by any process (inotify)."""

    _OPENED, _NONBLOCK = 0x20, os.O_NONBLOCK

    def __init__(self, folder: Path) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(self._NONBLOCK)
        for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            assert self.libc.inotify_add_watch(self.fd, os.fsencode(each), self._OPENED) >= 0

    def opened(self) -> bool:
        """Whether a file was opened since the last time."""
        try:
            return bool(os.read(self.fd, 2**16))
        except BlockingIOError:
            return False


def outcome_of(case: dict[str, Any], corpus: Path, trust: str) -> dict[str, Any]:
    """Stage at which an error or warning came, and whether the values are those that were written."""
    path, reached = corpus / case["path"], "open"
    found: dict[str, Any] = {"error": None, "kinds": [], "right": None, "warned_at": {}, "message": ""}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def note() -> None:
            for warning in caught:
                found["warned_at"].setdefault(warning.category.__name__, reached)

        try:
            if case["entry"] == "list":
                found["images"] = list_images(Location.parse(path), checked_options(None, trust))
            elif case["kind"] == "ilp":
                tree = open_datatree(path, trust=trust)
                options = checked_options(None, trust)
                recorded = read_project(Location.parse(path), options).lanes[0].inputs[0]
                repr(tree)
                note()
                found["right"] = float(int(tree["lane0000/labels/labels"].sum()) == 64)
                # The tree says what is wrong with its image; asked for the image itself, it is raised.
                open_input(str(path), recorded, Roots.of(str(path), corpus if case["expect"] == "ok" else ()), options)
            else:
                inside = case["entry"].partition(":")[2] or None
                array = ilastik_lazy.api.open_dataarray(path, inside, trust=trust)
                repr(array)
                note()
                reached = "read"
                found["right"] = share_of_right(array.compute(scheduler="synchronous").values)
        except Exception as error:
            message = str(error).replace(f"{corpus}{os.sep}", "")
            found |= {"error": type(error).__name__, "message": message, "traceback": traceback.format_exc()}
            found["kinds"] = [kind.__name__ for kind in type(error).__mro__]
        note()
    return found | {"stage": reached, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def share_of_right(values: np.ndarray[Any, Any]) -> float:
    """Part of the values that are what `payload` of the maker wrote: 1, 2, ... 251, 1, ..., in all or in each chunk."""
    if values.size == 0:
        return 1.0

    def payload(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return (np.arange(np.prod(shape), dtype="u8") % 251 + 1).astype(values.dtype).reshape(shape)

    answers = [payload(values.shape)]
    if values.shape == (16, 16, 16):
        answers.append(np.tile(payload((8, 8, 8)), (2, 2, 2)))
    return max(float(np.mean(values == answer)) for answer in answers)


def in_a_fork(case: dict[str, Any], corpus: Path, trust: str, watch: Watch) -> dict[str, Any]:
    """Outcome of one case, also where the process dies."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even where the GIL is held
        signal.alarm(SECONDS)
        with os.fdopen(writing, "w") as pipe:
            json.dump(outcome_of(case, corpus, trust), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return json.loads(text) | {"bait": watch.opened()}
    return {
        "error": f"process ended with {status}",
        "kinds": [],
        "stage": "died",
        "message": "",
        "bait": watch.opened(),
    }


def in_time(stage: str, latest: str) -> bool:
    return stage in STAGES and STAGES.index(stage) <= STAGES.index(latest)


def objection(case: dict[str, Any], found: dict[str, Any]) -> str | None:
    """What is wrong with an outcome; None where it is what the manifest says."""
    expected = case["expect"]
    if found["bait"]:
        return "a file outside was opened"
    if expected in ("refuse", "corrupt"):
        if case["error"] not in found["kinds"] or not in_time(found["stage"], case["stage"]):
            return f"expected {case['error']} by {case['stage']}"
        message = found["message"]
        if len(message) > 500 or re.search(r"[\x00-\x1f\x7f-\x9f]", message):
            return "the message is long, or not printable"
        return None if case["kind"] == "ilp" or Path(case["path"]).name in message else "the message names no file"
    if case["kind"] == "ilp" and expected == "ok_warn":
        return None if "SourceNotFoundError" in found["kinds"] and case["error"] in found["warned_at"] else "not told"
    if found["error"] is not None:
        return "expected no error"
    warned = [name for name in found["warned_at"] if name not in ALSO_WARNS.get(case["name"], [])]
    if expected == "ok_warn" and not in_time(found["warned_at"].get(case["error"], "never"), case["stage"]):
        return f"expected {case['error']} by {case['stage']}"
    if expected == "ok" and case["kind"] != "ilp" and warned:
        return f"warned of {warned[0]}"
    if expected != "undetectable" and found["right"] not in (None, PARTLY.get(case["name"], 1.0)):
        return f"{found['right']:.0%} of the values are right"
    return None


def make_corpus(folder: Path) -> list[dict[str, Any]]:
    # Without the maker's self-check, which needs plugins and tells nothing of this package.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(MAKER), str(folder), "--no-check"]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    cases: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())["cases"]
    return cases


def all_outcomes(cases: list[dict[str, Any]], corpus: Path) -> dict[str, dict[str, Any]]:
    """Outcomes by case and trust; a file that libhdf5 itself falls over is never opened in trust."""
    watch = Watch(corpus / "bait")
    found = {}
    for case in cases:
        for trust in TRUSTS[case["isolated"] :]:
            found[f"{case['name']}-{trust}"] = in_a_fork(case, corpus, trust, watch)
    traces = [name for name in os.listdir(corpus / "bait") if name not in ("decoy.h5", "decoy.zarr", "secret.txt")]
    return found | {"left in bait": {"traces": traces}}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        cases = make_corpus(corpus)
        outcomes, objections = all_outcomes(cases, corpus), 0
        traces = outcomes.pop("left in bait")["traces"]
        for case in cases:
            for trust in TRUSTS[case["isolated"] :]:
                found = outcomes[f"{case['name']}-{trust}"]
                got = f"{found['stage']}: {found['error']}" if found["error"] else "values"
                got += f" + {', '.join(found['warned_at'])}" if found.get("warned_at") else ""
                wrong = objection(case, found)
                objections += wrong is not None
                expected = f"{case['expect']} {case['error'] or ''} {case['stage'] or ''}"
                print(f"{case['name']:36} {trust:10} {expected:48} {got:56} {wrong or 'ok'}")
    print(f"{len(outcomes)} outcomes of {len(cases)} files, {objections} not as expected; traces of pickles: {traces}")
    return 1 if objections or traces else 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        target = Path(sys.argv[1])
        Path(sys.argv[2]).write_text(json.dumps(all_outcomes(make_corpus(target), target)))
    else:
        sys.exit(main())
