"""Zarr at ``s3://`` and ``https://`` reads like the local copy, in few requests, and never zeros for what failed."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy import cli
from ilastik_lazy.core import parallel
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.reducing.plan import plan_reduction
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import (
    AccessDeniedError,
    CorruptChunkError,
    DatasetNotFoundError,
    IncompleteSourceWarning,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
    UnknownFormatError,
)
from ilastik_lazy.formats import zarr as zarr_format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.object_store import ObjectFolder
from tests.support.contract import SourceContract, Stored
from tests.support.makers import SHAPE, some_data
from tests.support.servers import serving
from tests.support.zarr_makers import WHOLE, edit, metadata_of, write_array

FEW = ["v2 blosc", "v3 shards", "v3 shards index first"]


def source_at(url, options=None):
    return zarr_format.open_image(Location.parse(url, None, options), OpenOptions("zyxc"))


def upload(folder: Path, url: str, options: dict[str, str]) -> None:
    target = ObjectFolder.parse(url, options)
    for file in folder.rglob("*"):
        if file.is_file():
            target.put(file.relative_to(folder).as_posix(), file.read_bytes())


class TestOnAWebServer(SourceContract):
    @pytest.fixture(params=FEW)
    def stored(self, request, tmp_path):
        data = write_array(tmp_path / "a.zarr", request.param)
        with serving(tmp_path) as server:
            yield Stored(metadata_of(tmp_path / "a.zarr"), source_at(f"{server.url}/a.zarr"), data)


# Whatever was fetched is decoded as it is from local files, which `test_zarr.py` reads in all layouts.
@pytest.mark.parametrize("layout", FEW)
def test_chunks_and_shards_read_the_same_from_s3(tmp_path, layout, s3, bucket):
    data = write_array(tmp_path / "a.zarr", layout)
    upload(tmp_path / "a.zarr", f"s3://{bucket}/deep/a.zarr", s3.options)
    source = source_at(f"s3://{bucket}/deep/a.zarr", s3.options)
    np.testing.assert_array_equal(source.read(WHOLE), data)
    part = (slice(1, 5), slice(3, 4), slice(0, 7), slice(1, 2))
    np.testing.assert_array_equal(source.read(part), data[part])
    assert "very-secret" not in repr(source)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    """OME-Zarr 0.5 with shards and several levels, and its own answers."""
    path = tmp_path_factory.mktemp("pyramid") / "nuclei.zarr"
    prob = il.open_dataarray(sample("probabilities"), project=sample("project")).isel(z=slice(8))
    il.to_ome_zarr(prob, path, levels=2)
    return path


@pytest.fixture(params=["s3", "web"])
def remote(request, pyramid):
    """URL of the pyramid, and the storage options for it."""
    if request.param == "s3":
        s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
        upload(pyramid, f"s3://{bucket}/nuclei.zarr", s3.options)
        yield f"s3://{bucket}/nuclei.zarr", s3.options
        return
    with serving(pyramid.parent) as server:
        yield f"{server.url}/nuclei.zarr", None


class TestImages:
    def test_an_array_is_that_of_the_local_copy(self, remote, pyramid):
        url, options = remote
        array, local = il.open_dataarray(url, storage_options=options), il.open_dataarray(pyramid)
        xr.testing.assert_equal(array, local)
        assert array.attrs == local.attrs
        assert array.coords["z"].attrs["units"] == "micrometer"
        assert array.coords["c"].values.tolist() == ["nucleus", "background"]
        assert array.encoding["source"].startswith(url)

    def test_a_level_behind_the_store_or_by_its_internal_path(self, remote, pyramid):
        url, options = remote
        level = il.open_dataarray(f"{url}/scale1/image", storage_options=options)
        xr.testing.assert_equal(level, il.open_dataarray(pyramid, "scale1/image"))
        xr.testing.assert_equal(level, il.open_dataarray(url, "scale1/image", storage_options=options))

    def test_a_tree_and_a_dataset_are_those_of_the_local_copy(self, remote, pyramid):
        url, options = remote
        xr.testing.assert_equal(il.open_datatree(url, storage_options=options), il.open_datatree(pyramid))
        dataset = il.open_dataset(url, storage_options=options)
        xr.testing.assert_equal(dataset, il.open_dataset(pyramid))
        engine = functools.partial(xr.open_dataset, engine="ilastik")
        xr.testing.assert_equal(engine(url, storage_options=options), dataset)

    def test_the_command_line(self, remote, pyramid, capsys, monkeypatch):
        url, options = remote
        for name, value in (options or {}).items():
            if name != "endpoint_url":
                monkeypatch.setenv(f"AWS_{name.upper()}", value)
        endpoint = ["--endpoint-url", options["endpoint_url"]] if options else []
        with pytest.raises(SystemExit) as ended:
            cli.main(["info", url, "--json", *endpoint])
        assert ended.value.code == 0
        found = json.loads(capsys.readouterr().out)
        assert [image["shape"] for image in found] == [[2, 8, 128, 160], [2, 8, 64, 80]]
        with pytest.raises(SystemExit) as ended:
            cli.main(["info", url, *endpoint])
        assert ended.value.code == 0
        assert url in capsys.readouterr().out


def test_opening_asks_for_metadata_only_and_a_slice_for_its_chunks_only(tmp_path):
    write_array(tmp_path / "a.zarr", "v3 shards")
    with serving(tmp_path) as server:
        source = source_at(f"{server.url}/a.zarr")
        assert all(path.rsplit("/", 1)[1].startswith((".z", "zarr.json")) for _, path, _ in server.asked)
        assert len(server.asked) <= 12
        server.asked.clear()
        source.read(tuple(slice(0, 1) for _ in SHAPE))
        (index, chunk, metadata) = server.asked
        assert index[1] == chunk[1] == "/a.zarr/c/0/0/0/0"
        assert index[2].startswith("bytes=-")
        assert chunk[2].startswith("bytes=0-")
        assert metadata[0] == "HEAD"


def test_an_image_is_opened_with_one_request_for_each_document(pyramid):
    with serving(pyramid.parent) as server:
        il.open_dataarray(f"{server.url}/nuclei.zarr")
        asked = [path for _, path, _ in server.asked if path.startswith("/nuclei.zarr/scale0") or path.count("/") == 2]
    assert sorted(asked) == sorted(set(asked))
    assert "/nuclei.zarr/zarr.json" in asked


def test_blocks_of_an_image_on_a_server_ask_for_much_at_once(tmp_path, monkeypatch):
    made = zarr.create_array(tmp_path / "a.zarr", shape=(64, 512, 512), dtype="u1", chunks=(16, 64, 64))
    made[0, 0] = 1
    monkeypatch.setattr(parallel, "threads_for", lambda workers: 2)
    with serving(tmp_path) as server:
        remote = il.open_dataarray(f"{server.url}/a.zarr", axes="zyx").data
    assert remote.npartitions == 1
    with pytest.warns(IncompleteSourceWarning):
        assert il.open_dataarray(tmp_path / "a.zarr", axes="zyx").data.npartitions > 1


def test_blocks_are_those_of_files_where_memory_is_short(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(64, 512, 1024), dtype="u1", chunks=(16, 128, 128))
    with serving(tmp_path) as server:
        remote = zarr_format.open_image(Location.parse(f"{server.url}/a.zarr"), OpenOptions("zyx")).spec
    large, small = (plan_reduction(remote, "mean", memory=memory) for memory in ("1GB", "20MB"))
    assert np.prod(small.block) <= 8 * 2**20 < np.prod(large.block)
    assert small.nbytes <= 20e6


def test_chunks_that_lie_together_in_a_shard_are_one_request(tmp_path):
    data = write_array(tmp_path / "a.zarr", "v3 shards")
    with serving(tmp_path) as server:
        source = source_at(f"{server.url}/a.zarr")
        server.asked.clear()
        np.testing.assert_array_equal(
            source.read((slice(0, 6), slice(0, 8), slice(0, 8), slice(0, 2)))[...], data[:6, :8, :8]
        )
        assert len(server.asked) == 3


@pytest.mark.parametrize("layout", ["v2 zlib", "v3 zstd", "v3 shards"])
def test_a_missing_object_reads_as_fill_value_and_warns(tmp_path, layout):
    data = write_array(tmp_path / "a.zarr", layout, fill_value=7)
    name = "c/0/0/0/0" if layout.startswith("v3") else "0/0/0/0"
    (tmp_path / "a.zarr" / name).unlink()
    with serving(tmp_path) as server:
        source = source_at(f"{server.url}/a.zarr")
        with pytest.warns(IncompleteSourceWarning, match="never written"):
            found = source.read(WHOLE)
    assert (found[0, 0, 0, 0], found[-1, -1, -1, -1]) == (7, data[-1, -1, -1, -1])


@pytest.mark.parametrize(("status", "error"), [(403, AccessDeniedError), (500, SourceIOError), (404, None)])
def test_a_chunk_that_the_server_keeps_is_an_error_and_no_fill_value(tmp_path, status, error):
    write_array(tmp_path / "a.zarr", "v3 zstd")
    with serving(tmp_path) as server:
        source = source_at(f"{server.url}/a.zarr")
        server.statuses["/a.zarr/c/0/0/0/0"] = status
        with pytest.raises(error) if error else pytest.warns(IncompleteSourceWarning):
            source.read(WHOLE)


def test_a_shard_that_was_cut_is_an_error(tmp_path):
    write_array(tmp_path / "a.zarr", "v3 shards")
    shard = tmp_path / "a.zarr/c/0/0/0/0"
    with serving(tmp_path) as server:
        source, whole = source_at(f"{server.url}/a.zarr"), shard.read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) - 1):
            shard.write_bytes(whole[:size])
            with pytest.raises((CorruptChunkError, SourceIOError), match="c/0/0/0/0"):
                source.read(WHOLE)


def test_a_shard_that_vanishes_behind_its_index_is_no_fill_value(tmp_path, monkeypatch):
    write_array(tmp_path / "a.zarr", "v3 shards")
    fetch_edge = ObjectFolder.fetch_edge

    def then_remove(self, *args, **options):
        found = fetch_edge(self, *args, **options)
        shutil.rmtree(tmp_path / "a.zarr/c", ignore_errors=True)
        return found

    with serving(tmp_path) as server:
        source = source_at(f"{server.url}/a.zarr")
        monkeypatch.setattr(ObjectFolder, "fetch_edge", then_remove)
        with pytest.raises(SourceChangedError):
            source.read(tuple(slice(0, 1) for _ in SHAPE))


class TestKeptIndexes:
    """The index of a shard is asked for once, and a shard that was written since is read as it is now."""

    @pytest.fixture
    def written(self, tmp_path, s3, bucket):
        url = f"s3://{bucket}/a.zarr"
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=(8, 8), chunks=(4, 4), shards=(8, 8), dtype="u2", dimension_names=("y", "x")
        )

        def written(rows, first):
            array[:rows] = np.arange(first, first + rows * 8).reshape(rows, 8)
            upload(tmp_path / "a.zarr", url, s3.options)
            return zarr_format.open_image(Location.parse(url, None, s3.options), OpenOptions()), array[:]

        return written

    def test_one_request_for_each(self, written, monkeypatch):
        source, expected = written(8, first=1)
        fetch_edge, requests = ObjectFolder.fetch_edge, []

        def counted(self, key, *args, **options):
            requests.append(key)
            return fetch_edge(self, key, *args, **options)

        monkeypatch.setattr(ObjectFolder, "fetch_edge", counted)
        for row in range(8):
            part = (slice(row, row + 1), slice(0, 8))
            np.testing.assert_array_equal(source.read(part), expected[part])
        assert len(requests) == 1

    @pytest.mark.parametrize("rows", [8, 4], ids=["chunks that are other ones now", "chunks that were left out"])
    def test_of_a_shard_that_was_written_since_are_asked_for_again(self, written, rows):
        whole = (slice(0, 8), slice(0, 8))
        for rows_now, first in ((rows, 1), (8, 100)):
            source, expected = written(rows_now, first)
            np.testing.assert_array_equal(source.read(whole), expected)

    @pytest.mark.parametrize("has_tags", [True, False], ids=["tags", "dates"])
    @pytest.mark.parametrize("written", [(3, 4), (4, 1)], ids=["more", "fewer"])
    def test_of_chunks_that_lie_elsewhere_now(self, tmp_path, has_tags, written):
        # Without compression, the bytes of another chunk can be decoded as those of this one.
        with serving(tmp_path) as server:
            server.has_tags = has_tags
            for number in written:
                array = zarr.create_array(
                    tmp_path / "a.zarr", shape=(2, 32), chunks=(2, 8), shards=(2, 32), dtype="u8", compressors=None,
                    overwrite=True,
                )  # fmt: skip
                for chunk in range(4 - number, 4):
                    array[:, 8 * chunk : 8 * chunk + 8] = chunk + 1
                for file in (tmp_path / "a.zarr").rglob("*"):
                    os.utime(file, ns=(0, 10**9 + has_tags * number))
                source = zarr_format.open_image(Location.parse(f"{server.url}/a.zarr"), OpenOptions("yx"))
                assert (source.read((slice(0, 2), slice(24, 32))) == 4).all()


def test_an_array_that_is_written_anew_is_noticed(tmp_path, s3, bucket):
    write_array(tmp_path / "a.zarr", "v3 zstd")
    url = f"s3://{bucket}/a.zarr"
    upload(tmp_path / "a.zarr", url, s3.options)
    source = source_at(url, s3.options)
    edit(tmp_path / "a.zarr/zarr.json", attributes={"a": 1})
    upload(tmp_path / "a.zarr", url, s3.options)
    with pytest.raises(SourceChangedError, match=r"a\.zarr/zarr\.json"):
        source.read(WHOLE)


class TestNames:
    def test_nothing_there(self, s3, bucket, tmp_path):
        with pytest.raises(SourceNotFoundError, match="no Zarr group or array at s3://"):
            il.open_dataarray(f"s3://{bucket}/nothing.zarr", storage_options=s3.options)
        with serving(tmp_path) as server, pytest.raises(SourceNotFoundError, match=f"at {server.url}/nothing"):
            il.open_dataarray(f"{server.url}/nothing.zarr")

    def test_no_access(self, tmp_path):
        write_array(tmp_path / "a.zarr", "v2 blosc")
        with serving(tmp_path) as server:
            # S3 says 403 for what is not there, where listing is not allowed.
            server.statuses |= {f"/a.zarr/{name}": 403 for name in ("zarr.json", ".zgroup", ".zattrs")}
            source_at(f"{server.url}/a.zarr").read(WHOLE)
            server.statuses["/a.zarr/.zarray"] = 403
            with pytest.raises(AccessDeniedError, match="credentials"):
                source_at(f"{server.url}/a.zarr")

    @pytest.mark.parametrize("name", ["a.h5", "a.n5", "a.tif", "a.ilp"])
    def test_other_formats_say_what_is_possible(self, name):
        for function in (il.open_dataarray, il.open_dataset, il.open_datatree):
            with pytest.raises(UnknownFormatError, match=r"https://127.0.0.1:1/.*opens Zarr.*convert"):
                function(f"https://127.0.0.1:1/{name}")

    def test_a_redirect_to_another_host_is_not_followed(self, tmp_path):
        write_array(tmp_path / "a.zarr", "v3 zstd")
        with serving(tmp_path) as other, serving(tmp_path) as server:
            source = source_at(f"{server.url}/a.zarr")
            path = "/a.zarr/c/0/0/0/0"
            server.statuses[path], server.redirects[path] = 307, f"{other.url}{path}"
            with pytest.raises(SourceIOError, match="redirects to"):
                source.read(WHOLE)
            assert other.asked == []

    def test_levels_and_labels_are_found_without_listing(self, tmp_path):
        root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        for group, path in (("", "0"), ("", "1"), ("labels/cells", "0")):
            inside = f"{group}/{path}".strip("/")
            root.create_array(inside, data=some_data((4, 6), "u2"), chunks=(2, 3))
        ome = {"version": "0.4", "axes": [{"name": "y"}, {"name": "x"}]}
        root.attrs["multiscales"] = [{**ome, "datasets": [{"path": "0"}, {"path": "1"}]}]
        root["labels"].attrs["labels"] = ["cells"]
        root["labels/cells"].attrs.update({"multiscales": [{**ome, "datasets": [{"path": "0"}]}], "image-label": {}})
        with serving(tmp_path) as server:
            tree = il.open_datatree(f"{server.url}/a.zarr")
            xr.testing.assert_equal(tree, il.open_datatree(tmp_path / "a.zarr"))
            assert set(tree.groups) >= {"/scale0", "/scale1", "/labels/cells/scale0"}
            with pytest.raises(DatasetNotFoundError, match="no array 'nothing'"):
                il.open_dataarray(f"{server.url}/a.zarr/nothing")

    def test_consolidated_metadata_name_what_cannot_be_listed(self, tmp_path):
        root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        for name in ("raw", "deep/cells"):
            root.create_array(name, data=some_data((4, 6), "u2"), chunks=(2, 3))
        zarr.consolidate_metadata(tmp_path / "a.zarr")
        with serving(tmp_path) as server:
            assert set(il.open_dataset(f"{server.url}/a.zarr", axes="yx").data_vars) == {"raw", "cells"}
