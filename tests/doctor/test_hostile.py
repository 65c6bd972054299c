"""Malformed and malicious files: the command survives all of them, and finds what their manifest says."""

from __future__ import annotations

import json

import pytest

from ilastik_lazy import errors
from tests.acceptance.hostile_cases import make_corpus
from tests.support.children import run_command
from tests.support.shared_files import shared_path

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    shared_path("hostile", "make_bad_files.py")
    folder = tmp_path_factory.mktemp("hostile") / "corpus"
    return folder, make_corpus(folder)


def is_a(name, expected):
    """Whether an error is the expected one, or derives from it."""
    kind = getattr(errors, name, None)
    return kind is not None and issubclass(kind, getattr(errors, expected))


@pytest.mark.parametrize("trust", ["local", "untrusted"])
@pytest.mark.parametrize("kind", ["h5", "ilp", "n5", "zarr"])
def test_every_hostile_file_is_found(corpus, kind, trust):
    folder, cases = corpus
    # A child for each file takes 0.3 s, so that only what needs one has one.
    chosen = [c for c in cases if c["kind"] == kind and c["isolated"] == (trust == "untrusted")]
    if not chosen:
        pytest.skip("none of them crashes the HDF5 library")
    paths = [folder / case["path"] for case in chosen]
    result = run_command("doctor", "--full", "--json", "--quiet", "--trust", trust, *paths)
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert result.returncode == document["exit_code"] == 2
    assert len(document["files"]) == len(chosen)
    for case, report in zip(chosen, document["files"], strict=True):
        named = [finding["error"] for finding in report["findings"] if finding["error"]]
        if case["expect"] in ("refuse", "corrupt"):
            assert report["exit_code"] in ((1, 2) if kind == "ilp" else (2,)), case["name"]
            is_known = any(is_a(name, case["error"]) for name in named)
            assert is_known or any(f["check"] == "project-image" for f in report["findings"]), case["name"]
        else:
            assert not named, case["name"]
            assert report["exit_code"] == 1 or case["expect"] != "ok_warn", case["name"]
