"""Blocks of N5 datasets: every compression, damage, blocks that are not there, links."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from ilastik_lazy.errors import (
    CorruptChunkError,
    IncompleteSourceWarning,
    SourceChangedError,
    SourceIOError,
    UnsafePathError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats.n5 import blocks as n5_blocks
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.n5_makers import CHUNKS, COMPRESSIONS, SHAPE, opened, values_of, write_n5

LAYOUTS: dict[str, dict[str, Any]] = {name: {"compression": name} for name in COMPRESSIONS} | {
    "padded": {"padded": True},
    "padded raw": {"padded": True, "compression": "raw"},
    "bytes": {"dtype": "u1", "compression": "raw"},
    "doubles": {"dtype": "f8"},
    "blocks of all": {"chunks": (16, 16, 16, 4)},
}


class TestN5Source(SourceContract):
    @pytest.fixture(params=LAYOUTS)
    def stored(self, request, tmp_path):
        options = dict(LAYOUTS[request.param])
        data = some_data(SHAPE, options.pop("dtype", "f4"))
        data[3:6, 4:8, 0:4] = 0  # two blocks that are not there
        path = tmp_path / "export.n5"
        write_n5(path, data, **options)
        return Stored(path / "exported_data" / "attributes.json", opened(path), data)

    def test_says_how_it_is_stored(self, stored):
        storage = stored.source.spec.storage
        assert (storage.layout, storage.access, storage.location) == ("chunked", "direct", str(stored.path.parent))
        assert storage.compression in n5_blocks.COMPRESSIONS


@pytest.mark.parametrize("kind", ["raw", "gzip", "zlib", "bzip2", "xz", "zstd", "blosc"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f4", "f8"])
def test_tensorstore_writes_what_is_read_here_and_reads_what_is_written_here(tmp_path, kind, dtype):
    data = some_data(SHAPE, dtype)
    # tensorstore takes no text for "axes", as ilastik writes it.
    write_n5(tmp_path / "a.n5", data, compression=kind, attributes={"axes": list("cxyz")})
    store = {"driver": "n5", "kvstore": {"driver": "file", "path": str(tmp_path / "a.n5" / "exported_data")}}
    found = tensorstore.open(store).result().read().result()
    np.testing.assert_array_equal(found.T, data)
    # tensorstore pads the blocks at the edge, and never leaves one out that was written to.
    metadata = {"dimensions": SHAPE[::-1], "blockSize": CHUNKS[::-1], "dataType": data.dtype.name}
    metadata["compression"] = COMPRESSIONS[kind][0]
    store["kvstore"]["path"] = str(tmp_path / "b.n5" / "data")
    tensorstore.open({**store, "metadata": metadata, "create": True}).result().write(data.T).result()
    np.testing.assert_array_equal(values_of(opened(tmp_path / "b.n5", axes="zyxc")), data, strict=True)


def test_blocks_that_are_not_there_are_zero_without_a_warning(tmp_path):
    data = np.zeros(SHAPE, "u1")
    data[0, 0, 0, 0] = 1
    write_n5(tmp_path / "a.n5", data)
    np.testing.assert_array_equal(values_of(opened(tmp_path / "a.n5")), data, strict=True)


def test_a_dataset_without_any_block_warns(tmp_path):
    write_n5(tmp_path / "a.n5", np.zeros(SHAPE, "u1"))
    with pytest.warns(IncompleteSourceWarning, match=r"no block"):
        source = opened(tmp_path / "a.n5")
    assert not values_of(source).any()


def test_an_empty_array_needs_no_block(tmp_path):
    write_n5(tmp_path / "a.n5", np.zeros((0, 4, 5, 1), "u1"))
    assert values_of(opened(tmp_path / "a.n5")).shape == (0, 4, 5, 1)


# What may be wrong with the stored bytes of a block: 48 float32, then compressed.
DAMAGE = {
    "cut": lambda encode, data: encode(data)[:-5],
    "halved": lambda encode, data: encode(data)[: len(encode(data)) // 2],
    "no bytes": lambda encode, data: b"",
    "noise": lambda encode, data: bytes(range(7, 107)),
    "too few elements": lambda encode, data: encode(data[:-4]),
    "one byte too few": lambda encode, data: encode(data[:-1]),
    "too many elements": lambda encode, data: encode(data + data[:4]),
    "a bomb": lambda encode, data: encode(bytes(4000) + data),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_damaged_block_is_an_error(tmp_path, compression, damage):
    data = some_data(SHAPE)
    write_n5(tmp_path / "a.n5", data, compression=compression)
    path = tmp_path / "a.n5" / "exported_data" / "0" / "0" / "0" / "0"
    block = data[:3, :4, :4, :1].astype(">f4").tobytes()
    path.write_bytes(path.read_bytes()[:20] + DAMAGE[damage](COMPRESSIONS[compression][1], block))
    source = opened(tmp_path / "a.n5")
    with pytest.raises(CorruptChunkError, match=r"exported_data/0/0/0/0"):
        values_of(source)
    np.testing.assert_array_equal(source.read((slice(3, 7), *map(slice, (0, 0, 0), SHAPE[1:]))), data[3:])


def test_lz4_of_java_is_refused_and_not_called_damaged(tmp_path):
    write_n5(tmp_path / "a.n5", some_data(SHAPE), compression="lz4")
    path = tmp_path / "a.n5" / "exported_data" / "0" / "0" / "0" / "0"
    content = path.read_bytes()
    block = content[20:]
    path.write_bytes(content[:20] + struct.pack("<8sBiii", b"LZ4Block", 0x26, len(block), 192, 0) + block)
    with pytest.raises(UnsupportedFilterError, match=r"exported_data/0/0/0/0.* of Java.* gzip"):
        values_of(opened(tmp_path / "a.n5"))


@pytest.mark.parametrize(
    "head",
    [(2, 4, 1, 4, 4, 3), (0, 3, 1, 4, 4, 3), (0, 4, 1, 4, 4, 2), (0, 4, 1, 4, 5, 3), (0, 4, 2**31, 4, 4, 3),
     (1, 4, 1, 4, 4, 3), (0, 4, 0, 4, 4, 3)],
)  # fmt: skip
def test_a_wrong_header_is_an_error(tmp_path, head):
    write_n5(tmp_path / "a.n5", some_data(SHAPE), compression="raw")
    path = tmp_path / "a.n5" / "exported_data" / "0" / "0" / "0" / "0"
    path.write_bytes(struct.pack(">HH4I", *head) + path.read_bytes()[20:])
    with pytest.raises(CorruptChunkError, match=r"header"):
        values_of(opened(tmp_path / "a.n5"))


@pytest.mark.parametrize("size", [0, 3, 19, 20, 22, 24])
def test_a_header_alone_or_less_is_an_error(tmp_path, size):
    write_n5(tmp_path / "a.n5", some_data(SHAPE))
    os.truncate(tmp_path / "a.n5" / "exported_data" / "0" / "0" / "0" / "0", size)
    with pytest.raises(CorruptChunkError):
        values_of(opened(tmp_path / "a.n5"))


def test_a_dataset_deleted_meanwhile_is_no_dataset_of_zeros(tmp_path, monkeypatch):
    write_n5(tmp_path / "a.n5", some_data(SHAPE))
    source = opened(tmp_path / "a.n5")

    def overlaps_and_delete(*arguments):
        shutil.rmtree(tmp_path / "a.n5" / "exported_data")
        return real(*arguments)

    real = n5_blocks.overlaps
    monkeypatch.setattr(n5_blocks, "overlaps", overlaps_and_delete)
    with pytest.raises(SourceChangedError):
        values_of(source)


def test_a_block_that_leads_out_of_the_dataset_is_refused(tmp_path):
    write_n5(tmp_path / "a.n5", some_data(SHAPE))
    folder = tmp_path / "a.n5" / "exported_data"
    (tmp_path / "secret").write_bytes((folder / "0" / "0" / "0" / "0").read_bytes())
    for part in ("0/0/0/0", "0/0/0"):
        os.rename(folder / part, tmp_path / "kept")
        for target in (tmp_path / "secret", Path("/etc/passwd"), tmp_path / "nothing", tmp_path / "kept"):
            (folder / part).symlink_to(target)
            with pytest.raises(UnsafePathError, match=r"link out of .*allow_external="):
                values_of(opened(tmp_path / "a.n5"))
            (folder / part).unlink()
        os.rename(tmp_path / "kept", folder / part)


def test_a_link_within_the_dataset_is_followed_but_never_to_nothing(tmp_path):
    data = some_data(SHAPE)
    data[:3, :4, 4:8, 0] = data[:3, :4, :4, 0]
    write_n5(tmp_path / "a.n5", data)
    second = tmp_path / "a.n5" / "exported_data" / "0" / "1" / "0" / "0"
    second.unlink()
    second.symlink_to("../../0/0/0")
    np.testing.assert_array_equal(values_of(opened(tmp_path / "a.n5")), data)
    second.unlink()
    second.symlink_to("../../0/0/nothing")
    with pytest.raises(SourceIOError, match=r"link to nothing"):
        values_of(opened(tmp_path / "a.n5"))
