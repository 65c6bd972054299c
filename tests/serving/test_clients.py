"""Every program that reads OME-Zarr reads what is served: voxels, positions, levels, labels."""

from __future__ import annotations

import ngff_zarr
import numpy as np
import pytest
import tensorstore
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.serving import pyramid
from tests.serving.cases import CASES, SIZES
from tests.support.makers import write_hdf5_export
from tests.support.ome_zarr.fakes import small_plans


@pytest.fixture(autouse=True)
def pyramids():
    """Small images have several levels, and keep their small chunks."""
    with small_plans(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "_COARSEST_PLANE", 8)
        yield


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    return CASES[request.param](tmp_path)


def test_zarr_python_and_tensorstore_read_the_voxels(case):
    source, data = case
    with il.serve(source) as server:
        for url, driver in ((server.url, "zarr3"), (server.older_urls[0], "zarr")):
            found = zarr.open_group(url, mode="r")["scale0/image"]
            np.testing.assert_array_equal(found[:], data, strict=True)
            store = {"driver": driver, "kvstore": f"{url}/scale0/image/"}
            np.testing.assert_array_equal(tensorstore.open(store, read=True).result().read().result(), data)


def test_every_level_is_what_a_conversion_writes(case, tmp_path):
    source, _ = case
    il.to_ome_zarr(source, tmp_path / "converted.zarr")
    written = zarr.open_group(tmp_path / "converted.zarr", mode="r")
    paths = [level["path"] for level in written.attrs["ome"]["multiscales"][0]["datasets"]]
    assert len(paths) >= 3
    with il.serve(source) as server:
        served = zarr.open_group(server.url, mode="r")
        (ours,), (theirs,) = (root.attrs["ome"]["multiscales"] for root in (served, written))
        assert ours | {"name": ""} == theirs | {"name": ""}
        # From the coarsest one on, which needs all others.
        for path in reversed(paths):
            np.testing.assert_array_equal(served[path][:], written[path][:], strict=True)


def test_xarray_finds_voxels_and_positions(case, tmp_path):
    source, data = case
    il.to_ome_zarr(source, tmp_path / "converted.zarr")
    with il.serve(source) as server:
        for url, level in ((server.url, "scale0"), (server.url, "scale1"), (server.older_urls[0], "scale1")):
            found = xr.open_zarr(f"{url}/{level}").load()
            wanted = xr.open_zarr(tmp_path / "converted.zarr" / level, consolidated=False).load()
            xr.testing.assert_equal(found, wanted)
            assert all(found[name].attrs == wanted[name].attrs for name in found.coords)
            if level == "scale0":
                np.testing.assert_array_equal(found.image, data)


def test_ngff_zarr_finds_voxels_and_positions(case):
    source, data = case
    with il.serve(source) as server:
        images = ngff_zarr.from_ngff_zarr(server.url).images
        np.testing.assert_array_equal(np.asarray(images[0].data), data)
        array = il.open_dataarray(source) if not isinstance(source, xr.DataArray) else source
        if "z" in array.coords:
            assert {dim: images[0].scale[dim] for dim in "zyx"} == SIZES
            assert {dim: images[1].scale[dim] for dim in "zyx"} == SIZES | {"x": 0.5}


def test_labels_lie_beneath_the_image_with_names_and_colours():
    project = sample("project")
    prob = il.open_dataarray(sample("probabilities"), project=project)
    segmentation = il.open_dataarray(sample("segmentation"), project=project)
    with il.serve(prob, labels={"classes": segmentation}) as server:
        for url in (server.url, server.older_urls[0]):
            root = zarr.open_group(url, mode="r")
            about = root.attrs.get("ome", root.attrs)
            assert [channel["label"] for channel in about["omero"]["channels"]] == ["nucleus", "background"]
            labels = root["labels"]
            assert labels.attrs.get("ome", labels.attrs)["labels"] == ["classes"]
            of_labels = labels["classes"].attrs.get("ome", labels["classes"].attrs)
            names = {entry["label-value"]: entry["class"] for entry in of_labels["image-label"]["properties"]}
            assert names == {1: "nucleus", 2: "background"}
            assert of_labels["image-label"]["source"] == {"image": "../../"}
            found = labels["classes/scale0/image"][:]
            np.testing.assert_array_equal(found, segmentation.squeeze("c"))


def test_channels_without_a_noted_range_have_the_contrast_of_their_values(tmp_path):
    values = np.arange(4 * 30 * 40 * 2, dtype="f4").reshape(4, 30, 40, 2) % 200 - 50
    write_hdf5_export(tmp_path / "raw.h5", values, axes="zyxc", chunks=(2, 16, 16, 1), filters="gzip")
    with il.serve(tmp_path / "raw.h5") as server:
        for url in (server.url, server.older_urls[0]):
            attributes = zarr.open_group(url, mode="r").attrs
            for channel in attributes.get("ome", attributes)["omero"]["channels"]:
                assert -50 <= channel["window"]["start"] < -40
                assert 140 < channel["window"]["end"] < 150


def test_label_images_need_no_names():
    with il.serve(sample("probabilities"), labels=[sample("segmentation"), sample("segmentation")]) as server:
        names = ["nuclei_Simple_Segmentation", "nuclei_Simple_Segmentation_2"]
        assert zarr.open_group(server.url, mode="r")["labels"].attrs["ome"]["labels"] == names


def test_label_images_whose_names_are_spelled_alike_in_a_url_are_all_served():
    labels = {"a b": sample("segmentation"), "a_b": il.open_dataarray(sample("segmentation")) > 1}
    with il.serve(sample("probabilities"), labels=labels) as server:
        group = zarr.open_group(server.url, mode="r")["labels"]
        assert group.attrs["ome"]["labels"] == ["a_b", "a_b_2"]
        assert [group[f"{name}/scale0/image"].dtype for name in ("a_b", "a_b_2")] == [np.uint8, np.bool_]


def test_several_images_have_addresses_of_their_own():
    with il.serve(sample("raw"), sample("raw"), sample("segmentation")) as server:
        assert [url.rpartition("/")[2] for url in server.urls] == [
            "nuclei.zarr",
            "nuclei_2.zarr",
            "nuclei_Simple_Segmentation.zarr",
        ]
        dtypes = [zarr.open_array(f"{url}/scale0/image", mode="r").dtype for url in server.urls]
        assert dtypes == [np.uint8] * 3
