"""Chunks: passed on as stored, decoded where they have to be, and errors where they cannot be read."""

from __future__ import annotations

import logging
import zlib

import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import IncompleteSourceWarning
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.serving import pyramid
from tests.serving.cases import CASES, CHUNKS, SHAPE, export
from tests.serving.requests import ask
from tests.support.contract import CHANGES
from tests.support.makers import some_data, write_hdf5_export
from tests.support.ome_zarr.fakes import small_plans

FIRST = "scale0/image/c/0/0/0/0"
# With it, no chunk is read for the contrast in the metadata.
NOTED = {"drange": np.array([0.0, 1.0])}


@pytest.fixture(autouse=True)
def small():
    with small_plans(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "_COARSEST_PLANE", 8)
        yield


@pytest.fixture
def reads(monkeypatch):
    """Regions that were decoded."""
    seen = []

    def counted(self, region, read=DirectHdf5Source.read):
        seen.append(region)
        return read(self, region)

    monkeypatch.setattr(DirectHdf5Source, "read", counted)
    return seen


class TestStoredChunks:
    def test_are_passed_on_without_being_decoded(self, tmp_path, reads):
        data = export(tmp_path / "a.h5", attributes=NOTED)
        with il.serve(tmp_path / "a.h5") as server:
            for url in (server.url, server.older_urls[0]):
                assert (zarr.open_array(f"{url}/scale0/image", mode="r")[:] == data.transpose(3, 0, 1, 2)).any()
        assert reads == []

    def test_are_the_bytes_of_the_file(self, tmp_path):
        export(tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5") as file:
            _, stored = file["exported_data"].id.read_direct_chunk((5, 12, 32, 1))
        with il.serve(tmp_path / "a.h5") as server:
            for key in (f"{server.url}/scale0/image/c/1/1/1/2", f"{server.older_urls[0]}/scale0/image/1/1/1/2"):
                found = ask(key, Accept_Encoding="gzip, deflate")
                assert found.headers["content-encoding"] == "deflate"
                assert found.headers["vary"] == "Accept-Encoding"
                assert found.body == stored

    def test_are_decoded_for_a_client_that_cannot(self, tmp_path, reads):
        data = export(tmp_path / "a.h5", attributes=NOTED)
        with il.serve(tmp_path / "a.h5") as server:
            found = ask(f"{server.url}/{FIRST}", Accept_Encoding="gzip")
        assert "content-encoding" not in found.headers
        np.testing.assert_array_equal(np.frombuffer(found.body, "<f4").reshape(CHUNKS[:3]), data[:5, :12, :16, 0])
        assert len(reads) == 1

    def test_are_decoded_for_a_range(self, tmp_path):
        export(tmp_path / "a.h5")
        with il.serve(tmp_path / "a.h5") as server:
            whole = ask(f"{server.url}/{FIRST}").body
            found = ask(f"{server.url}/{FIRST}", Accept_Encoding="deflate", Range="bytes=8-15")
            assert (found.status, found.body) == (206, whole[8:16])
            assert found.headers["content-range"] == f"bytes 8-15/{len(whole)}"
            assert ask(f"{server.url}/{FIRST}", Range="bytes=-4").body == whole[-4:]
            assert ask(f"{server.url}/{FIRST}", Range=f"bytes={len(whole)}-").status == 416

    @pytest.mark.parametrize("axes", ["zyx", "xyz", "yxz"])
    def test_in_another_order_are_decoded(self, tmp_path, axes):
        data = some_data((13, 14, 15), "u2")
        write_hdf5_export(tmp_path / "a.h5", data, axes=axes, chunks=(4, 5, 6), filters="gzip")
        wanted = data.transpose([axes.index(name) for name in "zyx"])
        with il.serve(tmp_path / "a.h5") as server:
            np.testing.assert_array_equal(zarr.open_array(f"{server.url}/scale0/image", mode="r")[:], wanted)
            found = ask(f"{server.url}/scale0/image/c/0/0/0", Accept_Encoding="deflate")
            assert ("content-encoding" in found.headers) == (axes == "zyx")

    def test_that_are_no_zlib_streams_are_decoded(self, tmp_path):
        data = some_data((8, 12), "u1")
        write_hdf5_export(tmp_path / "a.h5", data, axes="yx", chunks=(8, 6), filters="gzip", masks={(0, 6): 1})
        with il.serve(tmp_path / "a.h5") as server:
            first, second = (ask(f"{server.url}/scale0/image/c/0/{x}", Accept_Encoding="deflate") for x in (0, 1))
        assert "content-encoding" in first.headers
        assert "content-encoding" not in second.headers
        np.testing.assert_array_equal(np.frombuffer(second.body, "u1").reshape(8, 6), data[:, 6:])


def test_only_the_headers_of_a_chunk_cost_no_read(tmp_path, reads):
    export(tmp_path / "a.h5", attributes=NOTED)
    with il.serve(tmp_path / "a.h5") as server:
        for level in zarr.open_group(server.url, mode="r").attrs["ome"]["multiscales"][0]["datasets"]:
            found = ask(f"{server.url}/{level['path']}/c/0/0/0/0", "HEAD")
            assert (found.status, found.body) == (200, b"")
            assert int(found.headers["content-length"]) > 0
    assert reads == []


def test_chunks_that_were_never_written_are_the_fill_value(tmp_path):
    data = some_data(SHAPE[:3], "u2")
    options = {"axes": "zyx", "chunks": CHUNKS[:3], "filters": "gzip", "fill": 9, "missing": [(5, 12, 16)]}
    wanted = write_hdf5_export(tmp_path / "a.h5", data, **options)
    with pytest.warns(IncompleteSourceWarning):
        source = as_source(tmp_path / "a.h5")
    with il.serve(source) as server:
        np.testing.assert_array_equal(zarr.open_array(f"{server.url}/scale0/image", mode="r")[:], wanted)
        found = ask(f"{server.url}/scale0/image/c/1/1/1", Accept_Encoding="deflate")
        assert set(np.frombuffer(found.body, "<u2")) == {9}


class TestUpperLevels:
    def test_are_made_once(self, tmp_path, reads):
        export(tmp_path / "a.h5")
        with il.serve(tmp_path / "a.h5") as server:
            top = zarr.open_group(server.url, mode="r").attrs["ome"]["multiscales"][0]["datasets"][-1]["path"]
            array = zarr.open_array(f"{server.url}/{top}", mode="r")
            first = array[:]
            count = len(reads)
            assert count > 1
            np.testing.assert_array_equal(array[:], first)
            np.testing.assert_array_equal(
                zarr.open_array(f"{server.url}/scale1/image", mode="r")[0], array_of(server, 1)[0]
            )
        assert len(reads) == count

    def test_decode_each_chunk_of_the_file_once(self, tmp_path, reads):
        export(tmp_path / "a.h5", chunks=(4, 12, 16, 1), attributes=NOTED)
        with il.serve(tmp_path / "a.h5") as server:
            top = len(zarr.open_group(server.url, mode="r").attrs["ome"]["multiscales"][0]["datasets"]) - 1
            array_of(server, top)
        decoded = sum(
            np.prod([-(-(r.stop) // c) - r.start // c for r, c in zip(region, (4, 12, 16, 1), strict=True)])
            for region in reads
        )
        # The 13th plane is half of a pair, and in no upper level.
        assert decoded == 3 * 4 * 3 * 2

    def test_large_chunks_of_a_computation_are_computed_once(self):
        import dask.array
        import xarray as xr

        calls = []

        def made(block_info=None):
            calls.append(block_info[None]["chunk-location"])
            return np.full((16, 64, 64), 3, "u1")

        blocks = dask.array.map_blocks(
            made, chunks=((16, 16), (64,), (64,)), dtype="u1", meta=np.empty((0, 0, 0), "u1")
        )
        with il.serve(
            xr.DataArray(blocks, dims=tuple("zyx"), name="made", attrs={"ilastik_kind": "intensity"})
        ) as server:
            for level in range(2):
                assert (array_of(server, level) == 3).all()
        assert sorted(calls) == [(0, 0, 0), (1, 0, 0)]


def array_of(server, level):
    return zarr.open_array(f"{server.url}/scale{level}/image", mode="r")[:]


def damage(path, first):
    with h5py.File(path) as file:
        dataset = file["exported_data"]
        info = next(
            i for i in map(dataset.id.get_chunk_info, range(dataset.id.get_num_chunks())) if i.chunk_offset == first
        )
    with open(path, "r+b") as file:
        file.seek(info.byte_offset + info.size // 2)
        file.write(bytes(byte ^ 255 for byte in b"\x00" * 8))


class TestDamagedChunks:
    @pytest.fixture
    def path(self, tmp_path):
        export(tmp_path / "a.h5")
        damage(tmp_path / "a.h5", (0, 0, 0, 0))
        return tmp_path / "a.h5"

    def test_are_errors_and_lines_in_the_log(self, path, caplog):
        with il.serve(path) as server, caplog.at_level(logging.ERROR, "ilastik_lazy"):
            found = ask(f"{server.url}/{FIRST}")
            assert found.status == 500
            assert b"the chunk at (0, 0, 0, 0) cannot be decoded" in found.body
            assert ask(f"{server.url}/scale1/image/c/0/0/0/0").status == 500
            assert ask(f"{server.url}/scale0/image/c/0/0/0/1").status == 200
            secret = server.url.split("/")[3]
        assert [record.getMessage().split(":")[0] for record in caplog.records] == [
            f"a.zarr/{FIRST}",
            "a.zarr/scale1/image/c/0/0/0/0",
        ]
        assert secret not in caplog.text

    def test_are_errors_in_the_client_where_they_are_passed_on(self, path):
        with il.serve(path) as server:
            found = ask(f"{server.url}/{FIRST}", Accept_Encoding="deflate")
            assert found.headers["content-encoding"] == "deflate"
            with pytest.raises(zlib.error):
                zlib.decompress(found.body)
            array = zarr.open_array(f"{server.url}/scale0/image", mode="r")
            with pytest.raises(Exception, match=r"(?i)deflate|decod|payload"):
                array[0, :5, :12, :16]
            assert array[1, :5, :12, :16].shape == (5, 12, 16)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("encoding", ["deflate", "identity"])
def test_a_file_that_changed_is_an_error(tmp_path, change, encoding, caplog):
    export(tmp_path / "a.h5")
    with il.serve(tmp_path / "a.h5") as server:
        assert ask(f"{server.url}/{FIRST}", Accept_Encoding=encoding).status == 200
        change(tmp_path / "a.h5")
        found = ask(f"{server.url}/{FIRST}", Accept_Encoding=encoding)
        assert found.status == 409
        assert b"since it was opened" in found.body
    assert f"a.zarr/{FIRST}" in caplog.text


@pytest.mark.parametrize("change", CHANGES)
def test_a_level_that_is_kept_is_not_served_once_the_file_has_changed(tmp_path, change):
    export(tmp_path / "a.h5")
    with il.serve(tmp_path / "a.h5", il.open_dataarray(tmp_path / "a.h5") * 2) as server:
        keys = [f"{server.urls[0]}/scale1/image/c/0/0/0/0"]
        keys += [f"{server.urls[1]}/scale{level}/image/c/0/0/0/0" for level in (0, 1)]
        assert [ask(key).status for key in keys] == [200] * 3
        change(tmp_path / "a.h5")
        assert [ask(key).status for key in keys] == [409] * 3


def test_an_error_of_a_computation_is_an_error_without_its_text(tmp_path, caplog):
    array = il.open_dataarray(CASES["gzip export"](tmp_path)[0])
    broken = array.copy(data=array.data.map_blocks(lambda block: block[0, 0, 0, 99], dtype="f4"))
    with il.serve(broken) as server:
        found = ask(f"{server.url}/{FIRST}")
    assert (found.status, found.body) == (500, b"Internal Server Error\n")
    assert "IndexError" in caplog.text
