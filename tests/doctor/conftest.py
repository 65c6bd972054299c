"""An export in which there is nothing to find, to be made worse by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ilastik_lazy.doctor import Finding, examine
from tests.support.makers import some_data, write_hdf5_export

STATED = {"resolution": {"z": 0.8, "y": 0.25, "x": 0.25}, "units": {"z": "µm", "y": "µm", "x": "µm"}}


@pytest.fixture
def export(tmp_path: Path) -> Any:
    """Write an export, healthy but for what the test asks for, and return its path."""

    def write(
        name: str = "a.h5", shape: tuple[int, ...] = (6, 8, 10), axes: str | None = "zyx", **options: Any
    ) -> Path:
        dtype = options.pop("dtype", "u1")
        options = {"chunks": (3, 4, 5), "filters": "gzip"} | STATED | options
        data = options.pop("data", None)
        write_hdf5_export(tmp_path / name, some_data(shape, dtype) if data is None else data, axes=axes, **options)
        return tmp_path / name

    return write


@pytest.fixture
def found() -> Any:
    """Examine a file, and return its findings by the names of their checks; each check finds one thing at most."""

    def look(path: Path, internal_path: str | None = None, **options: Any) -> dict[str, Finding]:
        report = examine(path, internal_path, **options)
        named = {finding.check: finding for finding in report.findings}
        assert len(named) == len(report.findings), report.findings
        return named

    return look
