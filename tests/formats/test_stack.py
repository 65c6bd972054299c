"""Stacks of files: where the new axis comes from, which files are read, and which do not fit."""

from __future__ import annotations

import hashlib
import os
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.views.stacked import StackSource, stack_of
from ilastik_lazy.errors import (
    ArgumentError,
    AxesError,
    CorruptFileError,
    DatasetNotFoundError,
    MetadataError,
    MetadataWarning,
    SourceNotFoundError,
)
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.stack import open_stack
from tests.support.contract import SourceContract, Stored
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export
from tests.support.shared_files import shared_path

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")


def whole(source):
    return tuple(slice(0, length) for length in source.spec.shape)


def dims(source):
    return "".join(source.spec.dims)


def write_tiffs(folder, data, axes):
    """One file for each element of the first axis of `data`."""
    for number, part in enumerate(data):
        tifffile.imwrite(
            folder / f"f{number}.tif", part, metadata={"axes": axes.upper()}, photometric="minisblack", rowsperstrip=3,
            compression="lzw",
        )  # fmt: skip
    return folder / "f1.tif"


def write_hdf5(folder, data, axes):
    for number, part in enumerate(data):
        write_hdf5_export(folder / f"f{number}.h5", part, axes=axes, chunks=(3,) * part.ndim, filters="gzip")
    return folder / "f1.h5"


def write_pngs(folder, data, axes):
    for number, part in enumerate(data):
        (folder / f"f{number}.png").write_bytes(imagecodecs.png_encode(part))
    return folder / "f1.png"


STACKS = {
    "pictures": (write_pngs, "yx", None, "zyx"),
    "rgb pictures along t": (write_pngs, "yxc", "t", "tyxc"),
    "rgb pictures along c": (write_pngs, "yxc", "c", "yxc"),
    "tiffs": (write_tiffs, "zyx", None, "tzyx"),
    "tiffs along z": (write_tiffs, "zyx", "z", "zyx"),
    "tiffs along c": (write_tiffs, "zyx", "c", "czyx"),
    "hdf5": (write_hdf5, "tyx", None, "ztyx"),
    "hdf5 with all axes": (write_hdf5, "tzyxc", None, "tzyxc"),
    "hdf5 with c first": (write_hdf5, "ctzyx", None, "ctzyx"),
    "hdf5 along the last axis": (write_hdf5, "zyxc", "c", "zyxc"),
}
LENGTHS = {"t": 4, "z": 5, "y": 11, "x": 13, "c": 3}


class TestStackSource(SourceContract):
    @pytest.fixture(params=STACKS)
    def stored(self, request, tmp_path):
        write, axes, along, expected = STACKS[request.param]
        data = some_data((3, *(LENGTHS[axis] for axis in axes)), "u1")
        path = write(tmp_path, data, axes)
        source = open_stack(str(tmp_path / f"f*{path.suffix}"), along)
        assert dims(source) == expected
        if len(expected) == len(axes):
            place = axes.index(along or next(axis for axis in axes if axis in "tzc"))
            data = np.concatenate(list(data), axis=place)
        return Stored(path, source, data)


# What ilastik wrote, one element of the first axis a file; the manifest's checksum is of all files together, but
# the collection holds the first one only: its content is compared with what another reader gives.
@pytest.mark.parametrize(
    ("name", "along", "axes", "expected", "shape"),
    [
        ("seq_zyx_uint8_0.png", None, None, "zyx", (1, 20, 21)),
        ("seq_zyx_float32_0.tif", "z", None, "zyx", (1, 20, 21)),
        ("seq_tzyx_uint8_0.tiff", None, "zyx", "tzyx", (1, 4, 20, 21)),
    ],
)
def test_ilastiks_own_sequences(name, along, axes, expected, shape):
    path = shared_path("ilastik-files", "writer", "images", name)
    source = open_stack([Location.parse(path)], along, OpenOptions(axes))
    assert (dims(source), source.spec.shape) == (expected, shape)
    read = imagecodecs.png_decode(path.read_bytes()) if path.suffix == ".png" else tifffile.imread(path)
    np.testing.assert_array_equal(source.read(whole(source))[0], read, strict=True)


@pytest.mark.shared
def test_the_masks_of_a_tracking_become_a_movie():
    folder = shared_path("ilastik-files", "workflows", "tracking", "trk_dm__plugin_CellTrackingChallenge")
    source = open_stack(str(folder / "mask*.tif"))
    assert (dims(source), source.spec.shape) == ("tyx", (3, 200, 200))
    expected = np.stack([tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))])
    assert hashlib.sha256(source.read(whole(source)).tobytes()).digest() == hashlib.sha256(expected.tobytes()).digest()


def test_a_pattern_is_in_the_order_of_numbers_and_that_of_ilastik_is_offered(tmp_path):
    for number in (1, 2, 10):
        tifffile.imwrite(tmp_path / f"img_{number}.tif", np.full((4, 5), number, "u1"), metadata={"axes": "YX"})
    with pytest.warns(
        MetadataWarning, match=r"img_2\.tif comes before img_10\.tif; .* stack_order='text' does the same"
    ):
        source = open_stack(str(tmp_path / "img_*.tif"))
    assert source.read(whole(source))[:, 0, 0].tolist() == [1, 2, 10]
    as_text = il.open_dataarray(str(tmp_path / "img_*.tif"), stack_order="text")
    assert as_text[:, 0, 0].values.tolist() == [1, 10, 2]
    with pytest.raises(ArgumentError, match="stack_order='down'"):
        il.open_dataarray(str(tmp_path / "img_*.tif"), stack_order="down")


def test_a_pattern_inside_a_file_is_a_stack_of_its_images(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in (1, 2, 10):
            file[f"t{number}/channel0"] = np.full((4, 5), number, "u1")
            file[f"t{number}/channel1"] = np.zeros((4, 5), "u1")
    with pytest.warns(MetadataWarning, match="t2/channel0 comes|names no axes|channel0 comes"):
        array = il.open_dataarray(f"{tmp_path}/a.h5/t*/channel0", stack_along="t")
    assert array[:, 0, 0].values.tolist() == [1, 2, 10]
    with pytest.raises(DatasetNotFoundError, match=r"no image that fits 's\*' in .*a\.h5; it holds 't1/channel0'"):
        il.open_dataarray(f"{tmp_path}/a.h5/s*")


def test_locations_keep_the_order_of_the_caller(tmp_path):
    write_tiffs(tmp_path, some_data((3, 4, 5), "u1"), "yx")
    locations = [Location.parse(tmp_path / f"f{number}.tif") for number in (2, 0, 1)]
    source = open_stack(locations)
    expected = [tifffile.imread(location.path) for location in locations]
    np.testing.assert_array_equal(source.read(whole(source)), expected)


def test_a_pattern_may_name_a_dataset_in_each_file(tmp_path):
    data = some_data((3, 5, 6), "u2")
    for number, part in enumerate(data):
        write_hdf5_export(tmp_path / f"f{number}.h5", part, axes="yx", internal_path="volume/data")
    source = open_stack(str(tmp_path / "f*.h5/volume/data"))
    np.testing.assert_array_equal(source.read(whole(source)), data, strict=True)


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "what"),
    [((4, 6), "u1", "yx", "shape"), ((4, 5), "u2", "yx", "dtype"), ((4, 5), "u1", "xy", "axes")],
)
def test_a_file_that_differs_is_named(tmp_path, shape, dtype, axes, what):
    write_hdf5(tmp_path, some_data((3, 4, 5), "u1"), "yx")
    write_hdf5_export(tmp_path / "f2.h5", some_data(shape, dtype), axes=axes)
    with pytest.raises(MetadataError, match=rf"f2\.h5.* has {what} .*f0\.h5"):
        open_stack(str(tmp_path / "f*.h5"))


def test_a_file_of_another_format_under_the_same_suffix_is_named(tmp_path):
    write_pngs(tmp_path, some_data((3, 4, 5), "u1"), "yx")
    write_hdf5_export(tmp_path / "f1.png", some_data((4, 5), "u1"), axes="yx")
    with pytest.raises(CorruptFileError, match=r"f1\.png cannot be read as a picture"):
        open_stack(str(tmp_path / "f*.png"))


def test_what_cannot_be_stacked(tmp_path):
    write_tiffs(tmp_path, some_data((2, 4, 5), "u1"), "yx")
    (tmp_path / "f2.png").write_bytes(imagecodecs.png_encode(some_data((4, 5), "u1")))
    with pytest.raises(ArgumentError, match=r"must not mix formats: .*f0\.tif is \.tif, .*f2\.png is \.png"):
        open_stack(str(tmp_path / "f*"))
    with pytest.raises(SourceNotFoundError, match="no file matches"):
        open_stack(str(tmp_path / "g*"))
    with pytest.raises(ArgumentError, match="at least one file"):
        open_stack([])
    with pytest.raises(AxesError, match="one of t, z, c"):
        open_stack(str(tmp_path / "f*.tif"), "y")


def memory(data, names, chunks=None, **known):
    return ArrayInMemory(data, names, chunks or data.shape, **known)


def test_channel_names_follow_one_another():
    one = memory(np.zeros((2, 3, 2)), "yxc", channel_names=("a", "b"))
    other = memory(np.zeros((2, 3, 2)), "yxc", channel_names=("d", "e"))
    assert stack_of([one, other], "c").spec.channel_names == ("a", "b", "d", "e")
    assert stack_of([one, memory(np.zeros((2, 3, 2)), "yxc")], "c").spec.channel_names == ()
    assert stack_of([one, one], "t").spec.channel_names == ("a", "b")
    assert stack_of([one, other], "t").spec.channel_names == ()


def test_a_kind_that_differs_is_no_kind():
    one, other = (memory(np.zeros((2, 3), "u1"), "yx", kind=kind) for kind in ("labels", "segmentation"))
    assert stack_of([one, one]).spec.kind == "labels"
    assert stack_of([one, other]).spec.kind is None


def test_steps_are_kept_and_the_new_axis_has_none():
    source = stack_of([memory(np.zeros((2, 3)), "yx")] * 2, "z")
    assert [axis.scale for axis in source.spec.axes] == [None, 0.5, 0.5]


@pytest.mark.parametrize(("length", "chunk", "expected"), [(6, 3, 3), (6, 4, 6), (6, 6, 6), (6, 9, 6)])
def test_chunks_do_not_reach_into_the_next_file(length, chunk, expected):
    source = stack_of([memory(np.zeros((length, 2, 2)), "zyx", (chunk, 2, 2))] * 3, "z")
    assert source.spec.chunks == (expected, 2, 2)


def test_five_dimensions_take_no_sixth():
    member = memory(np.zeros((2, 2, 2, 2, 2)), "tzyxc")
    assert stack_of([member] * 2).spec.shape == (4, 2, 2, 2, 2)


def test_many_files_pickle_small(tmp_path):
    write_tiffs(tmp_path, some_data((40, 4, 5), "u1"), "yx")
    source = open_stack([Location.parse(path) for path in sorted(tmp_path.glob("f*.tif"))])
    assert len(pickle.dumps(source)) < 1500 + 40 * (150 + len(os.fspath(tmp_path)))


@st.composite
def stacks(draw):
    names = "".join(draw(st.permutations("tzyxc"))[: draw(st.integers(2, 5))])
    shape = tuple(draw(st.integers(1, 6)) for _ in names)
    chunks = tuple(draw(st.integers(1, 7)) for _ in names)
    new = [axis for axis in "tzc" if axis not in names]
    along = draw(st.sampled_from([None, *(axis for axis in "tzc" if axis in names), *(new if len(names) < 5 else [])]))
    return names, shape, chunks, draw(st.integers(1, 5)), along


@given(stacks(), st.data())
def test_any_stack_is_numpys_and_reads_only_what_it_must(stack, data):
    names, shape, chunks, count, along = stack
    parts = [np.arange(np.prod(shape), dtype="i4").reshape(shape) + 1000 * number for number in range(count)]
    asked: list[int] = []
    members = [
        ArrayInMemory(part, names, chunks, before=lambda region, number=number: asked.append(number))
        for number, part in enumerate(parts)
    ]
    source = stack_of(members, along)
    assert isinstance(source, StackSource)
    expected_axis = along or next((axis for axis in "tzc" if axis not in names), None)
    if expected_axis is not None and expected_axis not in names:
        expected, dims_expected, place, step = np.stack(parts), expected_axis + names, 0, 1
    else:
        place = names.index(expected_axis) if expected_axis else min(names.index(axis) for axis in "tzc")
        expected, dims_expected, step = np.concatenate(parts, axis=place), names, shape[place]
    assert dims(source) == dims_expected
    assert source.spec.shape == expected.shape
    region = tuple(slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in expected.shape)
    np.testing.assert_array_equal(source.read(region), expected[region], strict=True)
    touched = [n for n in range(count) if n * step < region[place].stop and (n + 1) * step > region[place].start]
    assert asked == (touched if expected[region].size else [])
    assert asked == sorted(set(asked))


def test_what_all_files_of_a_stack_lack_is_one_warning_with_their_number(tmp_path):
    for k in range(12):
        with h5py.File(tmp_path / f"a{k:02}.h5", "w") as file:
            file["data"] = np.zeros((5, 6, 7), np.uint8)
    with pytest.warns(MetadataWarning) as caught:
        open_stack(str(tmp_path / "a*.h5"))
    (message,) = [str(one.message) for one in caught]
    assert "a00.h5/data names no axes" in message
    assert "(and 11 more of 12 files likewise)" in message
