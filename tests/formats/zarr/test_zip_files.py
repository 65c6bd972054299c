"""Zarr in one file, ``.ozx`` and ``.zarr.zip``: everything reads as it does from the folder."""

from __future__ import annotations

import json
import os
import warnings
import zipfile

import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy import cli
from ilastik_lazy.errors import (
    CorruptChunkError,
    DatasetNotFoundError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataWarning,
)
from ilastik_lazy.storage.object_store import ObjectFolder
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.servers import serving
from tests.support.zarr_makers import WHOLE, opened, write_array
from tests.support.zip_makers import pack


class TestZipSource(SourceContract):
    @pytest.fixture(params=["v2 blosc", "v3 shards", "v3 shards index first", "v3 shards deflated"])
    def stored(self, request, tmp_path):
        data = write_array(tmp_path / "a.zarr", request.param.removesuffix(" deflated"))
        method = zipfile.ZIP_DEFLATED if "deflated" in request.param else zipfile.ZIP_STORED
        path = pack(tmp_path / "a.zarr", tmp_path / "a.ozx", method=method)
        return Stored(path, opened(path), data)


def run(*arguments):
    """Return the exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, arguments)])
    return ended.value.code or 0


def an_image(folder, name="n.zarr"):
    """Two channels with a label image in `labels`, in shards."""
    array = xr.DataArray(some_data((2, 20, 24), "u2"), dims=("c", "y", "x"), coords={"c": ["nuclei", "cells"]})
    il.to_ome_zarr(array, folder / name, levels=2)
    labels = xr.DataArray(some_data((20, 24), "u4"), dims=("y", "x"))
    il.to_ome_zarr(labels, folder / name / "labels/nuclei")
    return folder / name


@pytest.mark.parametrize(
    ("name", "top"),
    [("a.ozx", ""), ("a.ome.zarr.zip", ""), ("A.zip", ""), ("packed_with_its_folder.zarr.zip", "n.zarr/")],
)
def test_an_archive_opens_as_its_folder_does(tmp_path, name, top):
    folder = an_image(tmp_path)
    path = pack(folder, tmp_path / name, top=top)
    expected = il.open_dataarray(folder, "scale0/image")
    for found in (il.open_dataarray(f"{path}/scale0/image"), il.open_dataset(path)["scale0_image"]):
        xr.testing.assert_equal(found, expected)
        assert found.attrs == expected.attrs
    xr.testing.assert_equal(il.open_datatree(path), il.open_datatree(folder))
    xr.testing.assert_equal(xr.open_dataset(path, engine="ilastik"), il.open_dataset(folder))
    np.testing.assert_array_equal(
        il.open_dataarray(f"{path}/labels/nuclei"), il.open_dataarray(folder / "labels/nuclei")
    )


def test_the_commands_take_an_archive(tmp_path, capsys):
    path = pack(folder := an_image(tmp_path), tmp_path / "a.ozx")
    assert run("info", f"{path}/scale0/image", "--json") == 0
    assert json.dumps(f"{path}/scale0/image") in capsys.readouterr().out
    images = [f"{each}/scale0/image" for each in (path, folder)]
    codes, examined = zip(*((run("doctor", image), capsys.readouterr().out) for image in images), strict=True)
    assert codes == (1, 1)
    # The folder of an array is a file of its own; an image in an archive has a path inside it.
    assert examined[0].replace(images[0], "IMAGE").replace("scale0/image:", "image:") == examined[1].replace(
        images[1], "IMAGE"
    )
    assert run("reduce", f"{path}/scale0/image", "mean", "--over", "yx") == 0
    assert run("convert", f"{path}/scale0/image", str(tmp_path / "b.zarr"), "-q") == 0
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "b.zarr"), il.open_dataarray(path, "scale0/image"))


def test_other_programs_archives_read_the_same(tmp_path):
    data = some_data((9, 20, 21), "u2")
    store = zarr.storage.ZipStore(tmp_path / "a.zarr.zip", mode="w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zarr-python's own, "Duplicate name"
        group = zarr.create_group(store, zarr_format=3)
        # Not `data=data`: zarr-python 3.1.1 then writes chunk by chunk, and loses some where they share a shard.
        parts = {"chunks": (4, 9, 9), "shards": (8, 18, 18), "dimension_names": ["z", "y", "x"]}
        group.create_array("s0", shape=data.shape, dtype=data.dtype, **parts)[...] = data
        group["s0"].attrs["note"] = 1
        group["s0"].attrs["note"] = 2
        store.close()
    # zarr-python writes a changed document once more, and reads the last one.
    with pytest.warns(MetadataWarning, match="more than once"):
        found = il.open_dataarray(tmp_path / "a.zarr.zip")
    np.testing.assert_array_equal(found, data)


def test_a_bucket_and_a_server_give_what_is_in_an_archive(tmp_path, s3, bucket):
    folder = an_image(tmp_path)
    path = pack(folder, tmp_path / "a.ozx")
    expected = il.open_dataarray(folder, "scale0/image")
    ObjectFolder.parse(f"s3://{bucket}/deep", s3.options).put("a.ozx", path.read_bytes())
    found = il.open_dataarray(f"s3://{bucket}/deep/a.ozx", "scale0/image", storage_options=s3.options)
    xr.testing.assert_equal(found, expected)
    with il.serve(path) as server:
        np.testing.assert_array_equal(zarr.open_array(f"{server.url}/scale0/image", mode="r")[:], expected)


def test_over_a_network_only_the_end_and_what_is_needed_is_fetched(tmp_path):
    folder = tmp_path / "n.zarr"
    noise = np.random.default_rng(1).integers(0, 2**16, (40, 256, 256), np.uint16)
    il.to_ome_zarr(xr.DataArray(noise, dims=("z", "y", "x")), folder, levels=1, codec="none")
    path = pack(folder, tmp_path / "a.ozx")
    with serving(tmp_path) as server:
        array = il.open_dataarray(f"{server.url}/a.ozx")
        np.testing.assert_array_equal(array[3, 7], noise[3, 7])
        ranges = [wanted.removeprefix("bytes=") for _, _, wanted in server.asked]
        assert all(ranges)
        fetched = sum(
            int(last) - int(first or last) + 1 if first else int(last)
            for first, _, last in (wanted.partition("-") for wanted in ranges)
        )
        assert fetched < path.stat().st_size * 2 / 3
        xr.testing.assert_equal(array, il.open_dataarray(folder))
        labels = il.open_dataarray(f"{server.url}/a.ozx/scale0/image")
        assert labels.shape == noise.shape


def test_a_damaged_chunk_is_an_error_though_zarr_has_no_checksum_for_it(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=some_data((8, 9), "u1"), compressors=None)
    path = pack(tmp_path / "a.zarr", tmp_path / "a.ozx")
    content = bytearray(path.read_bytes())
    content[content.index(some_data((8, 9), "u1").tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptChunkError, match="checksum"):
        opened(path, "yx").read((slice(0, 8), slice(0, 9)))


def test_a_missing_chunk_warns_as_in_a_folder(tmp_path):
    write_array(tmp_path / "a.zarr", "v2 blosc")
    next(
        path for path in sorted((tmp_path / "a.zarr").rglob("*")) if path.name[0].isdigit() and path.is_file()
    ).unlink()
    with pytest.warns(IncompleteSourceWarning, match="1 of"):
        opened(pack(tmp_path / "a.zarr", tmp_path / "a.ozx"))


def test_a_large_compressed_shard_is_refused(tmp_path):
    write_array(tmp_path / "a.zarr", "v3 shards")
    path = pack(tmp_path / "a.zarr", tmp_path / "a.ozx", method=zipfile.ZIP_DEFLATED)
    size = max(info.file_size for info in zipfile.ZipFile(path).infolist())
    with pytest.raises(LimitExceededError, match="more than"):
        opened(path, chunk_bytes=size - 1).read(WHOLE)


def test_an_archive_of_something_else_is_refused_and_left_to_other_engines(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_text("a")
    path = pack(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")
    with pytest.raises(DatasetNotFoundError, match=r"no Zarr group or array at its top, but the folders docs"):
        il.open_dataarray(path)
    assert "ilastik" not in _engines_that_claim(path)
    os.unlink(path)


def _engines_that_claim(path):
    return [name for name, engine in xr.backends.plugins.list_engines().items() if engine.guess_can_open(str(path))]
