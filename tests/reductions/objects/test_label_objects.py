"""What `label_objects` promises beside its numbers: laziness, one first pass, settings, errors."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
import scipy.ndimage as ndi
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError
from tests.fuzz.objects import blocks_are_chunks
from tests.support.makers import write_hdf5_export


class CountingSource:
    """Serves another source and remembers which regions were asked for."""

    def __init__(self, source):
        self.source, self.spec, self.regions = source, source.spec, []

    def read(self, region):
        self.regions.append(region)
        return self.source.read(region)


@pytest.fixture
def nuclei():
    return il.open_dataarray(sample("probabilities"), project=sample("project")).sel(c="nucleus")


@pytest.fixture
def counting(nuclei):
    from ilastik_lazy.lazy.from_xarray import as_source

    return CountingSource(as_source(nuclei))


def test_the_call_reads_nothing_and_the_first_pass_is_made_once(counting):
    with blocks_are_chunks():
        labels = il.label_objects(counting, min_size=3)
        assert counting.regions == []
        blocks = int(np.prod(labels.data.numblocks))
        labels.isel(z=0).compute()
        first = len(counting.regions)
        labels.isel(z=1).compute()
        assert first < len(counting.regions) < 2 * first
        assert blocks >= 1


def test_measuring_reads_each_block_once_and_serves_the_labels(counting):
    with blocks_are_chunks():
        labels = il.label_objects(counting)
        table = il.measure_objects(labels)
        assert len(counting.regions) == len({str(region) for region in counting.regions})
        passed = len(counting.regions)
        part = labels.isel(z=slice(0, 1), y=slice(0, 1), x=slice(0, 1)).values
        assert len(counting.regions) == passed + 1
        assert part.shape == (1, 1, 1)
    assert table["label"].tolist() == list(range(1, len(table) + 1))


def test_a_pickled_copy_has_the_same_numbers(nuclei):
    labels = il.label_objects(nuclei, min_size=5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(labels)).values, labels.values)


def test_the_result_is_a_label_image_with_the_positions_of_the_image(nuclei):
    labels = il.label_objects(nuclei)
    assert labels.attrs["ilastik_kind"] == "object identities"
    assert labels.dtype == np.uint32
    xr.testing.assert_identical(labels.coords["z"].drop_vars("c"), nuclei.coords["z"].drop_vars("c"))


def test_it_is_written_as_a_label_image_with_its_table(nuclei, tmp_path):
    labels = il.label_objects(nuclei, min_size=5)
    table = il.measure_objects(labels)
    il.to_ome_zarr(labels, tmp_path / "a.zarr", table=table)
    written = il.open_dataarray(tmp_path / "a.zarr")
    np.testing.assert_array_equal(written.values, labels.values)
    assert float(il.paint(written, table, "area").max()) == table["area"].max()


@pytest.mark.parametrize("sigma", [0.3, 1.0, {"y": 2.2, "x": 0.7}])
def test_the_gaussian_is_that_of_the_whole_image(nuclei, sigma):
    values = nuclei.values
    for axis, name in enumerate("zyx"):
        width = sigma.get(name, 0) if isinstance(sigma, dict) else sigma
        if width:
            radius = max(1, int(2 * width + 0.5))
            values = ndi.gaussian_filter1d(values, width, axis, mode="mirror", radius=radius)
    with blocks_are_chunks():
        found = il.label_objects(nuclei, smooth=sigma).values
    np.testing.assert_array_equal(found, ndi.label(values >= np.float32(0.5))[0])


def test_two_classes_that_touch_are_one_object():
    classes = xr.DataArray(
        np.array([[1, 2, 0, 2, 3]], np.uint8),
        dims=("y", "x"),
        attrs={"ilastik_kind": "segmentation", "flag_values": [1, 2, 3], "flag_meanings": ["a", "b", "d"]},
    )
    assert il.label_objects(classes, classes=["a", "b"]).values.tolist() == [[1, 1, 0, 2, 0]]
    assert il.label_objects(classes, classes=3).values.tolist() == [[0, 0, 0, 0, 1]]
    with pytest.raises(ArgumentError, match="classes"):
        il.label_objects(classes)
    with pytest.raises(ArgumentError, match=r"has a \(1\), b \(2\), d \(3\)"):
        il.label_objects(classes, classes="e")
    with pytest.raises(ArgumentError, match=r"classes=4: .* has a \(1\)"):
        il.label_objects(classes, classes=4)
    with pytest.raises(ArgumentError, match="none by name: open it with project="):
        il.label_objects(sample("segmentation"), classes="nucleus")


def test_a_project_gives_its_settings(tmp_path):
    rng = np.random.default_rng(0)
    values = ndi.gaussian_filter(rng.random((2, 20, 30)), (0, 1, 1)).astype(np.float32)
    values = np.stack([values[0], 1 - values[0]], -1)
    write_hdf5_export(tmp_path / "a.h5", values, axes="yxc", chunks=(7, 9, 1), filters="gzip")
    with h5py.File(tmp_path / "p.ilp", "w") as file:
        applet = file.create_group("ThresholdTwoLevels")
        applet["CurOperator"], applet["Channel"], applet["MinSize"], applet["MaxSize"] = 0, 1, 4, 300
        applet["LowThreshold"] = 0.5
        for name in "zyx":
            applet[f"SmootherSigma/{name}"] = 1.0
    image = il.open_dataarray(tmp_path / "a.h5")
    ours = il.label_objects(image, project=tmp_path / "p.ilp")
    same = il.label_objects(image.isel(c=1), threshold=0.5, smooth=1.0, min_size=4, max_size=300)
    np.testing.assert_array_equal(ours.values, same.values)
    assert ours.dims == ("y", "x")
    with pytest.raises(ArgumentError, match="min_size"):
        il.label_objects(image, project=tmp_path / "p.ilp", min_size=3)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": np.nan},
        {"threshold": "a"},
        {"threshold": 50},
        {"core": 90},
        {"core": 0.4},
        {"smooth": -1},
        {"smooth": [1, 1, 1]},
        {"smooth": {"t": 1}},
        {"min_size": 1.5},
        {"max_size": -1},
        {"min_size": 9, "max_size": 8},
        {"connectivity": 4},
        {"connectivity": True},
        {"classes": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(nuclei, options):
    with pytest.raises(ArgumentError):
        il.label_objects(nuclei, **options)


def test_a_threshold_that_no_voxel_reaches_is_refused(nuclei):
    with pytest.raises(
        ArgumentError, match=r"threshold=50.0: .* holds probabilities, expected 0 to 1: 50 percent are 0.5"
    ):
        il.label_objects(nuclei, threshold=50)
    values = xr.DataArray(np.array([[0, 200, 255]], np.uint8), dims=("y", "x"))
    assert il.label_objects(values, threshold=255).values.tolist() == [[0, 0, 1]]
    with pytest.raises(ArgumentError, match=r"no uint8 in .* reaches it$"):
        il.label_objects(values, threshold=256)
    with pytest.raises(ArgumentError, match="reaches it, on a scale where 1 stands for 255"):
        il.label_objects(values.assign_attrs(drange=[0, 255]), threshold=128)


def test_probabilities_in_whole_numbers_need_a_range_for_a_fraction(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = np.array([[0, 200, 255]], np.uint8)
    image = il.open_dataarray(tmp_path / "a.h5", axes="yx", kind="probabilities")
    assert il.label_objects(image, threshold=128).values.tolist() == [[0, 1, 1]]
    with pytest.raises(ArgumentError, match=r"threshold=0.5: .* without a known range: set attrs\['drange'\]"):
        il.label_objects(image)
    assert il.label_objects(image.assign_attrs(drange=[0, 255])).values.tolist() == [[0, 1, 1]]


def test_an_image_without_space_has_no_objects():
    with pytest.raises(AxesError):
        il.label_objects(xr.DataArray(np.ones((3, 2)), dims=("t", "c")))


def test_an_empty_image_has_no_objects():
    image = xr.DataArray(np.ones((0, 4), np.bool_), dims=("y", "x"))
    assert il.label_objects(image).shape == (0, 4)
    assert len(il.measure_objects(il.label_objects(image))) == 0


@pytest.mark.parametrize(
    "options", [{}, {"smooth": 1}, {"threshold": 0.9}, {"threshold": 0.25, "core": 2.0}, {"threshold": 0, "core": 0.5}]
)
def test_a_probability_is_no_threshold_for_whole_numbers_of_unknown_range(options):
    image = xr.DataArray(np.array([[0, 100, 0, 200]], np.uint8), dims=("y", "x"))
    with pytest.raises(ArgumentError, match=r"=0\.\d+: .* holds uint8 without a known range: set attrs\['drange'\]"):
        il.label_objects(image, **options)
    assert il.label_objects(image.assign_attrs(drange=(0, 255))).values.tolist() == [[0, 0, 0, 1]]
    assert il.label_objects(image, threshold=1).values.tolist() == [[0, 1, 0, 2]]
    assert il.label_objects(image.astype(bool)).values.tolist() == [[0, 1, 0, 2]]


def test_whole_numbers_that_were_computed_do_not_have_the_range_of_their_origin():
    attrs = {"ilastik_kind": "probabilities", "drange": [0, 1]}
    maps = xr.DataArray(np.array([[[0.1, 0.6, 0, 0.9]], [[0.9, 0.4, 1, 0.1]]], "f4"), dims=("c", "y", "x"), attrs=attrs)
    scaled = (maps * 255).astype(np.uint8)
    assert scaled.attrs["drange"] == [0, 1]
    for use in (lambda image: il.label_objects(image[0]), lambda image: il.classify(image, threshold=0.8)):
        with pytest.raises(ArgumentError, match=r"holds uint8 without a known range: set attrs\['drange'\]"):
            use(scaled)
    assert il.label_objects(scaled[0], threshold=128).values.tolist() == [[0, 1, 0, 2]]
    right = scaled.assign_attrs(drange=[0, 255])
    assert il.label_objects(right[0]).values.tolist() == [[0, 1, 0, 2]]
    assert il.classify(right, threshold=0.8).values.tolist() == [[2, 0, 2, 1]]


def test_a_gaussian_wider_than_the_image_takes_no_more_memory():
    image = xr.DataArray(np.eye(8, dtype=np.float32).reshape(2, 4, 8), dims=("z", "y", "x"))
    # What lies beyond the borders is not an array of its own: this one would have 10**15 voxels.
    assert il.label_objects(image, threshold=0.1, smooth=20_000).values.tolist() == np.ones((2, 4, 8)).tolist()


def test_a_range_that_may_be_no_longer_true_is_no_scale(tmp_path):
    values = np.array([[0, 100, 0, 200]], np.uint8)
    write_hdf5_export(tmp_path / "p.h5", values, axes="yx")
    with h5py.File(tmp_path / "p.h5", "a") as file:
        file["exported_data"].attrs["drange"] = (0, 255)
    opened = il.open_dataarray(tmp_path / "p.h5")
    with xr.set_options(keep_attrs=True):
        image, in_memory = opened / 255, opened.compute() / 255
    for each in (image, in_memory):
        with pytest.raises(ArgumentError, match=r"was computed, and attrs\['drange'\].*: delete attrs\['drange'\]"):
            il.label_objects(each)
        assert il.label_objects(each.drop_attrs()).values.tolist() == [[0, 0, 0, 1]]
    assert il.label_objects(opened).values.tolist() == [[0, 0, 0, 1]]
