"""`to_ome_zarr` of what `open_dataarray` returned, and of what users make of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ResumeMismatchError
from ilastik_lazy.lazy.dataset import to_dataset
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from tests.support.makers import some_data, write_hdf5_export, write_ilp
from tests.support.ome_zarr.answers import in_ome_order
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans


class TestDataArrays:
    @pytest.fixture
    def export(self, tmp_path: Path) -> tuple[str, np.ndarray[Any, Any]]:
        data = np.nan_to_num(some_data((11, 24, 30, 2)))
        write_hdf5_export(
            tmp_path / "p.h5", data, chunks=(4, 5, 7, 1), filters="gzip",
            resolution={"z": 2.0, "y": 0.5, "x": 0.25}, units={"z": "µm", "y": "µm", "x": "µm"},
        )  # fmt: skip
        write_ilp(tmp_path / "p.ilp")
        return str(tmp_path / "p.h5"), data

    @staticmethod
    def level0(path: Path) -> xr.DataArray:
        with xr.open_dataset(path, group="scale0", engine="zarr", consolidated=False, chunks=None) as dataset:
            return dataset["image"].load()

    def test_what_was_opened_is_converted_with_names_and_positions(self, export: Any, tmp_path: Path) -> None:
        array = il.open_dataarray(export[0], project=tmp_path / "p.ilp")
        to_ome_zarr(array, tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        xr.testing.assert_equal(found, array.transpose("c", "z", "y", "x").compute())

    def test_a_path_and_what_was_opened_of_it_give_the_same_files(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(export[0], tmp_path / "a" / "p.zarr")
        to_ome_zarr(il.open_dataarray(export[0]), tmp_path / "b" / "p.zarr")
        files = [{f.relative_to(tmp_path / k): f.read_bytes() for f in (tmp_path / k).rglob("*") if f.is_file()}
                 for k in "ab"]  # fmt: skip
        assert files[0] == files[1]

    def test_one_plane_keeps_the_step_that_the_file_states(self, tmp_path: Path) -> None:
        write_hdf5_export(tmp_path / "p.h5", some_data((1, 9, 8)), axes="zyx", chunks=(1, 4, 4),
                          resolution={"z": 2.0, "y": 0.5, "x": 0.5}, units=dict.fromkeys("zyx", "µm"))  # fmt: skip
        to_ome_zarr(tmp_path / "p.h5", tmp_path / "path.zarr")
        to_ome_zarr(il.open_dataarray(tmp_path / "p.h5"), tmp_path / "array.zarr")
        scales = []
        for name in ("path", "array"):
            ome: Any = zarr.open_group(tmp_path / f"{name}.zarr", mode="r").attrs["ome"]
            scales.append(ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"])
        assert scales == [[2.0, 0.5, 0.5]] * 2

    @pytest.mark.parametrize("chunks", ["auto", {}, None, {"z": 3, "x": 10}])
    def test_a_part_keeps_its_positions(self, export: Any, tmp_path: Path, chunks: Any) -> None:
        part = il.open_dataarray(export[0], chunks=chunks).isel(z=slice(3, 9), x=slice(5, None))
        to_ome_zarr(part, tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found, in_ome_order(export[1][3:9, :, 5:], "zyxc"))
        assert (found.z.values[0], found.y.values[0], found.x.values[0]) == (6.0, 0.0, 1.25)
        ome: Any = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]
        assert ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] == [
            {"type": "scale", "scale": [1.0, 2.0, 0.5, 0.25]},
            {"type": "translation", "translation": [0.0, 6.0, 0.0, 1.25]},
        ]

    @pytest.mark.parametrize("chunks", ["auto", {}, None])
    def test_a_threshold_of_one_class_is_converted(self, export: Any, tmp_path: Path, chunks: Any) -> None:
        prob = il.open_dataarray(export[0], project=tmp_path / "p.ilp", chunks=chunks)
        report = to_ome_zarr(prob.sel(c="nucleus") > 0.5, tmp_path / "a.zarr", verify=True)
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found, export[1][..., 0] > 0.5, strict=True)
        assert found.dims == ("z", "y", "x")
        assert report.method == "mode"
        assert found.x.values[1] == 0.25

    def test_every_second_plane_has_twice_the_step(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(il.open_dataarray(export[0])[1::2], tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found.z, [2, 6, 10, 14, 18])
        np.testing.assert_array_equal(found, in_ome_order(export[1][1::2], "zyxc"))

    def test_dims_in_another_order_are_converted(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(il.open_dataarray(export[0], order="xcyz"), tmp_path / "a.zarr")
        np.testing.assert_array_equal(self.level0(tmp_path / "a.zarr"), in_ome_order(export[1], "zyxc"))

    def test_values_that_were_assigned_are_converted_and_not_those_of_the_file(
        self, export: Any, tmp_path: Path
    ) -> None:
        array = il.open_dataarray(export[0])
        to_ome_zarr(array.copy(data=da.zeros_like(array.data)), tmp_path / "a.zarr")
        assert not self.level0(tmp_path / "a.zarr").any()

    def test_class_names_that_were_assigned_are_written(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(il.open_dataarray(export[0]).assign_coords(c=["in", "out"]), tmp_path / "a.zarr")
        assert self.level0(tmp_path / "a.zarr").c.values.tolist() == ["in", "out"]

    def test_an_array_in_memory_without_coordinates_is_converted(self, tmp_path: Path) -> None:
        data = some_data((9, 10), ">i2")
        to_ome_zarr(xr.DataArray(data, dims=("y", "x")), tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found, data)
        assert not found.coords

    def test_an_image_can_be_replaced_by_what_is_computed_of_it(self, tmp_path: Path) -> None:
        data = np.arange(20, dtype=np.uint8).reshape(4, 5)
        to_ome_zarr(ArrayBackedSource(data, "yx"), tmp_path / "a.zarr")
        path = tmp_path / "a.zarr"
        with xr.open_dataset(path, group="scale0", engine="zarr", consolidated=False, chunks={}) as dataset:
            to_ome_zarr(dataset["image"] + 1, tmp_path / "a.zarr", overwrite=True)
        np.testing.assert_array_equal(self.level0(tmp_path / "a.zarr"), data + 1)


def test_classes_made_of_probabilities_are_not_averaged(tmp_path: Path) -> None:
    # xarray keeps the attributes, "probabilities" among them, through argmax and astype.
    prob = il.open_dataarray(sample("probabilities"))
    for name, labels in {"argmax": prob.argmax("c") * 7, "cast": (prob > 0.5).astype("uint16") * 3}.items():
        report = to_ome_zarr(labels, tmp_path / f"{name}.zarr", levels=3)
        assert report.method == "nearest"
        coarse = zarr.open_array(tmp_path / f"{name}.zarr" / "scale2" / "image", mode="r")[...]
        assert set(np.unique(coarse)) <= set(np.unique(labels.values))


def test_an_array_that_is_indexed_lazily_is_never_loaded_as_a_whole(tmp_path: Path) -> None:
    largest = 0

    class Watched(ArrayBackedSource):
        def read(self, region: Any) -> Any:
            nonlocal largest
            values = super().read(region)
            largest = max(largest, values.size)
            return values

    source = Watched(some_data((65, 100), "uint8"), "yx", chunks=(7, 9))
    array = to_dataset({"image": source})["image"]
    with small_plans(shard=200, smallest=5):
        to_ome_zarr(array, tmp_path / "a.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/scale0/image")[...], source.data)
    assert largest < source.data.size / 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": 1}, "other levels or shards"),
        ({"codec": "none"}, "other levels or shards"),
        ({"threshold": 7}, "another computation"),
    ],
)
def test_what_is_resumed_otherwise_is_told_in_words(tmp_path: Path, change: Any, said: str) -> None:
    def begin(**options: Any) -> Any:
        def stop(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        threshold = options.pop("threshold", 5)
        array = xr.DataArray(da.from_array(some_data((65, 100), "uint8"), chunks=(7, 9)) > threshold, dims=["y", "x"])
        with small_plans(shard=200, smallest=5):
            return to_ome_zarr(array, tmp_path / "a.zarr", progress=None if options.get("levels") else stop, **options)

    with pytest.raises(KeyboardInterrupt):
        begin()
    with pytest.raises(ResumeMismatchError, match=said):
        begin(resume=True, **change)


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.MetadataWarning")
def test_a_cube_is_not_gone_on_with_by_other_axes(tmp_path: Path, is_done: bool) -> None:
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        file.create_dataset("exported_data", data=some_data((32, 32, 32), "uint8"), chunks=(8, 8, 8))

    def stop(done: int, total: int) -> None:
        if done and not is_done:
            raise KeyboardInterrupt

    def convert(axes: str, **options: Any) -> Any:
        with small_plans(shard=2000):
            return to_ome_zarr(il.open_dataarray(tmp_path / "cube.h5", axes=axes), tmp_path / "a.zarr", **options)

    with contextlib.suppress(KeyboardInterrupt):
        convert("zyx", progress=stop)
    with pytest.raises(ResumeMismatchError, match="another axes: zyx, now xyz"):
        convert("xyz", resume=True)


@pytest.mark.parametrize("code", ["q", "Q"])
def test_the_other_64_bit_integers_of_numpy_are_written(tmp_path: Path, code: str) -> None:
    """``np.longlong`` equals int64 and is another type, which zarr does not know; some readers make it."""
    numbers = np.arange(24, dtype=code).reshape(4, 6)
    il.to_ome_zarr(xr.DataArray(numbers, dims=("y", "x")), tmp_path / "a.zarr")
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "a.zarr", mode="r")["scale0/image"][:], numbers)
