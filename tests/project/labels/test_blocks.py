"""Drawn labels, put together from their blocks."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.options import DEFAULTS, Limits, OpenOptions
from ilastik_lazy.errors import (
    CorruptChunkError,
    ExternalReferenceError,
    LimitExceededError,
    MetadataError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.labels import blocks as module
from ilastik_lazy.project.labels.blocks import label_blocks, open_labels
from ilastik_lazy.storage.files import stamp_of
from tests.support.contract import SourceContract, Stored
from tests.support.makers import axistags

GROUP = "PixelClassification/LabelSets/labels000"
SHAPE = (7, 90, 110, 1)
BOXES = [((0, 3, 5, 0), (2, 8, 30, 1)), ((1, 40, 60, 0), (7, 90, 110, 1)), ((6, 0, 0, 0), (7, 1, 1, 1))]
MASKED = 1


def slice_text(start, stop):
    return "[" + ",".join(f"{a}:{b}" for a, b in zip(start, stop, strict=True)) + "]"


def write_blocks(path, *, boxes=BOXES, shape=SHAPE, tags="zyxc", as_bytes=False, masked=False, **options):
    """Write a lane of labels, and return the label image, placed by hand."""
    rng, image = np.random.default_rng(3), np.zeros(shape, np.uint8)
    with h5py.File(path, "w") as file:
        group = file.create_group(GROUP)
        for number, (start, stop) in enumerate(boxes):
            values = rng.integers(0, 4, np.subtract(stop, start)).astype(np.uint8)
            name, hidden = f"block{number:04d}", np.zeros(values.shape, bool)
            if masked:
                node = group.create_group(name)
                hidden = rng.random(values.shape) < 0.3
                node.create_dataset("data", data=values, **options)
                node["mask"], node["fill_value"] = hidden, np.uint8(MASKED)
            else:
                node = group.create_dataset(name, data=values, **options)
            text = slice_text(start, stop)
            node.attrs["blockSlice"] = np.bytes_(text) if as_bytes else text
            if tags:
                node.attrs["axistags"] = axistags(tags)
            image[tuple(map(slice, start, stop))] = np.where(hidden, 0, values)
        if masked:
            group.attrs["meta.has_mask"] = True
    return image


def open_blocks(path, shape=SHAPE, axes="zyxc", limits=None):
    location = Location(str(path), GROUP)
    return open_labels(
        location, stamp_of(str(path)), tuple(map(Axis, axes)), shape, options=OpenOptions(limits=limits or Limits())
    )


WRITTEN = {
    "plain": {},
    "compressed": {"compression": "gzip"},
    "chunked": {"chunks": (1, 2, 2, 1), "boxes": BOXES[:2]},
    "untagged": {"tags": None},
    "bytes": {"as_bytes": True},
    "masked": {"masked": True},
    "masked and compressed": {"masked": True, "compression": "gzip"},
    "nothing drawn": {"boxes": []},
}


class TestContract(SourceContract):
    @pytest.fixture(params=WRITTEN)
    def stored(self, tmp_path, request):
        path = tmp_path / "p.ilp"
        data = write_blocks(path, **WRITTEN[request.param])
        return Stored(path, open_blocks(path), data)


def test_only_blocks_that_the_region_touches_are_read(tmp_path, monkeypatch):
    write_blocks(tmp_path / "p.ilp")
    source = open_blocks(tmp_path / "p.ilp")
    read = []
    original = module.dataset_at
    monkeypatch.setattr(module, "dataset_at", lambda file, path: read.append(path) or original(file, path))
    source.read((slice(0, 1), slice(0, 30), slice(0, 40), slice(0, 1)))
    assert set(read) == {f"{GROUP}/block0000"}
    read.clear()
    source.read((slice(0, 1), slice(20, 30), slice(50, 60), slice(0, 1)))
    assert read == []


def test_hundreds_of_blocks_still_pickle_small(tmp_path):
    boxes = [((0, i, j, 0), (1, i + 1, j + 1, 1)) for i in range(16) for j in range(20)]
    image = write_blocks(tmp_path / "p.ilp", boxes=boxes)
    import pickle

    source = open_blocks(tmp_path / "p.ilp")
    whole = tuple(slice(0, n) for n in SHAPE)
    np.testing.assert_array_equal(source.read(whole), image)
    assert len(pickle.dumps(source)) < 3000


def test_the_axes_that_blocks_name_are_told(tmp_path):
    for tags in ("zyxc", None):
        write_blocks(tmp_path / f"{tags}.ilp", tags=tags)
        path = str(tmp_path / f"{tags}.ilp")
        blocks = label_blocks(Location(path, GROUP), stamp_of(path), DEFAULTS)
        assert blocks.order == (tuple(tags) if tags else None)
        assert blocks.ends == (7, 90, 110, 1)


def edited(path, edit):
    write_blocks(path)
    with h5py.File(path, "r+") as file:
        edit(file[GROUP])
    return path


@pytest.mark.parametrize(
    "text",
    [
        "[__import__('os').mkdir('x'):4,0:4,0:4,0:1]",
        "0:2,3:8,5:30,0:1",
        "[0:2,3:8,5:30,0:1",
        "[0:2:1,3:8,5:30,0:1]",
        "[-2:0,3:8,5:30,0:1]",
        "[0:2,3:8,5:30,0:1]\n",
        "[" + "9" * 5000 + ":2,3:8,5:30,0:1]",
        "[0:2,3:8,5:30]",
        "[0:2,3:8,5:31,0:1]",
        "[2:0,3:8,5:30,0:1]",
        "[1000000:1000002,3:8,5:30,0:1]",
        "",
        7,
    ],
)
def test_a_slice_that_is_none_or_does_not_fit_is_refused(tmp_path, text):
    path = edited(tmp_path / "p.ilp", lambda group: group["block0000"].attrs.__setitem__("blockSlice", text))
    with pytest.raises(MetadataError, match=r"p\.ilp.*block0000"):
        open_blocks(path)


def test_a_block_without_a_slice_is_refused(tmp_path):
    path = edited(tmp_path / "p.ilp", lambda group: group["block0000"].attrs.__delitem__("blockSlice"))
    with pytest.raises(MetadataError, match=r"blockSlice"):
        open_blocks(path)


def test_blocks_of_different_axes_are_refused(tmp_path):
    path = edited(tmp_path / "p.ilp", lambda group: group["block0000"].attrs.__setitem__("axistags", axistags("zxyc")))
    with pytest.raises(MetadataError, match=r"different axes"):
        open_blocks(path)


@pytest.mark.parametrize("dtype", ["<u4", "<f4", "S1"])
def test_values_that_are_no_labels_are_refused(tmp_path, dtype):
    def replace(group):
        del group["block0000"]
        group["block0000"] = np.zeros((2, 5, 25, 1), dtype)
        group["block0000"].attrs["blockSlice"] = "[0:2,3:8,5:30,0:1]"

    with pytest.raises(MetadataError, match=r"uint8"):
        open_blocks(edited(tmp_path / "p.ilp", replace))


@pytest.mark.parametrize("target", ["block", "lane"])
def test_blocks_in_another_file_are_not_looked_for(tmp_path, target):
    write_blocks(tmp_path / "other.ilp")
    place = GROUP if target == "lane" else f"{GROUP}/block0000"

    def link(group):
        file = group.file
        del file[place]
        file[place] = h5py.ExternalLink("other.ilp", place)

    with pytest.raises(ExternalReferenceError):
        open_blocks(edited(tmp_path / "p.ilp", link))


def test_bytes_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(b"\1" * 250)

    def redirect(group):
        del group["block0000"]
        block = group.create_dataset("block0000", (2, 5, 25, 1), "u1", external=[(str(tmp_path / "secret"), 0, 250)])
        block.attrs["blockSlice"] = "[0:2,3:8,5:30,0:1]"

    with pytest.raises(ExternalReferenceError):
        open_blocks(edited(tmp_path / "p.ilp", redirect))


def test_a_filter_that_is_not_known_is_refused_at_opening(tmp_path):
    def filtered(group):
        del group["block0000"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((2, 5, 25, 1))
        plist.set_filter(40000, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((2, 5, 25, 1))
        h5py.h5d.create(group.id, b"block0000", h5py.h5t.NATIVE_UINT8, space, plist)
        group["block0000"].id.write_direct_chunk((0, 0, 0, 0), b"coded")
        group["block0000"].attrs["blockSlice"] = "[0:2,3:8,5:30,0:1]"

    with pytest.raises(UnsupportedFilterError):
        open_blocks(edited(tmp_path / "p.ilp", filtered))


def test_a_damaged_block_is_an_error_and_never_zeros(tmp_path):
    path = tmp_path / "p.ilp"
    write_blocks(path, compression="gzip")
    with h5py.File(path) as file:
        offset = file[f"{GROUP}/block0001"].id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 40)
    source = open_blocks(path)
    with pytest.raises(CorruptChunkError):
        source.read(tuple(slice(0, n) for n in SHAPE))


def test_an_image_beyond_the_limits_is_refused(tmp_path):
    write_blocks(tmp_path / "p.ilp")
    with pytest.raises(LimitExceededError):
        open_blocks(tmp_path / "p.ilp", (10**9, 90, 110, 1))
    with pytest.raises(LimitExceededError):
        open_blocks(tmp_path / "p.ilp", limits=Limits(members=2))
