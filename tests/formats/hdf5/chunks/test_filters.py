"""Undoing HDF5's filters: right bytes or a `CorruptChunkError`, whichever package inflates."""

from __future__ import annotations

import importlib.util
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks.filters import Pipeline
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.compression import inflating
from tests.support.makers import some_data, write_hdf5_export

GZIP, SHUFFLE, FLETCHER32 = 1, 2, 3
PLAIN = (np.arange(3000) % 251).astype(np.uint8)
STREAM = zlib.compress(PLAIN.tobytes())

INFLATERS = {"deflate": inflating._with_deflate}
if importlib.util.find_spec("imagecodecs") is not None:
    INFLATERS["imagecodecs"] = inflating._with_imagecodecs()


@pytest.fixture(params=INFLATERS)
def inflater(request, monkeypatch):
    """Each inflater in turn as the one that pipelines use."""
    monkeypatch.setattr(inflating, "_inflater", lambda: (request.param, INFLATERS[request.param]))
    return request.param


def decoded(data, codes=(GZIP,), itemsize=1, size=PLAIN.size, mask=0):
    # Filled beforehand: what is left over from another chunk must never show through.
    out = np.full(size, 0xEE, np.uint8)
    Pipeline(codes, itemsize).decode_into(data, mask, out)
    return out


def test_inflates_what_zlib_compressed(inflater):
    for level in (0, 1, 9):
        np.testing.assert_array_equal(decoded(zlib.compress(PLAIN.tobytes(), level)), PLAIN)


def test_inflates_a_stream_behind_other_filters_too(inflater):
    shuffled = PLAIN.reshape(-1, 4).T.tobytes()
    np.testing.assert_array_equal(decoded(zlib.compress(shuffled), (SHUFFLE, GZIP), 4), PLAIN)


BROKEN = {
    "empty": b"",
    "one byte": STREAM[:1],
    "header only": STREAM[:2],
    "no stream": b"this is no zlib stream at all",
    "cut in the middle": STREAM[: len(STREAM) // 2],
    "cut before the checksum": STREAM[:-4],
    "cut by one byte": STREAM[:-1],
    "wrong checksum": STREAM[:-4] + b"\0\0\0\0",
    "short": zlib.compress(PLAIN[:-1].tobytes()),
    "long by one": zlib.compress(PLAIN.tobytes() + b"\0"),
    "half": zlib.compress(PLAIN[:1500].tobytes()),
    "nothing inside": zlib.compress(b""),
    "a bomb": zlib.compress(bytes(50_000_000)),
    "raw deflate without header": STREAM[2:-4],
    "gzip header": b"\x1f\x8b\x08\0\0\0\0\0\0\0" + STREAM[2:],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("codes", [(GZIP,), (SHUFFLE, GZIP)], ids=["gzip", "shuffle+gzip"])
def test_a_broken_stream_is_an_error_that_says_how(inflater, data, codes):
    with pytest.raises(CorruptChunkError, match=r"stream is damaged|inflates to|holds"):
        decoded(data, codes, 4)


def test_a_flipped_byte_is_an_error_or_harmless_but_never_wrong_data(inflater):
    for place in range(len(STREAM)):
        damaged = bytearray(STREAM)
        damaged[place] ^= 0x10
        try:
            found = decoded(bytes(damaged))
        except CorruptChunkError:
            continue
        np.testing.assert_array_equal(found, PLAIN, err_msg=f"byte {place}")


@given(st.binary(max_size=200), st.integers(1, 100))
def test_random_bytes_never_decode_to_another_size(data, size):
    for inflate in INFLATERS.values():
        out = np.full(size, 0xEE, np.uint8)
        try:
            inflate(data, out)
        except inflating.StreamError:
            continue
        assert out.tobytes() == zlib.decompressobj().decompress(data)


def test_a_wrong_checksum_is_an_error():
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("a", data=PLAIN.reshape(2, 1500), chunks=(1, 1500), fletcher32=True)
        stored = dataset.id.read_direct_chunk((0, 0))[1]
    np.testing.assert_array_equal(decoded(stored, (FLETCHER32,), size=1500), PLAIN[:1500])
    for place in (0, 700, 1499, 1500, 1503):
        damaged = bytearray(stored)
        damaged[place] ^= 1
        with pytest.raises(CorruptChunkError, match=r"checksum"):
            decoded(bytes(damaged), (FLETCHER32,), size=1500)


@pytest.mark.parametrize("size", range(5))
def test_a_chunk_too_short_for_its_checksum_is_an_error(size):
    # libhdf5 2.0.0 crashes on these (CVE-2026-19028 pattern).
    with pytest.raises(CorruptChunkError):
        decoded(bytes(size), (FLETCHER32,), size=1500)


def test_a_filter_that_the_mask_leaves_out_is_not_undone():
    shuffled = PLAIN.reshape(-1, 4).T.tobytes()
    for mask, stored in {0b00: zlib.compress(shuffled), 0b01: STREAM, 0b10: shuffled, 0b11: PLAIN.tobytes()}.items():
        np.testing.assert_array_equal(decoded(stored, (SHUFFLE, GZIP), 4, mask=mask), PLAIN)


@pytest.mark.parametrize("size", [PLAIN.size - 1, PLAIN.size + 1, 0])
def test_an_unfiltered_chunk_of_another_size_is_an_error(size):
    with pytest.raises(CorruptChunkError, match=rf"{size} bytes instead of 3000"):
        decoded(bytes(size), (GZIP,), mask=1)


@pytest.mark.parametrize("itemsize", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("length", [1, 7, 8, 24, 1001])
def test_shuffle_is_undone_as_libhdf5_does_it(itemsize, length):
    # Opaque elements, so that h5py accepts an item size of 3; no other filter hides a mistake.
    plain = np.arange(length * itemsize, dtype=np.uint16).astype(np.uint8)
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("a", (length,), f"V{itemsize}", chunks=(length,), shuffle=True)
        dataset[...] = plain.view(f"V{itemsize}")
        stored = dataset.id.read_direct_chunk((0,))[1]
    np.testing.assert_array_equal(decoded(stored, (SHUFFLE,), itemsize, plain.size), plain)


ORDERS = {
    "fletcher32 then gzip": lambda plist: (plist.set_fletcher32(), plist.set_deflate(4)),
    "gzip then shuffle": lambda plist: (plist.set_deflate(4), plist.set_shuffle()),
    "fletcher32 twice": lambda plist: (plist.set_fletcher32(), plist.set_deflate(4), plist.set_fletcher32()),
    "shuffle twice": lambda plist: (plist.set_shuffle(), plist.set_shuffle()),
    "fletcher32 then shuffle then gzip": lambda p: (p.set_fletcher32(), p.set_shuffle(), p.set_deflate(1)),
    "gzip twice": lambda plist: (plist.set_deflate(4), plist.set_deflate(1)),
}


@pytest.mark.parametrize("order", ORDERS)
def test_filters_in_any_order_read_as_h5py_reads_them(tmp_path, order):
    path, data = tmp_path / "a.h5", some_data((10, 13), "<f4")
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 5))
    ORDERS[order](plist)
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((10, 13)), plist)
        file["data"][...] = data
        file["data"].attrs["axes"] = "xy"
    found = open_source(Location.parse(path)).read((slice(0, 10), slice(0, 13)))
    np.testing.assert_array_equal(found, data, strict=True)


def test_names_tell_the_order_of_writing():
    assert Pipeline((SHUFFLE, GZIP, FLETCHER32), 4).name == "shuffle+gzip+fletcher32"
    assert Pipeline((), 4).name == "none"
    assert Pipeline((40000,), 4).name == "filter 40000"


def test_says_which_filters_it_can_undo():
    assert Pipeline((SHUFFLE, GZIP, FLETCHER32), 4).is_supported
    assert not any(Pipeline(codes, 4).is_supported for codes in [(4,), (GZIP, 32000), (GZIP, GZIP), (6,), (40000,)])


@pytest.mark.parametrize("size", [1, 3, 18, 80, 81, 82])
def test_a_scaleoffset_stream_that_ends_early_is_an_error_and_not_what_lies_behind_it(tmp_path, size):
    data = some_data((3, 4, 4, 1), "<i4") % 1000
    write_hdf5_export(tmp_path / "a.h5", data, chunks=data.shape, scaleoffset=0)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        mask, stored = file["exported_data"].id.read_direct_chunk((0, 0, 0, 0))
        # 48 elements of 10 bits behind 21 bytes.
        assert len(stored) == 82
        file["exported_data"].id.write_direct_chunk((0, 0, 0, 0), stored[:size], mask)
    source = open_source(Location.parse(tmp_path / "a.h5"))
    region = tuple(slice(0, n) for n in data.shape)
    if size >= 81:
        np.testing.assert_array_equal(source.read(region), data)
    else:
        with pytest.raises(CorruptChunkError):
            source.read(region)


def test_the_inflater_has_a_name():
    assert inflating.inflater_name() in INFLATERS
