"""Malformed and malicious files: each is refused, reported or read right, as its manifest says."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.hostile_cases import MAKER, TRUSTS, Watch, objection, outcome_of
from tests.support.shared_files import shared_path

# What the package does not do yet, each with its reason; the test fails when one of them is mended.
KNOWN_OPEN: dict[str, str] = {}


def _cases() -> list[dict[str, Any]]:
    """Names and expectations as the maker registers them: importing it writes nothing."""
    if not MAKER.exists():
        return []
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import make_bad_files as m; print(json.dumps(m.CASES))"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(MAKER.parent)]
    listed = subprocess.run(command, capture_output=True, check=True, env=environment)
    found: list[dict[str, Any]] = json.loads(listed.stdout)
    return found


CASES = {f"{case['name']}-{trust}": case for case in _cases() for trust in TRUSTS[case["isolated"] :]}


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory) -> dict[str, Any]:
    """Outcomes of all cases; made by the first worker that asks, read by the others."""
    shared_path("hostile", "make_bad_files.py")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one for all workers of this run
    report = folder / "hostile.json"
    with open(folder / "hostile.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not report.exists():
            program = Path(__file__).with_name("hostile_cases.py")
            command = [sys.executable, str(program), str(folder / "hostile"), str(report)]
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
            assert finished.returncode == 0, finished.stderr[-3000:]
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def params(names: list[str]) -> Any:
    """One parameter for each case; those of `KNOWN_OPEN` are expected to fail."""
    marks = {name: [pytest.mark.xfail(reason=reason, strict=True)] for name, reason in KNOWN_OPEN.items()}
    missing = pytest.param(None, marks=[pytest.mark.shared, pytest.mark.skip(f"{MAKER} is missing")])
    found = [pytest.param(n, marks=[pytest.mark.shared, *marks.get(n, [])]) for n in names]
    return pytest.mark.parametrize("name", found or [missing])


@params(list(CASES))
def test_a_hostile_file_ends_as_its_manifest_says(name, outcomes):
    found = outcomes[name]
    assert objection(CASES[name], found) is None, found.get("traceback", found)


@params(list(CASES))
def test_a_hostile_file_costs_little_memory(name, outcomes):
    assert outcomes[name].get("peak", 0) < 300 * 2**20


@pytest.mark.shared
def test_the_corpus_is_whole_and_no_pickle_ran(outcomes):
    assert outcomes["left in bait"] == {"traces": []}
    assert set(outcomes) - {"left in bait"} == set(CASES)
    assert len(CASES) >= 270


def test_an_outcome_that_is_not_as_it_should_be_is_noticed():
    refused = {"name": "a", "path": "h5/a.h5", "kind": "h5", "expect": "refuse", "error": "UnsafePathError"}
    refused |= {"stage": "open"}
    good = {"error": "UnsafePathError", "kinds": ["UnsafePathError"], "stage": "open", "message": "a.h5 leads out"}
    good |= {"bait": False, "warned_at": {}, "right": None}
    assert objection(refused, good) is None
    bad = [{"bait": True}, {"kinds": ["OSError"]}, {"stage": "read"}, {"stage": "died"}, {"message": "a.h5\x1b[2J"}]
    bad += [{"message": "x" * 501}, {"message": "no name"}]
    assert all(objection(refused, good | change) for change in bad)
    fine = refused | {"expect": "ok", "stage": None}
    values = good | {"error": None, "kinds": [], "stage": "read", "right": 1.0}
    assert objection(fine, values) is None
    assert all(
        objection(fine, values | change) for change in ({"right": 0.9}, {"warned_at": {"MetadataWarning": "open"}})
    )
    assert objection(fine, good)


def test_a_look_at_the_bait_is_noticed(tmp_path):
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "secret").write_text("secret")
    watch = Watch(bait)
    assert not watch.opened()
    subprocess.run(["cat", bait / "secret"], check=True, capture_output=True)
    assert watch.opened()
    assert not watch.opened()
    os.close(watch.fd)


def test_an_unnamed_file_is_an_error_of_the_case(tmp_path):
    case = {"path": "nothing.h5", "entry": "open", "kind": "h5", "expect": "ok"}
    assert outcome_of(case, tmp_path, "local")["error"] == "SourceNotFoundError"
