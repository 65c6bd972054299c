"""What the package logs under its name, for programs that keep logs."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import ilastik_lazy as il
from tests.support.makers import write_hdf5_export


@pytest.mark.parametrize(
    ("call", "what", "target"),
    [(il.to_ome_zarr, "converting", "a.zarr"), (il.to_ilastik, "exporting", "b.h5"), (il.to_tiff, "writing", "c.tif")],
)
def test_a_line_when_work_begins_and_one_when_it_is_done(tmp_path, caplog, call, what, target):
    path = tmp_path / "t1.h5"
    write_hdf5_export(path, np.ones((4, 8, 9), "u1"), axes="zyx")
    source = il.open_dataarray(path) if call is il.to_ilastik else path
    caplog.set_level(logging.INFO, "ilastik_lazy")
    call(source, tmp_path / target)
    lines = [record for record in caplog.records if record.name.startswith("ilastik_lazy.writers")]
    assert [record.levelname for record in lines] == ["INFO", "INFO"]
    for record, ending in zip(lines, [": begun", " s"], strict=True):
        assert "t1.h5" in record.getMessage()
        assert record.getMessage().split(f"to {tmp_path / target}: ")[1].endswith(ending.lstrip(": "))
        assert record.getMessage().startswith(what)


def test_nothing_is_logged_unless_it_is_asked_for(tmp_path, capsys):
    path = tmp_path / "t1.h5"
    write_hdf5_export(path, np.ones((4, 8, 9), "u1"), axes="zyx")
    il.to_ome_zarr(path, tmp_path / "a.zarr")
    assert capsys.readouterr() == ("", "")
