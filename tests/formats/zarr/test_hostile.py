"""Malformed and malicious Zarr stores: each is refused, reported or read right, as its manifest says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilastik_lazy import errors
from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.formats import zarr as zarr_format
from ilastik_lazy.formats.location import Location
from tests.support.shared_files import SHARED, over_files, shared_path

MAKER = SHARED / "hostile" / "make_bad_files.py"
STAGES = ["open", "inspect", "read"]


def _run(code: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(MAKER.parent), *arguments]
    return subprocess.run(command, capture_output=True, check=True, env=environment, text=True).stdout


def _cases() -> list[dict[str, Any]]:
    if not MAKER.exists():
        return []
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import make_bad_files as m; print(json.dumps(m.CASES))"
    return [case for case in json.loads(_run(code)) if case["kind"] == "zarr" and not case["isolated"]]


CASES = _cases()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    shared_path("hostile", "make_bad_files.py")
    folder: Path = tmp_path_factory.mktemp("hostile_zarr")
    names = ",".join(case["name"] for case in CASES)
    code = "import sys, runpy; sys.argv[0] = sys.argv.pop(1) + '/make_bad_files.py'; "
    _run(code + "runpy.run_path(sys.argv[0], run_name='__main__')", str(folder), "--no-check", "--only", names)
    return folder


def right_values(folder: Path) -> np.ndarray[Any, Any]:
    """What the maker wrote: one payload over a sharded array, or the same one in each chunk of 8 x 8 x 8."""
    shape = (16, 16, 16) if (folder / "zarr.json").exists() else (8, 8, 8)
    payload = (np.arange(np.prod(shape)) % 251 + 1).astype("<f4").reshape(shape)
    return np.tile(payload, [16 // n for n in shape])


@dataclass
class Outcome:
    stage: str = "open"
    error: errors.IlastikLazyError | None = None
    warned_at_opening: list[str] = field(default_factory=list)
    values: Any = None


def outcome_of(path: Path) -> Outcome:
    found = Outcome()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            source = zarr_format.open_image(Location.parse(path), DEFAULTS)
            found.warned_at_opening = [warning.category.__name__ for warning in caught]
            found.stage = "read"
            found.values = source.read(tuple(slice(0, n) for n in source.spec.shape))
        except errors.IlastikLazyError as error:
            found.error = error
    return found


@over_files("case", CASES, lambda case: case["path"], lambda case: case["name"])
def test_a_hostile_store_ends_as_its_manifest_says(case, corpus):
    path = corpus / case["path"]
    found = outcome_of(path)
    if found.error is not None:
        assert case["expect"] in ("refuse", "corrupt"), found
        assert case["error"] in [kind.__name__ for kind in type(found.error).__mro__]
        assert STAGES.index(found.stage) <= STAGES.index(case["stage"])
        message = str(found.error).replace(str(corpus), "")
        assert path.name in message
        assert re.search(r"[\x00-\x1f\x7f-\x9f]", message) is None, message
        assert len(message) <= 500
        return
    assert case["expect"] in ("ok", "ok_warn", "undetectable")
    assert found.warned_at_opening == ([case["error"]] if case["expect"] == "ok_warn" else [])
    expected = right_values(path)
    if case["name"] == "chunk_missing_interior":
        expected[8:, 8:, 8:] = 0  # fill value, as the warning says
    np.testing.assert_array_equal(found.values, expected)


@pytest.mark.shared
def test_no_pickle_was_loaded(corpus):
    assert not (corpus / "bait" / "ZARR_PICKLE_WAS_LOADED").exists()
