"""Chunks that suit no access, data without compression, and the costs that are stated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ilastik_lazy.core.grid import overlaps, region_shape
from ilastik_lazy.core.size_text import human_bytes
from ilastik_lazy.doctor import layout
from ilastik_lazy.doctor.layout import chunk_shape, chunk_size, read_in_one_thread, uncompressed
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.listing.statements import access_of

LARGE = (512, 512, 512)


@pytest.fixture
def spec(export):
    """The spec of an export, with another shape and other chunks."""

    def make(shape=LARGE, chunks=(64, 64, 64), axes="zyx", **options):
        small = tuple(min(length, 6) for length in shape)
        path = export("s.h5", small, axes, chunks=tuple(min(3, n) for n in small), **options)
        return replace(open_source(Location.parse(path)).spec, shape=shape, chunks=chunks)

    return make


def decoded(spec, axis):
    """Voxels that are decoded for each one of a plane, counted."""
    middle = spec.shape[axis] // 2
    region = tuple(slice(middle, middle + 1) if i == axis else slice(0, n) for i, n in enumerate(spec.shape))
    chunks = sum(1 for _ in overlaps(region, spec.chunks))
    return chunks * math.prod(spec.chunks) / math.prod(region_shape(region))


@pytest.mark.parametrize("chunks", [(1, 512, 512), (512, 16, 16), (2, 256, 256)])
def test_chunks_for_planes_along_one_axis_are_found_with_what_the_others_cost(spec, chunks):
    stored = spec(chunks=chunks)
    (finding,) = chunk_shape(stored)
    costs = {name: decoded(stored, i) for i, name in enumerate("zyx")}
    assert f"(times across {', '.join(f'{name} {cost:,.0f}' for name, cost in costs.items())})" in finding.what
    assert f"decodes {max(costs.values()):,.0f} times" in finding.what


@pytest.mark.parametrize("chunks", [(64, 64, 64), (16, 100, 100), (32, 128, 128), (1, 64, 64)])
def test_chunks_near_a_cube_suit_every_plane(spec, chunks):
    assert list(chunk_shape(spec(chunks=chunks))) == []


def test_planes_of_pictures_and_of_small_images_are_no_matter(spec):
    assert list(chunk_shape(spec((20_000, 20_000), (1, 20_000), "yx"))) == []
    assert list(chunk_shape(spec((1, 20_000, 20_000), (1, 20_000, 20), "zyx"))) == []
    assert list(chunk_shape(spec((200, 200, 200), (1, 200, 200)))) == []
    assert list(chunk_size(spec((200, 200, 200), (2, 2, 2)))) == []


@pytest.mark.parametrize(("chunk", "found"), [(1, False), (3, False), (4, True), (7, True)])
def test_channels_in_one_chunk_are_found_from_four_on(spec, chunk, found):
    stored = spec((*LARGE, 7), (32, 32, 32, chunk), "zyxc")
    findings = list(chunk_shape(stored))
    assert bool(findings) == found
    if found:
        assert findings[0].what.endswith(f"one channel decodes {chunk} times the voxels that it shows")


def test_a_plain_chunk_is_read_by_rows(spec):
    stored = spec(chunks=(512, 16, 16), filters="none")
    assert list(chunk_shape(stored)) == []


@pytest.mark.parametrize(("edge", "filters", "times"), [(10, "gzip", 9), (16, "gzip", 3), (10, "none", 41)])
def test_small_chunks_are_found_with_their_cost(spec, edge, filters, times):
    (finding,) = chunk_size(spec(chunks=(edge,) * 3, filters=filters))
    count = math.prod(-(-n // edge) for n in LARGE)
    assert finding.what.startswith(f"{count:,} chunks of only {human_bytes(edge**3)}")
    assert f"about {times} times as long" in finding.what


def test_large_chunks_are_found_with_the_memory_that_they_take(spec):
    stored = spec(chunks=(512, 512, 512))
    (finding,) = chunk_size(stored)
    assert finding.what.startswith("chunks of 134 MB")
    assert f"up to {human_bytes(512**3 * stored.storage.buffers)}" in finding.what
    assert list(chunk_size(spec(chunks=(20, 20, 20)))) == []


@pytest.mark.parametrize("filters", ["lzf", "szip"])
def test_images_behind_a_lock_are_found_with_the_reason(spec, filters):
    (finding,) = read_in_one_thread(spec(filters=filters))
    assert finding.what == f"it is read through h5py ({filters} filter): correct, but one thread at a time"
    assert list(read_in_one_thread(spec())) == []


def test_several_datasets_that_are_one_image_are_read_in_threads(spec):
    stored = spec()
    several = replace(stored, storage=replace(stored.storage, access="9 files, direct"))
    assert access_of(several) == access_of(stored)
    assert list(read_in_one_thread(several)) == []


@pytest.mark.parametrize("filters", ["none", "fletcher32"])
def test_data_without_compression_are_found_with_what_it_would_save(spec, filters):
    stored = spec(filters=filters)
    runs = [np.repeat(np.arange(256, dtype="u1"), 16)]
    (finding,) = uncompressed(stored, runs)
    assert finding.what.startswith("134 MB without compression (chunked layout): gzip makes about ")
    noise = [np.random.default_rng(0).integers(0, 256, 5000, dtype="u1")]
    assert list(uncompressed(stored, noise)) == []
    assert list(uncompressed(spec(), runs)) == []
    assert list(uncompressed(stored, [])) == []


def test_storing_anew_mends_it(export, found, monkeypatch, tmp_path):
    import ilastik_lazy as il

    monkeypatch.setattr(layout, "BLOCK_BYTES_MOST", 1000)
    data = np.repeat(np.arange(40, dtype="u1"), 1600).reshape(40, 40, 40)
    path = export(shape=data.shape, data=data, chunks=None, filters="none")
    named = found(path)
    assert set(named) == {"uncompressed", "one-thread"}
    assert "contiguous layout" in named["uncompressed"].what
    assert "h5py (contiguous layout)" in named["one-thread"].what
    assert set(found(path, trust="untrusted")) == {"uncompressed"}
    remedy = named["uncompressed"].remedy
    code = remedy.removeprefix("store it anew: ").split(" or ")[0].replace("'new.h5'", repr(str(tmp_path / "new.h5")))
    eval(code, {"il": il})
    monkeypatch.undo()
    assert found(tmp_path / "new.h5") == {}
