"""What tells a source, and a version of it, from others; and the chunks that it lacks."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.core.spec import ArraySource, Storage
from ilastik_lazy.core.views.cache import CachedSource
from ilastik_lazy.core.views.stacked import StackSource
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.window import window_of
from ilastik_lazy.errors import ResumeMismatchError, UnfinishedWriteError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks import index as hdf5_index
from ilastik_lazy.formats.hdf5.external import ReferringSource
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.from_xarray import absent_chunks, as_source
from ilastik_lazy.storage.allowed import checked_options
from ilastik_lazy.writers.ome_zarr.identity import source_identity
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export
from tests.support.ome_zarr.targets import assert_whole, convert

SHAPE = (4, 6, 5, 2)
DATA = some_data(SHAPE)


def export(path: Path, **options: Any) -> ArraySource:
    write_hdf5_export(path, DATA, **{"chunks": (2, 4, 4, 1), "filters": "gzip"} | options)
    return open_source(Location.parse(path))


def allowed(path: Path, folder: Path, trust: str = "local") -> ArraySource:
    return open_source(Location.parse(path), checked_options(None, trust, [folder]))


class TestOfOneFile:
    def test_is_its_real_path_size_and_time(self, tmp_path: Path) -> None:
        export(tmp_path / "a.h5")
        (tmp_path / "link.h5").symlink_to("a.h5")
        status = (tmp_path / "a.h5").stat()
        expected = {
            "source": f"{os.path.realpath(tmp_path)}/a.h5/exported_data",
            "version": f"{status.st_size}-{status.st_mtime_ns}",
        }
        for name in ("a.h5", "link.h5"):
            source = open_source(Location.parse(tmp_path / name))
            assert source_identity(source) == expected
            assert source_identity(pickle.loads(pickle.dumps(source))) == expected

    def test_is_that_of_every_source_that_hands_on_the_same_voxels(self, tmp_path: Path) -> None:
        source = export(tmp_path / "a.h5")
        named = DescribedSource(replace(source.spec, channel_names=("a", "b")), source)
        for same in (named, CachedSource(named, 1000), DescribedSource(named.spec, named)):
            assert source_identity(same) == source_identity(source)

    def test_of_a_part_also_tells_which_part(self, tmp_path: Path) -> None:
        source = export(tmp_path / "a.h5")
        part = window_of(source, (1, 0, 0, 0), (3, 6, 5, 2))
        assert source_identity(part) == source_identity(source) | {"window": [[1, 0, 0, 0], [2, 6, 5, 2]]}

    def test_of_a_part_of_a_part_tells_both(self, tmp_path: Path) -> None:
        source = export(tmp_path / "a.h5")
        parts = [
            window_of(window_of(source, (start, 0, 0, 0), (start + 3, 6, 5, 2)), (1, 0, 0, 0), (3, 6, 5, 2))
            for start in (0, 1)
        ]
        assert source_identity(parts[0]) != source_identity(parts[1])


class TestOfAStack:
    def test_is_another_when_any_of_its_files_is(self, tmp_path: Path) -> None:
        def written(changed: int | None) -> dict[str, Any]:
            if changed is not None:
                os.utime(tmp_path / f"{changed}.h5", ns=(1, 1 + changed))
            return source_identity(open_paths([tmp_path / f"{number}.h5" for number in range(3)], along="t"))

        for number in range(3):
            export(tmp_path / f"{number}.h5")
        found = [written(changed)["version"] for changed in (None, 0, 1, 2)]
        assert len(set(found)) == 4
        assert written(None)["version"] == found[-1]

    def test_each_member_still_says_where_it_lies(self, tmp_path: Path) -> None:
        for number in range(3):
            export(tmp_path / f"{number}.h5")
        source = open_paths(str(tmp_path / "*.h5"), along="t")
        assert isinstance(source, StackSource)
        assert [member.spec.storage.path for member in source.members] == [str(tmp_path / f"{n}.h5") for n in range(3)]

    def test_a_conversion_goes_on_with_the_same_files_only(self, tmp_path: Path) -> None:
        images = some_data((3, 65, 100), "uint8")
        paths = [tmp_path / f"{number}.h5" for number in range(3)]
        for path, image in zip(paths, images, strict=True):
            write_hdf5_export(path, image, axes="yx", chunks=(7, 9))

        def stop(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        def begin(target: Path) -> None:
            with pytest.raises(KeyboardInterrupt):
                convert(target, source=open_paths(paths, along="z"), progress=stop)

        begin(tmp_path / "same.zarr")
        assert convert(tmp_path / "same.zarr", source=open_paths(paths, along="z"), resume=True).resumed > 0
        assert_whole(tmp_path / "same.zarr", images)
        begin(tmp_path / "other.zarr")
        write_hdf5_export(paths[1], 255 - images[1], axes="yx", chunks=(7, 9))
        with pytest.raises(ResumeMismatchError, match="version of the source"):
            convert(tmp_path / "other.zarr", source=open_paths(paths, along="z"), resume=True)


@pytest.mark.parametrize("trust", ["local", "untrusted"])
@pytest.mark.parametrize("changed", ["a.h5", "raw"])
def test_of_data_in_another_file_is_that_of_both_files(tmp_path: Path, trust: str, changed: str) -> None:
    (tmp_path / "raw").write_bytes(DATA.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = [(str(tmp_path / "raw"), 0, DATA.nbytes)]
        file.create_dataset("exported_data", SHAPE, DATA.dtype, external=stored).attrs["axes"] = "zyxc"
    before = allowed(tmp_path / "a.h5", tmp_path, trust)
    assert isinstance(before, ReferringSource)
    np.testing.assert_array_equal(before.read(tuple(slice(0, n) for n in SHAPE)), DATA)
    identity = source_identity(before)
    assert source_identity(allowed(tmp_path / "a.h5", tmp_path, trust)) == identity
    os.utime(tmp_path / changed, ns=(1, 1))
    assert source_identity(allowed(tmp_path / "a.h5", tmp_path, trust)) != identity


class TestOfWhatIsNoFile:
    def test_of_objects_behind_a_network_is_their_url_and_version(self) -> None:
        source: Any = ArrayInMemory(np.zeros((4, 5)), "yx", (2, 2))
        source.spec = replace(source.spec, storage=Storage("s3://b/a.zarr/0", "s3://b/a.zarr"))
        assert source_identity(source) == {"source": "s3://b/a.zarr/0", "version": ""}
        source.spec = replace(source.spec, storage=replace(source.spec.storage, version="17"))
        assert source_identity(source) == {"source": "s3://b/a.zarr/0", "version": "17"}

    def test_of_a_computation_is_dasks_token_of_it(self) -> None:
        def of(threshold: int) -> dict[str, Any]:
            array = da.from_array(some_data((65, 100), "uint8"), chunks=(7, 9)) > threshold
            source = as_source(xr.DataArray(array, dims=["y", "x"]))
            assert source_identity(pickle.loads(pickle.dumps(source))) == source_identity(source)
            return source_identity(source)

        assert of(5) == of(5)
        assert of(5)["token"] != of(6)["token"]


class TestAbsentChunks:
    MISSING = ((0, 0, 0, 0), (2, 4, 4, 1))

    def stopped(self, path: Path, **options: Any) -> None:
        write_hdf5_export(path, DATA, chunks=(2, 4, 4, 1), filters="gzip", missing=self.MISSING, **options)

    @pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.IncompleteSourceWarning")
    def test_are_counted_through_every_source_that_reads_others(self, tmp_path: Path) -> None:
        self.stopped(tmp_path / "a.h5")
        source = open_source(Location.parse(tmp_path / "a.h5"))
        named = DescribedSource(source.spec, source)
        assert absent_chunks(source) == absent_chunks(CachedSource(named, 1000)) == 2
        assert absent_chunks(window_of(named, (0, 0, 0, 0), SHAPE)) == 2
        assert absent_chunks(open_paths([tmp_path / "a.h5"] * 3, along="t")) == 6
        with h5py.File(tmp_path / "link.h5", "w") as file:
            file["exported_data"] = h5py.ExternalLink("a.h5", "exported_data")
        assert absent_chunks(allowed(tmp_path / "link.h5", tmp_path)) == 2

    def test_are_none_of_an_export_that_is_whole(self, tmp_path: Path) -> None:
        assert absent_chunks(export(tmp_path / "a.h5")) == 0

    @pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.IncompleteSourceWarning")
    def test_of_a_stranger_are_counted_by_a_child(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stopped(tmp_path / "a.h5")
        array = il.open_dataarray(tmp_path / "a.h5", trust="untrusted")

        def refused(path: str) -> Any:
            raise AssertionError(f"the HDF5 library sees {path} in this process")

        monkeypatch.setattr(hdf5_index, "open_hdf5", refused)
        with pytest.raises(UnfinishedWriteError, match="2 chunks were never written"):
            convert(tmp_path / "a.zarr", source=as_source(array))
