"""Malformed and malicious files: each is refused, reported or read right, as its manifest says."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shared_files import SHARED, shared_path

MAKER = SHARED / "hostile" / "make_bad_files.py"
STAGES = ["open", "inspect", "read"]

# What the package does not do yet, each with its reason; the test fails when one of them is mended.
KNOWN_OPEN: dict[str, str] = {}
# A file that is read right, and yet deserves a warning: its view has no axistags.
ALSO_WARNS = {"vds_same_file": ["MetadataWarning"]}


def _cases() -> list[dict[str, Any]]:
    """Names and expectations as the maker registers them: importing it writes nothing."""
    if not MAKER.exists():
        return []
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import make_bad_files as m; print(json.dumps(m.CASES))"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(MAKER.parent)]
    listed = subprocess.run(command, capture_output=True, check=True, env=environment)
    return [case for case in json.loads(listed.stdout) if case["kind"] == "h5" and not case["isolated"]]


CASES = _cases()


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory) -> dict[str, Any]:
    """Outcomes of all cases; made by the first worker that asks, read by the others."""
    maker = shared_path("hostile", "make_bad_files.py")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one for all workers of this run
    report = folder / "hostile.json"
    with open(folder / "hostile.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not report.exists():
            corpus = folder / "hostile"
            # Without the maker's self-check, which needs plugins and tells nothing of this package.
            _run([str(maker), str(corpus), "--no-check", "--only", ",".join(case["name"] for case in CASES)])
            _run([str(Path(__file__).with_name("hostile_cases.py")), str(corpus), str(report)])
    return json.loads(report.read_text())


def _run(command: list[str]) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    finished = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr[-3000:]


def params(cases: list[dict[str, Any]], known_open: dict[str, str]) -> Any:
    """One parameter for each case; those of `known_open` are expected to fail."""
    marks = {name: [pytest.mark.xfail(reason=reason, strict=True)] for name, reason in known_open.items()}
    missing = pytest.param(None, marks=pytest.mark.skip(f"{MAKER} is missing"))
    found = [pytest.param(case, id=case["name"], marks=marks.get(case["name"], [])) for case in cases]
    return pytest.mark.parametrize("case", found or [missing])


def in_time(stage: str, latest: str) -> bool:
    return stage in STAGES and STAGES.index(stage) <= STAGES.index(latest)


@params(CASES, KNOWN_OPEN)
def test_a_hostile_file_ends_as_its_manifest_says(case, outcomes):
    found = outcomes[case["name"]]
    expected = case["expect"]
    if expected in ("refuse", "corrupt"):
        assert case["error"] in found["kinds"], found.get("traceback", found)
        assert in_time(found["stage"], case["stage"]), found
        return
    assert found["error"] is None, found.get("traceback", found)
    if expected == "ok_warn":
        assert in_time(found["warned_at"].get(case["error"], "never"), case["stage"]), found
    if expected == "ok":
        assert list(found["warned_at"]) == ALSO_WARNS.get(case["name"], [])
    if case["name"] == "export_incomplete_flushed":
        assert found["right"] == 0.5  # the rest is fill value, as the warning says
    elif expected != "undetectable":
        assert found["right"] == 1.0


@params(CASES, {})
def test_a_hostile_file_costs_little_memory(case, outcomes):
    assert outcomes[case["name"]].get("peak", 0) < 500 * 2**20


@params([case for case in CASES if case["expect"] in ("refuse", "corrupt")], {})
def test_the_error_is_one_printable_line_that_names_the_file(case, outcomes):
    message = outcomes[case["name"]]["message"]
    assert Path(case["path"]).name in message
    assert re.search(r"[\x00-\x1f\x7f-\x9f]", message) is None, message
    assert len(message) <= 500


def test_the_corpus_is_whole(outcomes):
    assert set(outcomes) == {case["name"] for case in CASES}
    assert len(outcomes) >= 70
