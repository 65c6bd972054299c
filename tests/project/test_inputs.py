"""Lanes and roles of a project, what it recorded of them, and which paths are followed."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.axes import axis_names
from ilastik_lazy.core.options import DEFAULTS, Limits
from ilastik_lazy.errors import (
    ArgumentError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    SourceNotFoundError,
    UnknownFormatError,
    UnsafePathError,
)
from ilastik_lazy.project.inputs import lanes_of, open_input
from ilastik_lazy.project.path_text import split_paths
from ilastik_lazy.project.paths import Roots, resolve
from tests.support.contract import SourceContract, Stored
from tests.support.makers import axistags, some_data, write_hdf5_export


@pytest.fixture
def places(tmp_path):
    """A project's folder, and one beside it, each with an image."""
    for name in ("here", "there"):
        (tmp_path / name / "sub").mkdir(parents=True)
        write_hdf5_export(tmp_path / name / "sub" / "a.h5", some_data((4, 5, 6)), axes="zyx")
    (tmp_path / "here" / "link.h5").symlink_to(tmp_path / "there" / "sub" / "a.h5")
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "there")
    return tmp_path


def all_at(places, text, *roots):
    return resolve(text, Roots.of(str(places / "here" / "p.ilp"), [places / root for root in roots]))


def at(places, text, *roots):
    (found,) = all_at(places, text, *roots)
    return found


HERE = "here/sub/a.h5"


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("sub/a.h5/exported_data", "exported_data"),
        ("./sub/a.h5/exported_data", "exported_data"),
        (r"sub\a.h5\exported_data", "exported_data"),
        (r"sub\a.h5\volume\data", "volume/data"),
        ("sub/a.h5", None),
    ],
)
def test_plain_relative_paths_lead_below_the_project(places, text, inside):
    found = at(places, text)
    assert found.path == str(places / HERE)
    assert found.internal_path == inside


@pytest.mark.parametrize(
    "text",
    [
        "../there/sub/a.h5/exported_data",
        "sub/../../there/sub/a.h5",
        "{there}/sub/a.h5/exported_data",
        "file://{there}/sub/a.h5",
        "link.h5/exported_data",
        "folder/sub/a.h5",
        "{there}/sub/*.h5",
        "../there/sub/*.h5/exported_data",
    ],
)
def test_other_paths_need_a_named_folder(places, text):
    text = text.format(there=places / "there")
    with pytest.raises(UnsafePathError):
        at(places, text)
    (places / "other").mkdir()
    with pytest.raises(UnsafePathError):
        at(places, text, "other")
    if "link" in text or "folder" in text:
        # What a link leads to is not replaced by another file of its name.
        with pytest.raises(UnsafePathError, match=r"link out of the allowed folders"):
            at(places, text, "here/sub")
    if "*" in text and ".." in text:
        with pytest.raises(UnsafePathError, match=r"pattern that contains"):
            at(places, text, "there")
        return
    assert at(places, text, "there").path == str(places / "there/sub/a.h5")


def test_a_named_folder_may_be_a_link(places):
    assert at(places, f"{places}/here/folder/sub/a.h5", "here/folder").path == str(places / "there/sub/a.h5")


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "../../../../../../../../etc/passwd",
        "/etc/*",
        "~/.ssh/id_rsa",
        "file:///etc/passwd",
        "file://host/etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "precomputed://https://example.org/a",
        "img.h5\0/etc/passwd",
        "file:///etc/passwd%00",
        "C:\\data\\a.h5\\exported_data",
    ],
)
@pytest.mark.parametrize("roots", [(), ("there",)])
def test_paths_out_of_all_folders_are_refused(places, text, roots):
    with pytest.raises(UnsafePathError) as caught:
        at(places, text, *roots)
    assert str(caught.value).isprintable()


def test_a_refused_path_touches_nothing_but_the_named_folders(places, monkeypatch):
    def only_there(function):
        def checked(path, **options):
            assert str(path).startswith(str(places / "there")), path
            return function(path, **options)

        return checked

    roots = Roots.of(str(places / "here" / "p.ilp"), [places / "there"])
    for name in ("isfile", "isdir", "exists", "realpath", "expanduser"):
        monkeypatch.setattr(os.path, name, only_there(getattr(os.path, name)))
    for text in ("/etc/passwd", "/etc/*", "../x.h5", "C:/a.h5", "http://a.org/b"):
        with pytest.raises(UnsafePathError):
            resolve(text, roots)


def test_relative_paths_are_looked_for_below_named_folders_too(places):
    (places / "there" / "only.h5").write_bytes(b"x")
    with pytest.raises(SourceNotFoundError, match=r"source_roots="):
        at(places, "only.h5/data")
    assert at(places, "only.h5/data", "there").path == str(places / "there/only.h5")
    # The project's own folder comes first.
    assert at(places, "sub/a.h5", "there").path == str(places / HERE)


def test_stacks_need_a_named_folder_and_are_counted(places):
    for name in ("b1.h5", "b2.h5"):
        (places / "here" / name).write_bytes(b"x")
    for text in ("b1.h5:b2.h5", r".\b1.h5;.\b2.h5", "b*.h5/data", "b?.h5"):
        with pytest.raises(UnsafePathError, match=r"source_roots"):
            at(places, text)
        found = all_at(places, text, "here")
        assert [location.path for location in found] == [str(places / "here" / name) for name in ("b1.h5", "b2.h5")]
    with pytest.raises(SourceNotFoundError):
        at(places, "none*.h5", "here")
    with pytest.raises(UnknownFormatError, match=r"datasets in one file"):
        at(places, "nothere.h5/vol_*", "here")


def test_a_name_with_brackets_is_a_name_first(places):
    (places / "here" / "b[1].h5").write_bytes(b"x")
    assert at(places, "b[1].h5/data").path == str(places / "here/b[1].h5")


def test_a_list_of_10000_files_is_refused(places):
    with pytest.raises(LimitExceededError):
        at(places, ":".join(["/etc/passwd"] * 10_000))


def test_dots_behind_a_link_lead_where_the_link_leads(places):
    # Written out, "folder/../sub" were "sub"; the system goes to the parent of "there".
    with pytest.raises(UnsafePathError):
        at(places, "folder/../sub/a.h5", "here")


def test_what_a_pattern_finds_behind_a_link_is_left_out(places):
    with pytest.raises(SourceNotFoundError):
        at(places, "link*", "here")


def test_a_pipe_is_no_image(places):
    os.mkfifo(places / "here" / "pipe.h5")
    with pytest.raises(UnsafePathError):
        at(places, "pipe.h5/data")


def test_a_named_folder_must_be_there(places):
    with pytest.raises(ArgumentError, match="is not a folder"):
        at(places, "a", "gone")
    assert Roots.of(str(places / "p.ilp"), str(places / "here")).named == (str(places / "here"),)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.png:b.png", ["a.png", "b.png"]),
        ("/d/a.h5/x:/d/b.h5/x", ["/d/a.h5/x", "/d/b.h5/x"]),
        ("C:\\d\\a.png;D:\\b.png", ["C:/d/a.png", "D:/b.png"]),
        ("C:/d/a.png", ["C:/d/a.png"]),
        ("a.png;b.png", ["a.png", "b.png"]),
        ("day;night/a.png", ["day;night/a.png"]),
        ("https://a.org:80/b:c", ["https://a.org:80/b:c"]),
    ],
)
def test_lists_are_split_as_the_machine_that_wrote_them_joins(text, parts):
    assert split_paths(text) == parts


def write_lane(path, role="Raw Data", roles=("Raw Data", "Prediction Mask"), **fields):
    with h5py.File(path, "w") as file:
        file["workflowName"], file["ilastikVersion"] = b"Pixel Classification", b"1.4.1"
        inputs = file.create_group("Input Data")
        if roles:
            inputs["Role Names"] = np.array([name.encode() for name in roles])
        group = inputs.create_group("infos/lane0000" + (f"/{role}" if roles else ""))
        if roles:
            inputs.create_group("infos/lane0000/Prediction Mask")
        for name, value in fields.items():
            group[name] = value.encode() if isinstance(value, str) else value
    return str(path)


def recorded_in(path):
    with h5py.File(path) as file:
        (lane,) = lanes_of(file, Limits())
    return lane.inputs


def open_only(path, *roots):
    (recorded,) = recorded_in(path)
    return open_input(path, recorded, Roots.of(path, roots), DEFAULTS)


def test_roles_without_an_image_are_left_out(tmp_path):
    (recorded,) = recorded_in(write_lane(tmp_path / "p.ilp", filePath="a.h5", nickname="n"))
    assert (recorded.role, recorded.file_path, recorded.nickname) == ("Raw Data", "a.h5", "n")


def test_a_lane_without_role_names_is_its_only_role(tmp_path):
    (recorded,) = recorded_in(write_lane(tmp_path / "p.ilp", roles=None, filePath="a.h5"))
    assert (recorded.role, recorded.file_path) == ("Raw Data", "a.h5")


def test_axes_of_the_project_go_before_those_of_the_file(tmp_path):
    data = write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6)), axes="zyx", resolution={"y": 0.5, "z": 2})
    tags = axistags("cyx", {"x": 0.25})
    path = write_lane(tmp_path / "p.ilp", filePath="a.h5/exported_data", axistags=tags, axis_units='{"x": "um"}')
    source = open_only(path)
    assert axis_names(source.spec.axes) == ("c", "y", "x")
    assert [axis.scale for axis in source.spec.axes] == [None, 0.5, 0.25]
    assert source.spec.axes[2].unit == "micrometer"
    np.testing.assert_array_equal(source.read(tuple(slice(0, n) for n in data.shape)), data)


def test_axisorder_is_the_old_word_for_it(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6)), axes=None)
    source = open_only(write_lane(tmp_path / "p.ilp", filePath="a.h5", axisorder="txy"))
    assert source.spec.dims == ("t", "x", "y")


def test_axes_that_do_not_fit_the_file_give_way_with_a_warning(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6)), axes="zyx")
    path = write_lane(tmp_path / "p.ilp", filePath="a.h5", axisorder="yx")
    with pytest.warns(MetadataWarning, match=r"the project states yx"):
        assert open_only(path).spec.dims == ("z", "y", "x")


def test_another_shape_than_recorded_is_a_warning(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6)), axes="zyx")
    path = write_lane(tmp_path / "p.ilp", filePath="a.h5", shape=[4, 5, 7])
    with pytest.warns(MetadataWarning, match=r"same image"):
        open_only(path)


@pytest.mark.parametrize(
    ("shape", "axes", "recorded"),
    [((5, 6), "yx", "zyx"), ((5, 6), "yx", "tyx"), ((2, 5, 6), "zyx", "zyx"), ((2, 5, 6), "zyx", "tzyx")],
)
def test_a_stack_is_put_together_along_the_axis_that_the_project_has(tmp_path, shape, axes, recorded):
    parts = [write_hdf5_export(tmp_path / f"s{i}.h5", some_data(shape, seed=i), axes=axes) for i in range(3)]
    whole = np.stack(parts) if len(recorded) > len(axes) else np.concatenate(parts)
    fields = {"axisorder": recorded, "shape": list(whole.shape)}
    path = write_lane(tmp_path / "p.ilp", filePath="s*.h5/exported_data", **fields)
    with pytest.raises(UnsafePathError):
        open_only(path)
    source = open_only(path, tmp_path)
    assert source.spec.dims == tuple(recorded)
    np.testing.assert_array_equal(source.read(tuple(slice(0, n) for n in whole.shape)), whole)


@pytest.mark.parametrize("key", ["inner_path", "datasetId"])
def test_embedded_images_are_opened(tmp_path, key):
    fields = {"location": "ProjectInternal", key: "/Input Data/local_data/id1" if key == "inner_path" else "id1"}
    if key == "inner_path":
        fields["__class__"] = "ProjectInternalDatasetInfo"
    path = write_lane(tmp_path / "p.ilp", axisorder="cyx", **fields)
    data = some_data((1, 5, 6))
    with h5py.File(path, "r+") as file:
        file["Input Data/local_data/id1"] = data
    source = open_only(path)
    assert source.spec.dims == ("c", "y", "x")
    np.testing.assert_array_equal(source.read((slice(0, 1), slice(0, 5), slice(0, 6))), data)


class TestWindow(SourceContract):
    @pytest.fixture
    def stored(self, tmp_path):
        data = write_hdf5_export(tmp_path / "a.h5", some_data((9, 10, 11)), axes="zyx", resolution={"z": 2})
        path = write_lane(tmp_path / "p.ilp", filePath="a.h5", subvolume_roi=[[2, 0, 3], [9, 10, 8]])
        source = open_only(path)
        assert source.spec.axes[0].translation == 4
        return Stored(tmp_path / "a.h5", source, data[2:9, :, 3:8])


@pytest.mark.parametrize(
    "roi", [[[0, 0, 0], [5, 5, 6]], [[1, 0, 0], [1, 5, 6]], [[0, 0], [1, 1]], [[-1, 0, 0], [2, 2, 2]]]
)
def test_a_sub_volume_outside_the_image_is_refused(tmp_path, roi):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6)), axes="zyx")
    with pytest.raises(MetadataError, match=r"p\.ilp|a\.h5"):
        open_only(write_lane(tmp_path / "p.ilp", filePath="a.h5", subvolume_roi=roi))


@pytest.mark.parametrize(
    "fields",
    [
        {"filePath": np.bytes_(b"caf\xe9.h5")},
        {"filePath": np.void(b"\x80\x03")},
        {"filePath": 7},
        {"filePath": "a.h5", "axistags": "{'axes': eval}"},
        {"filePath": "a.h5", "axisorder": "qq"},
    ],
)
def test_a_field_that_makes_no_sense_is_said_so_when_its_image_is_opened(tmp_path, fields):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6)), axes="zyx")
    with pytest.raises(MetadataError):
        open_only(write_lane(tmp_path / "p.ilp", **fields))


def test_what_is_no_project_is_said_so(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        with pytest.raises(MetadataError, match=r"not an ilastik project"):
            lanes_of(file, Limits())
        file.create_group("DataSets")
        with pytest.raises(MetadataError, match=r"0\.5"):
            lanes_of(file, Limits())


def test_the_role_says_what_the_image_is_where_its_file_does_not(tmp_path):
    for name, kind in (("a.h5", "intensity"), ("a_Probabilities.h5", "probabilities")):
        write_hdf5_export(tmp_path / name, some_data((4, 5, 6, 2), "uint8"), axes="zyxc")
        path = write_lane(tmp_path / "p.ilp", filePath=name)
        assert open_only(path).spec.kind == kind
