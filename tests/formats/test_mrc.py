"""MRC files: every mode and byte order in bytes written here, files that `mrcfile` wrote, damaged ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import DEFAULTS, Limits, OpenOptions
from ilastik_lazy.errors import (
    AxesError,
    CorruptFileError,
    DatasetNotFoundError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    UnsupportedFilterError,
)
from ilastik_lazy.formats import mrc, open_source
from ilastik_lazy.formats.location import Location
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.mrc_makers import MODES, write_mrc

LAYOUTS = {f"{order}{name}": {"dtype": order + name} for name in MODES for order in "<>"}


def opened(path: Path, axes: str | None = None, limits: Limits | None = None) -> Any:
    return open_source(Location.parse(path), OpenOptions(axes, limits or Limits()))


def values_of(source: Any) -> np.ndarray[Any, Any]:
    return source.read(tuple(slice(0, n) for n in source.spec.shape))


def steps_of(source: Any) -> list[tuple[str, float | None, str]]:
    return [(axis.name, axis.scale, axis.unit) for axis in source.spec.axes]


class TestMrcSource(SourceContract):
    @pytest.fixture(params=[*LAYOUTS, "extended header"])
    def stored(self, request, tmp_path):
        data = some_data((7, 9, 10), LAYOUTS.get(request.param, {"dtype": "<f4"})["dtype"])
        extended = bytes(range(256)) * 3 if request.param == "extended header" else b""
        path = write_mrc(tmp_path / "volume.mrc", data, extended=extended)
        return Stored(path, opened(path), data.astype(data.dtype.newbyteorder("=")))

    def test_voxel_sizes_are_in_angstrom(self, stored):
        assert steps_of(stored.source) == [("z", 8.25, "angstrom"), ("y", 2.5, "angstrom"), ("x", 1.5, "angstrom")]


# `mrcfile` 1.5.4 wrote these (tests/data/README.md).
BY_MRCFILE = {
    "volume.mrc": (np.arange(-60, 60, dtype="f4").reshape(4, 5, 6) / 8, "zyx", (2.5, 1.34, 1.34)),
    "big_endian.map": (np.arange(120, dtype="f2").reshape(4, 5, 6), "zyx", (2.5, 1.34, 1.34)),
    "volume_stack.mrc": (np.arange(120, dtype="i2").reshape(2, 3, 4, 5), "tzyx", (None, 2.5, 1.34, 1.34)),
    "image_stack.mrc": (np.arange(-60, 60, dtype="i1").reshape(4, 5, 6), "zyx", (None, 1.34, 1.34)),
    "image.mrc": (np.arange(30, dtype="u2").reshape(5, 6) * 2000, "yx", (1.34, 1.34)),
}


@pytest.mark.parametrize("name", BY_MRCFILE)
def test_what_mrcfile_wrote_is_read(name):
    data, names, steps = BY_MRCFILE[name]
    source = opened(Path(__file__).parents[1] / "data" / "mrc" / name)
    np.testing.assert_array_equal(values_of(source), data, strict=True)
    assert [(axis, step) for axis, step, _ in steps_of(source)] == list(zip(names, steps, strict=True))


# mrcfile 1.5 gives a record array another dtype.
@pytest.mark.filterwarnings("ignore:Setting the dtype on a NumPy array:DeprecationWarning")
@pytest.mark.parametrize("dtype", [layout["dtype"] for layout in LAYOUTS.values()])
def test_mrcfile_reads_the_same(tmp_path, dtype):
    mrcfile = pytest.importorskip("mrcfile")
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), dtype), extended=bytes(80))
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(values_of(opened(path)), file.data)
        assert [step for _, step, _ in steps_of(opened(path))] == [
            pytest.approx(float(file.voxel_size[axis])) for axis in "zyx"
        ]


def test_users_see_positions_in_angstrom(tmp_path):
    write_mrc(tmp_path / "tomogram.mrc", some_data((3, 4, 5), "<f4"))
    array = il.open_dataarray(tmp_path / "tomogram.mrc")
    assert (array.name, array.dims) == ("tomogram", ("z", "y", "x"))
    assert array["z"].values.tolist() == [0, 8.25, 16.5]
    assert array["z"].attrs["units"] == "angstrom"


@pytest.mark.parametrize(
    ("cell", "intervals"),
    [((0, 0, 0), (5, 4, 3)), ((-1, -1, -1), (5, 4, 3)), ((1, 1, 1), (0, 0, -3)),
     ((np.nan, np.inf, -np.inf), (5, 4, 3))],
)  # fmt: skip
def test_voxel_sizes_that_are_not_stated_are_unknown(tmp_path, cell, intervals):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<i2"), at_28=("3i", intervals), at_40=("3f", cell))
    assert steps_of(opened(path)) == [("z", None, ""), ("y", None, ""), ("x", None, "")]


def test_positions_in_an_oblique_cell_are_unknown_with_a_warning(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<i2"), at_52=("3f", (90, 109.5, 90)))
    with pytest.warns(MetadataWarning, match=r"a\.mrc: .*oblique"):
        assert steps_of(opened(path)) == [("z", None, ""), ("y", None, ""), ("x", None, "")]


def test_axes_may_be_in_another_order(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<i2"), at_64=("3i", (3, 1, 2)), at_28=("3i", (4, 3, 5)))
    # In the cell of 7.5 x 10 x 24.75 angstrom, y has 3 voxels (sections), x 4 (rows), z 5 (columns).
    assert steps_of(opened(path)) == [("y", 3.333333, "angstrom"), ("x", 1.875, "angstrom"), ("z", 4.95, "angstrom")]
    assert steps_of(opened(write_mrc(tmp_path / "b.mrc", some_data((3, 4, 5), "<i2"), at_64=("3i", (0, 0, 0)))))[0] == (
        "z", 8.25, "angstrom"
    )  # fmt: skip


def test_axes_that_the_caller_names_keep_the_steps_of_space(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<i2"))
    assert steps_of(opened(path, "tyx")) == [("t", None, ""), ("y", 2.5, "angstrom"), ("x", 1.5, "angstrom")]
    with pytest.raises(AxesError, match="3 dimensions"):
        opened(path, "yx")


@pytest.mark.parametrize(("flags", "dtype"), [(0, "u1"), (1, "i1"), (5, "i1"), (4, "u1")])
def test_bytes_are_unsigned_where_imod_says_so(tmp_path, flags, dtype):
    data = some_data((3, 4, 5), "<i1")
    path = write_mrc(tmp_path / "a.mrc", data, at_152=("2i", (1146047817, flags)))
    np.testing.assert_array_equal(values_of(opened(path)), data.view(dtype), strict=True)


@pytest.mark.parametrize(
    ("mode", "what"),
    [(3, "complex"), (4, "complex"), (16, "colours"), (101, "4 bits"), (5, "unknown"), (-1, "unknown")],
)
def test_other_modes_are_refused_with_advice(tmp_path, mode, what):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<f4"), at_12=("i", mode))
    with pytest.raises(UnsupportedFilterError, match=rf"a\.mrc has mode {mode} \({what}.*convert it to mode 2"):
        opened(path)


def test_four_bits_in_bytes_are_refused(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<i1"), at_152=("2i", (1146047817, 17)))
    with pytest.raises(UnsupportedFilterError, match="4 bits"):
        opened(path)


def test_a_cut_file_is_an_error_at_opening(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<f4"), extended=bytes(100))
    for size in (1363, 1124, 1100, 1024, 1023, 209, 0):
        os.truncate(path, size)
        with pytest.raises(CorruptFileError, match=r"a\.mrc has \d+ bytes.*completely"):
            opened(path)


DAMAGED = {
    "a negative size": {"at_0": ("i", -5)},
    "an empty axis": {"at_8": ("i", 0)},
    "a negative extended header": {"at_92": ("i", -1024)},
    "one axis twice": {"at_64": ("3i", (1, 1, 3))},
    "a stack of no volumes": {"at_88": ("i", 401), "at_36": ("i", 0)},
    "half a volume": {"at_88": ("i", 401), "at_36": ("i", 2)},
}


@pytest.mark.parametrize("fields", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_header_is_an_error(tmp_path, fields):
    with pytest.raises(MetadataError, match=r"a\.mrc is damaged"):
        opened(write_mrc(tmp_path / "a.mrc", some_data((3, 4, 5), "<f4"), **fields))


@pytest.mark.parametrize("field", [{"at_208": ("4s", b"\0\0\0\0")}, {"at_212": ("4s", b"\0\0\0\0")}])
def test_a_file_of_another_format_is_an_error(tmp_path, field):
    with pytest.raises(CorruptFileError, match=r"a\.map is not an MRC2014 file.*save it"):
        opened(write_mrc(tmp_path / "a.map", some_data((3, 4, 5), "<f4"), **field))


@pytest.mark.parametrize("field", [{"at_208": ("4s", b"MAP\0")}, {"at_212": ("4s", b"DA\0\0")}])
def test_other_spellings_of_the_same_are_understood(tmp_path, field):
    data = some_data((3, 4, 5), "<f4")
    np.testing.assert_array_equal(values_of(opened(write_mrc(tmp_path / "a.mrc", data, **field))), data)


def test_sizes_are_checked_before_anything_is_allocated(tmp_path):
    data = some_data((3, 4, 5), "<f4")
    with pytest.raises(LimitExceededError, match="5 elements"):
        opened(write_mrc(tmp_path / "a.mrc", data), limits=Limits(axis_length=4))
    with pytest.raises(CorruptFileError, match=r"4000000000000000001024 were written"):
        opened(write_mrc(tmp_path / "b.mrc", data, at_0=("3i", (10**7,) * 3)))
    with pytest.raises(CorruptFileError, match=r"2147484911 were written"):
        opened(write_mrc(tmp_path / "c.mrc", data, at_92=("i", 2**31 - 1)))


@pytest.mark.posix
def test_files_are_recognised_by_name_or_content(tmp_path):
    path = write_mrc(tmp_path / "tilts.st", some_data((3, 4, 5), "<i2"))
    (tmp_path / "a.txt").write_text("text" * 100)
    os.mkfifo(tmp_path / "pipe")
    assert mrc.FORMAT.recognises(Location.parse(path), DEFAULTS)
    for other in ("a.txt", "pipe", "nothing.mrc", ""):
        assert not mrc.FORMAT.recognises(Location(str(tmp_path / other)), DEFAULTS)
    with pytest.raises(DatasetNotFoundError, match="one array"):
        open_source(Location.parse(path, "volume/data"))
