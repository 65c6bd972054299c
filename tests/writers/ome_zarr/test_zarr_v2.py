"""OME-Zarr 0.4 on Zarr v2: files, attributes, and what ilastik's own rules make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.encode import CODECS, Codec
from ilastik_lazy.writers.ome_zarr.metadata.attributes import ome_attributes
from ilastik_lazy.writers.ome_zarr.metadata.documents import is_root, metadata_documents, writing_order
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.makers import some_data
from tests.support.ome_zarr.answers import in_ome_order
from tests.support.ome_zarr.fakes import ArrayBackedSource, read_by_tensorstore, small_plans

AXES = (
    Axis("t", 30.0, 0.0, "second"),
    Axis("z", 2.0, 100.0, "micrometer"),
    Axis("y", 0.5, -4.0, "micrometer"),
    Axis("x", None, 0.0, "micrometer"),
    Axis("c"),
)
NAMES = ("nucleus", "Zellkörper")


@pytest.fixture(scope="module")
def data() -> np.ndarray[Any, Any]:
    found = some_data((2, 9, 20, 22, 2))
    found[:, :3] = 0
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, data: np.ndarray[Any, Any]) -> Path:
    """An image of four levels, each of several shards of several chunks that do not divide it."""
    folder = tmp_path_factory.mktemp("v2") / "a.zarr"
    source = ArrayBackedSource(data, AXES, chunks=(1, 4, 6, 7, 1), channel_names=NAMES)
    with small_plans(shard=3000, smallest=5):
        to_ome_zarr(source, folder, version="0.4", verify=True)
    return folder


def json_in(path: Path) -> Any:
    return json.loads(path.read_text())


class TestFiles:
    def test_lie_where_the_chunk_grid_says_and_nowhere_else(self, store: Path) -> None:
        for folder in sorted(store.glob("scale*/image")):
            array = json_in(folder / ".zarray")
            assert array["dimension_separator"] == "/"
            grid = [-(-n // c) for n, c in zip(array["shape"], array["chunks"], strict=True)]
            expected = {"/".join(map(str, place)) for place in np.ndindex(*grid)} | {".zarray", ".zattrs"}
            files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
            assert files - {".ilz-manifest.json"} == expected
        assert np.prod(grid) < len(list(store.glob("scale0/image/*/*/*/*/*")))

    def test_are_those_of_zarr_v2_alone(self, store: Path) -> None:
        assert not list(store.rglob("zarr.json"))
        files = {path.name for path in store.iterdir() if path.is_file()}
        assert files == {".zgroup", ".zattrs"}
        assert all((path / ".zgroup").exists() for path in [store, *store.glob("scale*")])

    def test_are_written_with_the_root_last(self) -> None:
        plan = plan_pyramid(ArrayBackedSource(np.ones((300, 300)), AXES[2:4]).spec, version="0.4")
        order = writing_order(metadata_documents(plan, ome_attributes(plan, "a"), {}))
        assert order[-2:] == [".zgroup", ".zattrs"]
        assert [is_root(key) for key in order] == [False] * (len(order) - 2) + [True] * 2
        assert order.index("scale0/image/.zarray") < order.index("scale0/.zgroup")
        assert order.index("scale0/y/0") < order.index("scale0/image/.zarray")

    def test_a_version_that_is_none_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match=r"expected '0.5' or '0.4'"):
            to_ome_zarr(ArrayBackedSource(np.ones((3, 3)), "yx"), tmp_path / "a.zarr", version="0.6")  # type: ignore[arg-type]
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["uint8", "bool", "uint64", "float32"])
def test_zarr_and_tensorstore_read_every_codec(tmp_path: Path, version: Any, codec: Codec, dtype: str) -> None:
    values = some_data((13, 17), dtype)
    source = ArrayBackedSource(values, "yx", chunks=(5, 6))
    with small_plans(shard=200, smallest=5):
        to_ome_zarr(source, tmp_path / "a.zarr", version=version, codec=codec)
    image = tmp_path / "a.zarr" / "scale0" / "image"
    np.testing.assert_array_equal(zarr.open_array(image, mode="r")[...], values, strict=True)
    np.testing.assert_array_equal(read_by_tensorstore(image)[1], values)
    named = (image / (".zarray" if version == "0.4" else "zarr.json")).read_text()
    assert (f'"{codec}"' in named) == (codec != "none")


class TestPlainXarray:
    def test_finds_voxels_positions_and_names(self, store: Path, data: np.ndarray[Any, Any]) -> None:
        with xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None) as tree:
            image = tree["scale0/image"]
            assert image.dims == ("t", "c", "z", "y", "x")
            np.testing.assert_array_equal(image.values, in_ome_order(data, "tzyxc"), strict=True)
            np.testing.assert_array_equal(image.z, 100 + 2.0 * np.arange(9))
            # 0 is a position, not a missing one.
            np.testing.assert_array_equal(image.t, [0.0, 30.0])
            assert image.z.attrs == {"axis": "Z", "units": "micrometer"}
            assert image.c.values.tolist() == list(NAMES)
            assert "x" not in image.coords
            assert tree["scale1/image"].sel(c="Zellkörper").ndim == 4

    @pytest.mark.parametrize("dtype", ["uint8", "bool", "int64", "float16"])
    def test_keeps_the_dtype_and_the_zeros(self, tmp_path: Path, dtype: str) -> None:
        values = some_data((9, 10), dtype)
        values[:2] = 0
        to_ome_zarr(ArrayBackedSource(values, "yx"), tmp_path / "b.zarr", version="0.4")
        with xr.open_zarr(tmp_path / "b.zarr", group="scale0", consolidated=False, chunks=None) as dataset:
            np.testing.assert_array_equal(dataset["image"].values, values, strict=True)


class TestRulesOfIlastik:
    """As ilastik 1.4.2 reads: ``lazyflow/utility/io_util/OMEZarrStore.py``, ``multiscaleStore.py``."""

    def multiscales(self, store: Path) -> Any:
        return json_in(store / ".zattrs")["multiscales"]

    def test_the_root_has_multiscales_and_is_no_container(self, store: Path) -> None:
        attributes = json_in(store / ".zattrs")
        assert not {"labels", "well", "plate", "ome"} & set(attributes)
        assert isinstance(attributes["multiscales"], list)
        assert len(attributes["multiscales"]) == 1

    def test_its_schema_holds(self, store: Path) -> None:
        for multiscale in self.multiscales(store):
            assert isinstance(multiscale["version"], str)
            assert 2 <= len(multiscale["axes"]) <= 5
            assert all(isinstance(axis["name"], str) for axis in multiscale["axes"])
            assert multiscale["datasets"]
            assert all(isinstance(dataset["path"], str) for dataset in multiscale["datasets"])
            assert all(isinstance(axis.get("unit", ""), str) for axis in multiscale["axes"])

    def test_every_path_is_an_array_of_zarr_v2_with_an_axis_for_each_dimension(self, store: Path) -> None:
        (multiscale,) = self.multiscales(store)
        for dataset in multiscale["datasets"]:
            array = json_in(store / dataset["path"] / ".zarray")
            assert array["zarr_format"] == 2
            assert len(array["shape"]) == len(multiscale["axes"])
            # zarr-python 2 with numcodecs, which ilastik brings, decodes it.
            assert array["compressor"]["id"] in ("blosc", "zstd", "gzip", "zlib")

    def test_the_first_scale_and_translation_of_a_dataset_are_all_there_is(self, store: Path) -> None:
        (multiscale,) = self.multiscales(store)
        assert "coordinateTransformations" not in multiscale
        for dataset in multiscale["datasets"]:
            kinds = [transformation["type"] for transformation in dataset["coordinateTransformations"]]
            assert kinds == ["scale", "translation"]
            scale, translation = dataset["coordinateTransformations"]
            assert len(scale["scale"]) == len(translation["translation"]) == len(multiscale["axes"])
            assert all(step > 0 for step in scale["scale"])
        assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [30, 1, 2, 0.5, 1]

    def test_levels_are_listed_from_fine_to_coarse(self, store: Path) -> None:
        (multiscale,) = self.multiscales(store)
        sizes = [np.prod(json_in(store / dataset["path"] / ".zarray")["shape"]) for dataset in multiscale["datasets"]]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) > 2

    def test_a_path_below_leads_to_the_root_and_names_a_level(self, store: Path) -> None:
        # The search goes up until attributes have multiscales, and no further than a name with .zarr in it.
        assert ".zarr" in store.name
        between = [store / "scale0", store / "scale0" / "image"]
        assert all("multiscales" not in json_in(path / ".zattrs") for path in between if (path / ".zattrs").exists())
        (multiscale,) = self.multiscales(store)
        assert "scale0/image" in [dataset["path"] for dataset in multiscale["datasets"]]
