"""Open each hostile file in a process of its own, and write down what happened.

Run as a program: ``python hostile_cases.py CORPUS REPORT``.  The imports are paid once: each case is
a fork, held by a limit of memory and of time, so a crash or a hang is the outcome of one case.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import dask.array  # noqa: F401  # half a second for each fork, if it were left to them
import numpy as np

import ilastik_lazy.api
from ilastik_lazy.location import Location
from ilastik_lazy.sources import list_images

MEMORY, SECONDS = 3 * 2**30, 60


def outcome_of(case: dict[str, Any], corpus: Path) -> dict[str, Any]:
    """Stage at which an error or warning came, and whether the values are those that were written."""
    path, reached = corpus / case["path"], "open"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: dict[str, Any] = {"error": None, "kinds": [], "right": None, "warned_at": {}}

        def note() -> None:
            for warning in caught:
                found["warned_at"].setdefault(warning.category.__name__, reached)

        try:
            if case["entry"] == "list":
                found["images"] = list_images(Location.parse(path))
            else:
                inside = case["entry"].partition(":")[2] or None
                array = ilastik_lazy.api.open_dataarray(path, inside)
                repr(array)
                note()
                reached = "read"
                values = array.compute(scheduler="synchronous").values
                found["right"] = share_of_right(values)
        except Exception as error:
            message = str(error).replace(f"{corpus}{os.sep}", "")
            found |= {"error": type(error).__name__, "message": message, "traceback": traceback.format_exc()}
            found["kinds"] = [kind.__name__ for kind in type(error).__mro__]
        note()
    return found | {"stage": reached, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def share_of_right(values: np.ndarray[Any, Any]) -> float:
    """Part of the values that are what `make_bad_files.payload` wrote: 1, 2, ... 251, 1, 2, ..."""
    if values.size == 0:
        return 1.0
    written = (np.arange(values.size, dtype="u8") % 251 + 1).astype(values.dtype).reshape(values.shape)
    return float(np.mean(values == written))


def in_a_fork(case: dict[str, Any], corpus: Path) -> dict[str, Any]:
    """Outcome of one case, also where the process dies."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even where the GIL is held
        signal.alarm(SECONDS)
        with os.fdopen(writing, "w") as pipe:
            json.dump(outcome_of(case, corpus), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(text) if status == 0 else {"error": f"process ended with {status}", "kinds": [], "stage": "died"}


if __name__ == "__main__":
    corpus, report = map(Path, sys.argv[1:])
    cases = json.loads((corpus / "manifest.json").read_text())["cases"]
    chosen = [case for case in cases if case["kind"] == "h5" and not case["isolated"]]
    report.write_text(json.dumps({case["name"]: in_a_fork(case, corpus) for case in chosen}))
