"""N5 folders that ilastik itself wrote, and hostile ones: both end as their manifests state."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.errors import IlastikLazyError, MetadataError, MetadataWarning
from ilastik_lazy.formats import n5
from ilastik_lazy.formats.location import Location
from tests.support.n5_makers import opened, values_of
from tests.support.shared_files import entries, over_files, shared_path


def _entries() -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for folder in ("writer", "workflows"):
        for file in entries(folder, ".n5"):
            inside = file["datasets"] if "datasets" in file else {file["internal_path"]: file}
            found += [(f"{folder}/{file['path']}", name, stated) for name, stated in inside.items()]
    return found


ENTRIES = _entries()
# vigra does not escape the quotes in a description, so the text in the JSON is not JSON (ilastik-formats.md 1.5).
NO_JSON = "writer/n5/meta_description_quote.n5"


@over_files("path, inside, stated", ENTRIES, lambda path, *_: path, lambda entry: "/".join(entry[:2]))
def test_what_ilastik_wrote_is_read_as_stated(path, inside, stated):
    location = Location.parse(shared_path("ilastik-files", path), inside)
    if len(stated["shape"]) == 1:
        with pytest.raises(MetadataError, match=r"not an image"):
            n5.open_image(location, DEFAULTS)
        return
    if path == NO_JSON:
        with pytest.warns(MetadataWarning, match=r"not valid JSON"):
            source = n5.open_image(location, DEFAULTS)
    else:
        source = n5.open_image(location, DEFAULTS)
    spec = source.spec
    assert ("".join(spec.dims), list(spec.shape), spec.dtype) == (stated["axes"], stated["shape"], stated["dtype"])
    assert list(spec.chunks) == stated.get("chunks", list(spec.chunks))
    if "resolution" in stated:
        assert {axis.name: axis.scale for axis in spec.axes if axis.scale} == pytest.approx(stated["resolution"])
    if "drange" in stated:
        assert list(spec.drange) == stated["drange"]
    values = values_of(source)
    assert hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest() == stated["sha256"]


@pytest.mark.shared
def test_all_of_ilastiks_n5_files_are_there():
    shared_path("ilastik-files", "workflows")
    assert len(ENTRIES) == 114


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    maker = shared_path("hostile", "make_bad_files.py")
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import make_bad_files as m; print(json.dumps(m.CASES))"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(maker.parent)]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)
    cases = [case for case in listed if case["kind"] == "n5"]
    corpus = tmp_path_factory.mktemp("hostile") / "corpus"
    names = ",".join(case["name"] for case in cases)
    command = [sys.executable, str(maker), str(corpus), "--no-check", "--only", names]
    subprocess.run(command, capture_output=True, check=True, env=environment)
    return [(corpus / case["path"], case) for case in cases]


def outcome_of(path: Path) -> tuple[str | None, str | None, str]:
    """Class of the error, the stage at which it came, and what it says."""
    stage = "open"
    try:
        source = opened(path)
        stage = "read"
        values_of(source)
    except IlastikLazyError as error:
        return type(error).__name__, stage, str(error)
    return None, None, path.name


@pytest.mark.shared
def test_hostile_folders_end_as_their_manifest_says(hostile):
    assert len(hostile) >= 16
    for path, case in hostile:
        error, stage, message = outcome_of(path)
        assert (error, stage) == (case["error"], case["stage"]), case["name"]
        assert path.name in message
        assert message.isprintable()
        assert len(message.replace(str(path.parent), "")) <= 500
