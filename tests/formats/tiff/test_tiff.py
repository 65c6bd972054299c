"""TIFF: values beside tifffile's own, axes and pixel sizes beside ilastik's, and what is damaged beside nothing."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.errors import (
    DatasetNotFoundError,
)
from ilastik_lazy.formats import tiff
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage import files
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.shared_files import entries, over_files, shared_path
from tests.support.tiff_makers import LAYOUTS, SAMPLES, dims, opened, whole, write

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")


class TestTiffSource(SourceContract):
    @pytest.fixture(params=LAYOUTS)
    def stored(self, request, tmp_path):
        path = tmp_path / "export.tif"
        data, source = write(path, **LAYOUTS[request.param]), opened(path)
        return Stored(path, source, data.reshape(source.spec.shape))  # OME states all five axes

    def test_reads_what_tifffile_reads(self, stored):
        values = tifffile.imread(stored.path).reshape(stored.source.spec.shape)
        np.testing.assert_array_equal(stored.source.read(stored.whole), values)

    def test_has_the_axes_that_were_written(self, stored):
        assert dims(stored.source) in ("tzcyx", "zcyx", "tzyx")


class TestSamples(SourceContract):
    @pytest.fixture(params=SAMPLES)
    def stored(self, request, tmp_path):
        options = dict(SAMPLES[request.param])
        axes, shape = options.pop("axes"), options.pop("shape")
        path = tmp_path / "rgb.tif"
        data = write(path, shape, "u1", photometric="rgb", metadata={"axes": axes}, **options)
        source = opened(path)
        assert dims(source) == axes.lower().replace("s", "c")
        return Stored(path, source, data)


# ilastik's own files


def manifest(folder):
    found = entries(folder, ".tif", ".tiff")
    return [(folder, entry) for entry in found if "sequence" not in entry.get("format", "")]


STATED = [*manifest("writer"), *manifest("workflows"), *manifest("history")]


@pytest.mark.shared
def test_the_files_are_all_there():
    shared_path("ilastik-files", "workflows")
    counts = [len(manifest(folder)) for folder in ("writer", "workflows", "history")]
    assert counts == [28, 5, 11]


@over_files("folder, entry", STATED, lambda folder, entry: f"{folder}/{entry['path']}")
def test_real_files_open_as_stated(folder, entry):
    path = shared_path("ilastik-files", folder, entry["path"])
    source = opened(path)
    values = source.read(whole(source))
    np.testing.assert_array_equal(np.squeeze(values), np.squeeze(tifffile.imread(path)), strict=True)
    if folder == "history":
        return
    if "axes" in entry:
        assert (dims(source), source.spec.shape) == (entry["axes"], tuple(entry["shape"]))
    else:
        # The manifest of the workflows gives what tifffile makes of them, without the axes of length 1.
        assert dims(source) == "tzcyx"
        assert [n for n in source.spec.shape if n > 1] == entry["shape"]
        assert "".join(a for a, n in zip("TZCYX", source.spec.shape, strict=True) if n > 1) == entry["tiff_axes"]
    assert source.spec.dtype == np.dtype(entry["dtype"])
    assert hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest() == entry["sha256"]
    steps = {axis.name: axis.scale for axis in source.spec.axes if axis.scale is not None}
    if folder == "writer":
        assert steps == pytest.approx(entry.get("resolution", {}), rel=1e-9)


# By hand from the tags: the step is denominator over numerator of X/YResolution, `spacing`, `finterval`.
IMAGEJ = {
    "2d_with_pixel_sizes": {"y": (1e6 / 166666, "nanometer"), "x": (5.0, "centimeter")},
    "pix_res__2d": {"y": (1e6 / 142857, "nanometer"), "x": (2.0, "centimeter")},
    "pix_res__2d_stringified_tuple": {"y": (1e6 / 166666, "nanometer"), "x": (5.0, "centimeter")},
    "pix_res__2d_t": {"t": (3.0, "minute"), "y": (1e6 / 333333, "picometer"), "x": (50.0, "micrometer")},
    "pix_res__2d_zero_division": {"y": (None, "millimeter"), "x": (None, "centimeter")},
    "pix_res__3d": {"z": (2.0, "picometer"), "y": (1e6 / 166666, "millimeter"), "x": (1e6 / 90909, "centimeter")},
    "pix_res__3d_c": {
        "z": (13.0, "centimeter"), "c": (None, ""), "y": (1e6 / 90909, "nanometer"), "x": (2.0, "micrometer")
    },
    "pix_res__3d_t": {
        "t": (3.0, "second"), "z": (7.0, "millimeter"), "y": (5.0, "millimeter"), "x": (1e6 / 333333, "millimeter")
    },
    "pix_res__3d_t_no_meta": {"t": (None, ""), "z": (None, ""), "y": (None, ""), "x": (None, "")},
    "pix_res__3d_t_other_meta": {
        "t": (2.0, "minute"), "z": (2.0, "centimeter"), "y": (0.1, "micrometer"), "x": (1e6 / 318319, "nanometer")
    },
    "pix_res__5d": {
        "t": (3.0, "hour"), "z": (8.0, "nanometer"), "c": (None, ""), "y": (1e6 / 76923, "picometer"),
        "x": (1e6 / 58823, "centimeter"),
    },
}  # fmt: skip


@pytest.mark.shared
@pytest.mark.parametrize("name", IMAGEJ)
def test_pixel_sizes_of_imagej(name):
    source = opened(shared_path("ilastik-files", "history", f"{name}.tif"))
    found = {axis.name: (axis.scale, axis.unit) for axis in source.spec.axes}
    assert found.keys() == IMAGEJ[name].keys()
    for axis, (step, unit) in IMAGEJ[name].items():
        assert found[axis] == (pytest.approx(step) if step else None, unit)


def test_pixel_sizes_of_ome():
    source = opened(shared_path("ilastik-files", "writer", "multipage_tiff", "meta_all.tiff"))
    found = {axis.name: (axis.scale, axis.unit) for axis in source.spec.axes}
    um = "micrometer"
    assert found == {"t": (1.5, "minute"), "z": (0.5, um), "c": (None, ""), "y": (0.1, um), "x": (0.1, um)}


def test_a_unit_without_a_size_is_kept():
    source = opened(shared_path("ilastik-files", "writer", "multipage_tiff", "meta_units_nores.tiff"))
    assert [(axis.name, axis.scale, axis.unit) for axis in source.spec.axes] == [
        ("t", None, ""), ("z", None, ""), ("c", None, ""), ("y", None, "nanometer"), ("x", None, "nanometer")
    ]  # fmt: skip


@pytest.mark.shared
def test_masks_of_the_cell_tracking_challenge_open():
    path = shared_path("ilastik-files", "workflows", "tracking", "trk_dm__plugin_CellTrackingChallenge", "mask000.tif")
    source = opened(path)
    np.testing.assert_array_equal(source.read(whole(source)), tifffile.imread(path), strict=True)


# Several images


def write_two(path):
    a, b = some_data((20, 21)), some_data((5, 10, 11), "u1")
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(a, metadata={"axes": "YX", "Name": "first"})
        file.write(b, metadata={"axes": "ZYX", "Name": "second"}, photometric="minisblack")
    return a, b


def test_several_images_are_listed_and_chosen_by_name_or_number(tmp_path):
    path = tmp_path / "two.ome.tif"
    a, b = write_two(path)
    assert tiff.images(Location.parse(path), DEFAULTS) == ["first", "second"]
    with pytest.raises(DatasetNotFoundError, match=r"2 images: first YX .* second ZYX"):
        opened(path)
    for choice, data in (("first", a), ("0", a), ("second", b), ("1", b)):
        source = opened(path, choice)
        np.testing.assert_array_equal(source.read(whole(source)).squeeze(), data, strict=True)
    for choice in ("third", "2", "-1", "²"):
        with pytest.raises(DatasetNotFoundError, match="it holds first"):
            opened(path, choice)


def test_a_pyramid_opens_at_full_resolution(tmp_path):
    data = some_data((64, 64), "u1")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(data, subifds=1, tile=(32, 32), metadata={"axes": "YX"})
        file.write(data[::2, ::2], subfiletype=1, tile=(32, 32))
    source = opened(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(source.read(whole(source))[0, 0, 0], data, strict=True)


def test_pages_without_any_metadata(tmp_path):
    data = some_data((4, 20, 21), "u2")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in data:
            file.write(page, metadata=None, contiguous=False)
    source = opened(tmp_path / "a.tif")
    assert dims(source) == "tyx"
    np.testing.assert_array_equal(source.read(whole(source)), data, strict=True)


@pytest.mark.parametrize("bits", [1, 12])
def test_packed_bits(tmp_path, bits):
    data = (some_data((3, 20, 21), "u2") % 2**bits).astype("?" if bits == 1 else "u2")
    options = {} if bits == 1 else {"bitspersample": bits}
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "ZYX"}, photometric="minisblack", **options)
    source = opened(tmp_path / "a.tif")
    np.testing.assert_array_equal(source.read(whole(source)), data, strict=True)


# Laziness


class CountedReads:
    """Remembers how many bytes were asked for."""

    def __init__(self, monkeypatch):
        self.nbytes = 0
        for name in ("read_exactly", "read_into"):
            plain = getattr(files, name)
            monkeypatch.setattr(tiff, name, lambda *a, plain=plain, name=name: self._count(plain, name, *a))

    def _count(self, plain, name, fd, what, *rest):
        self.nbytes += len(what) if name == "read_into" else what
        return plain(fd, what, *rest)


@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"tile": (16, 16)}, {"rowsperstrip": 8}])
def test_only_what_a_region_touches_is_read(tmp_path, monkeypatch, options):
    write(tmp_path / "a.tif", (50, 64, 64), "u1", metadata={"axes": "ZYX"}, **options)
    source, counted = opened(tmp_path / "a.tif"), CountedReads(monkeypatch)
    source.read((slice(7, 8), slice(0, 64), slice(0, 64)))
    assert 0 < counted.nbytes <= 1.6 * 64 * 64
    counted.nbytes = 0
    source.read((slice(7, 8), slice(3, 3), slice(0, 64)))
    assert counted.nbytes == 0
    source.read((slice(7, 9), slice(0, 8), slice(0, 8)))
    if options.keys() & {"tile", "rowsperstrip"} or not options:
        assert counted.nbytes <= 2 * 512


def test_a_read_needs_little_more_memory_than_it_returns(tmp_path):
    write(tmp_path / "a.tif", (4, 2000, 2000), "u2", byteorder=">", metadata={"axes": "ZYX"})
    source = opened(tmp_path / "a.tif")
    source.read((slice(0, 1),) * 3)
    tracemalloc.start()
    source.read((slice(1, 2), slice(0, 2000), slice(0, 2000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6 + 6 * 2**20


def test_small_strips_are_grouped_into_chunks(tmp_path):
    write(tmp_path / "a.tif", (2000, 1000), "u2", rowsperstrip=1, compression="lzw", metadata={"axes": "YX"})
    assert opened(tmp_path / "a.tif").spec.chunks == (524, 1000)
    write(tmp_path / "b.tif", (2, 2000, 3000), "u1", tile=(256, 256), metadata={"axes": "ZYX"})
    assert opened(tmp_path / "b.tif").spec.chunks == (1, 256, 3000)


@given(st.data())
def test_any_region_of_any_layout(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 20), min_size=2, max_size=5)))
    letters = "TZCYX"[-len(shape) :]
    options: dict[str, Any] = data.draw(
        st.sampled_from([{}, {"compression": "lzw"}, {"tile": (16, 16)}, {"rowsperstrip": 3}, {"ome": True}])
    )
    byteorder = data.draw(st.sampled_from("<>"))
    path = tmp_path_factory.mktemp("any") / "a.tif"
    values = write(path, shape, data.draw(st.sampled_from(["u1", "u2", "f4"])), byteorder=byteorder,
                   metadata={"axes": letters}, **options)  # fmt: skip
    source = opened(path)
    values = values.reshape(source.spec.shape)
    region = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in source.spec.shape
    )
    np.testing.assert_array_equal(source.read(region), values[region], strict=True)
