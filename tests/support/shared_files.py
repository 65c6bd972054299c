"""Files that ilastik itself wrote: some lie in ``tests/data``, all of them beside the repository, in ``../shared``.

A test, or a parameter, that needs a file of ``../shared`` is marked ``shared``: without the folder it is skipped, and
``.ci/run`` runs exactly those apart from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[3] / "shared"
DATA = Path(__file__).parents[1] / "data"
FILES = SHARED / "ilastik-files" if SHARED.exists() else DATA
"""The larger of the two collections that is there."""


def entries(folder: str, *ends: str) -> list[dict[str, Any]]:
    """What the manifest states of each file of a folder, of those whose path ends so."""
    manifest = FILES / folder / "manifest.json"
    found = json.loads(manifest.read_text())["entries"] if manifest.exists() else []
    return [entry for entry in found if not ends or entry["path"].endswith(ends)]


def over_files(names: str, values: Iterable[Any], path_of: Callable[..., str], ids: Any = None) -> Any:
    """Parametrise a test; `path_of` gives the file below ``ilastik-files`` that a value stands for."""
    several = "," in names
    found = []
    for value in values:
        path = path_of(*value) if several else path_of(value)
        marks = [] if (DATA / path).exists() else [pytest.mark.shared]
        found.append(pytest.param(*(value if several else [value]), marks=marks, id=ids(value) if ids else path))
    if not found:
        nothing = [None] * len(names.split(","))
        found = [pytest.param(*nothing, marks=[pytest.mark.shared, pytest.mark.skip(MISSING)], id="no files")]
    return pytest.mark.parametrize(names, found)


MISSING = f"{SHARED} is missing: the files written by ilastik lie beside the repository, not in it"
_marked = {"shared": True}


def note_marker(item: pytest.Item) -> None:
    """Remember whether the test that starts now is marked, for `shared_path` to check."""
    _marked["shared"] = item.get_closest_marker("shared") is not None


def shared_path(*parts: str) -> Path:
    """Path of a file in ``tests/data`` or below ``../shared``; without it the calling test is skipped."""
    if parts[0] == "ilastik-files" and (path := DATA.joinpath(*parts[1:])).exists():
        return path
    path = SHARED.joinpath(*parts)
    assert _marked["shared"], f"a test that reads {path} must be marked pytest.mark.shared"
    if not path.exists():
        pytest.skip(MISSING)
    return path
