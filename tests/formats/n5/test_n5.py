"""N5 folders: which dataset is opened, what its metadata say, ilastik's own and hostile ones."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import DEFAULTS, Limits
from ilastik_lazy.errors import (
    DatasetNotFoundError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    UnsafePathError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats import n5
from ilastik_lazy.formats.location import Location
from tests.support.makers import axistags, some_data
from tests.support.n5_makers import CHUNKS, SHAPE, opened, values_of, write_dataset, write_n5


def test_a_dataset_or_its_metadata_elsewhere_are_refused(tmp_path):
    write_n5(tmp_path / "other.n5", some_data(SHAPE))
    write_n5(tmp_path / "a.n5", some_data(SHAPE))
    (tmp_path / "a.n5" / "linked").symlink_to(tmp_path / "other.n5" / "exported_data")
    assert n5.images(Location.parse(tmp_path / "a.n5"), DEFAULTS) == ["exported_data"]
    with pytest.raises(UnsafePathError):
        opened(tmp_path / "a.n5", "linked")
    with pytest.raises(UnsafePathError):
        opened(tmp_path / "a.n5", "../other.n5/exported_data")
    (tmp_path / "a.n5" / "exported_data" / "attributes.json").unlink()
    (tmp_path / "a.n5" / "exported_data" / "attributes.json").symlink_to("/etc/passwd")
    with pytest.raises(UnsafePathError):
        opened(tmp_path / "a.n5", "exported_data")


def test_a_dataset_is_found_from_wherever_one_points_at_it(tmp_path):
    data = write_n5(tmp_path / "a.n5", some_data(SHAPE), "volume/data")
    root = tmp_path / "a.n5"
    for path, inside in [
        (root, None), (f"{root}/", None), (root, "volume/data"), (root, "/volume/data/"), (root, "volume\\data"),
        (root / "attributes.json", None), (root / "attributes.json", "volume/data"), (root / "volume", None),
        (root / "volume", "data"), (root / "volume/data", None), (root / "volume/data/attributes.json", None),
        (root / "volume/data", "data"),
    ]:  # fmt: skip
        source = opened(path, inside)
        assert source.spec.name == "data"
        assert source.spec.storage.location == str(root / "volume" / "data")
        assert source.spec.storage.path == str(root)
        np.testing.assert_array_equal(values_of(source), data)


def test_a_folder_that_is_a_dataset_itself_has_one_image(tmp_path):
    for name, image in (("a.n5", "a"), ("plain", "plain")):
        data = write_dataset(tmp_path / name, some_data(SHAPE))
        location = Location.parse(tmp_path / name)
        assert n5.images(location, DEFAULTS) == [image]
        np.testing.assert_array_equal(values_of(opened(tmp_path / name)), data)
        np.testing.assert_array_equal(values_of(opened(tmp_path / name, image)), data)


@pytest.mark.posix
def test_what_is_no_n5_is_not_recognised(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_text("text")
    for name, text in (("list", "[]"), ("other", '{"name": 1}'), ("cut", '{"n5": "2'), ("large", " " * 2**21)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "attributes.json").write_text(text)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "attributes.json")
    for path in tmp_path.iterdir():
        assert not n5.recognises(Location(str(path)), DEFAULTS)
    (tmp_path / "folder" / "attributes.json").write_text('{"n5": "2.0.0"}')
    assert n5.recognises(Location(str(tmp_path / "folder")), DEFAULTS)


def test_the_export_comes_first_and_one_of_several_others_must_be_named(tmp_path):
    path = tmp_path / "a.n5"
    for name in ("b/second", "b/first"):
        write_n5(path, some_data((5, 6)), name, axes="yx", chunks=(4, 4))
    write_n5(path, some_data((1,) * 6), "six", axes=None, chunks=(1,) * 6)
    write_n5(path, some_data((4,)), "line", axes=None, chunks=(4,))
    assert n5.images(Location.parse(path), DEFAULTS) == ["b/first", "b/second"]
    with pytest.raises(DatasetNotFoundError, match=r"2 images: b/first, b/second.*internal_path="):
        opened(path)
    with pytest.raises(DatasetNotFoundError, match=r"'nothing'.*it holds 'b/first'"):
        opened(path, "nothing")
    with pytest.raises(MetadataError, match=r"is a group"):
        opened(path, "b")
    write_n5(path, some_data((5, 6)), axes="yx", chunks=(4, 4))
    assert n5.images(Location.parse(path), DEFAULTS)[0] == "exported_data"
    assert opened(path).spec.name == "exported_data"


def test_an_n5_without_images_says_so(tmp_path):
    (tmp_path / "a.n5").mkdir()
    assert n5.images(Location.parse(tmp_path / "a.n5"), DEFAULTS) == []
    with pytest.raises(DatasetNotFoundError, match=r"holds no image"):
        opened(tmp_path / "a.n5")


def test_one_broken_dataset_does_not_hide_the_others(tmp_path):
    write_n5(tmp_path / "a.n5", some_data(SHAPE))
    (tmp_path / "a.n5" / "broken").mkdir()
    (tmp_path / "a.n5" / "broken" / "attributes.json").write_text("{")
    with pytest.warns(MetadataWarning, match=r"broken.*left out"):
        assert n5.images(Location.parse(tmp_path / "a.n5"), DEFAULTS) == ["exported_data"]


def test_metadata_of_an_export_are_in_the_spec(tmp_path):
    said = {"drange": [0.0, 1.0], "display_mode": "grayscale", "axis_units": '{"z": "\\u00b5m", "x": "nm", "c": ""}',
            "axistags": axistags("zyxc", {"z": 0.8, "y": 0.25})}  # fmt: skip
    write_n5(tmp_path / "a_Probabilities.n5", some_data(SHAPE), attributes=said)
    spec = opened(tmp_path / "a_Probabilities.n5").spec
    assert [(a.name, a.scale, a.unit) for a in spec.axes] == [
        ("z", 0.8, "micrometer"), ("y", 0.25, ""), ("x", None, "nanometer"), ("c", None, ""),
    ]  # fmt: skip
    assert (spec.drange, spec.display_mode, spec.kind) == ((0.0, 1.0), "grayscale", "probabilities")
    assert (spec.chunks, spec.grid, spec.axes_guessed) == (CHUNKS, (3, 3, 3, 2), False)
    # The same as JSON objects.
    said |= {"axis_units": json.loads(said["axis_units"]), "axistags": json.loads(said["axistags"])}
    write_n5(tmp_path / "a_Probabilities.n5", some_data(SHAPE), attributes=said)
    assert opened(tmp_path / "a_Probabilities.n5").spec == spec


@pytest.mark.parametrize(
    "attributes",
    [{"drange": [1]}, {"drange": [0, float("nan")]}, {"drange": [0, 10**400]}, {"drange": "01"}, {"axis_units": "{um"},
     {"axis_units": [1]}, {"display_mode": 3}],
)  # fmt: skip
def test_decoration_that_makes_no_sense_is_ignored_with_a_warning(tmp_path, attributes):
    data = write_n5(tmp_path / "a.n5", some_data(SHAPE), attributes=attributes)
    with pytest.warns(MetadataWarning, match=r"ignored"):
        source = opened(tmp_path / "a.n5")
    np.testing.assert_array_equal(values_of(source), data)


@pytest.mark.parametrize("value", ["cyx", "CYX", ["c", "y", "x"], ["C", "Y", "X"]])
def test_an_axes_attribute_is_in_reversed_order(tmp_path, value):
    write_n5(tmp_path / "a.n5", some_data((5, 6, 7)), axes=None, chunks=(4, 4, 4), attributes={"axes": value})
    assert opened(tmp_path / "a.n5").spec.dims == tuple("xyc")


@pytest.mark.parametrize("value", [None, 3, "xyz?", ["x"], [{"name": "x"}] * 3, {"x": 1}])
def test_axes_of_a_dataset_without_any_are_guessed_with_a_warning(tmp_path, value):
    write_n5(tmp_path / "a.n5", some_data((5, 6, 3)), axes=None, chunks=(4, 4, 4), attributes={"axes": value})
    with pytest.warns(MetadataWarning, match=r"yxc is guessed"):
        assert opened(tmp_path / "a.n5").spec.axes_guessed
    assert opened(tmp_path / "a.n5", axes="zyx").spec.dims == tuple("zyx")


@pytest.mark.parametrize("value", [5, [], {"axes": 3}, "{", axistags("zy")])
def test_axes_of_the_caller_win_over_damaged_tags(tmp_path, value):
    write_n5(tmp_path / "a.n5", some_data((5, 6, 7)), axes=None, chunks=(4, 4, 4), attributes={"axistags": value})
    with pytest.raises(MetadataError, match=r"exported_data.*axes="):
        opened(tmp_path / "a.n5")
    assert opened(tmp_path / "a.n5", axes="tyx").spec.dims == tuple("tyx")


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"dimensions": 5}, MetadataError),
        ({"dimensions": [2, 10, 9, True]}, MetadataError),
        ({"dimensions": [2, 10, 9, 7.0]}, MetadataError),
        ({"dimensions": [2, 10, 9, -7]}, MetadataError),
        ({"dimensions": [2, 10, 9, 2**62]}, LimitExceededError),
        ({"dimensions": [7]}, MetadataError),
        ({"blockSize": [1, 4, 4]}, MetadataError),
        ({"blockSize": [1, 4, 4, 0]}, MetadataError),
        ({"blockSize": [1, 4096, 4096, 4096]}, LimitExceededError),
        ({"dimensions": [10**6] * 4}, LimitExceededError),
        ({"dataType": ["float32"]}, MetadataError),
        ({"dataType": "string"}, MetadataError),
        ({"compression": None}, MetadataError),
        ({"compression": {}}, MetadataError),
        ({"compression": {"type": "jpeg"}}, UnsupportedFilterError),
        ({"compression": {"type": "none"}}, UnsupportedFilterError),
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path, attributes, error):
    write_n5(tmp_path / "a.n5", some_data(SHAPE), attributes=attributes)
    with pytest.raises(error, match=r"exported_data"):
        opened(tmp_path / "a.n5", "exported_data")


def test_the_compression_of_n5_before_2_is_a_text(tmp_path):
    data = write_n5(tmp_path / "a.n5", some_data(SHAPE))
    path = tmp_path / "a.n5" / "exported_data" / "attributes.json"
    said = json.loads(path.read_text())
    del said["compression"]
    path.write_text(json.dumps(said | {"compressionType": "gzip"}))
    np.testing.assert_array_equal(values_of(opened(tmp_path / "a.n5")), data)


def test_sizes_beyond_the_limits_are_refused(tmp_path):
    write_n5(tmp_path / "a.n5", some_data(SHAPE), "deep/er/data")
    for limits in (Limits(chunk_bytes=191), Limits(chunk_count=53), Limits(attribute_bytes=100)):
        with pytest.raises(LimitExceededError):
            opened(tmp_path / "a.n5", "deep/er/data", limits=limits)
    for limits in (Limits(members=2), Limits(depth=0)):
        with pytest.raises(LimitExceededError, match=r"internal_path="):
            opened(tmp_path / "a.n5", limits=limits)
    opened(tmp_path / "a.n5", limits=Limits(chunk_bytes=192, chunk_count=54))


def test_it_opens_as_a_labelled_array_and_as_a_dataset(tmp_path):
    data = write_n5(tmp_path / "a.n5", some_data(SHAPE))
    write_n5(tmp_path / "a.n5", some_data((5, 6), "u1"), "labels", axes="yx", chunks=(4, 4))
    array = il.open_dataarray(tmp_path / "a.n5")
    assert (array.name, array.dims) == ("exported_data", tuple("zyxc"))
    np.testing.assert_array_equal(array.values, data)
    dataset = il.open_dataset(tmp_path / "a.n5")
    assert list(dataset) == ["exported_data", "labels"]
    only = il.open_dataset(tmp_path / "a.n5" / "labels")
    np.testing.assert_array_equal(only["labels"].values, dataset["labels"].values)
