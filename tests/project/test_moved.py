"""A project on another machine than the one that made it: images are found by the end of their recorded path."""

from __future__ import annotations

import json
import os
import warnings

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from ilastik_lazy.errors import LimitExceededError, MissingSourceWarning, SourceNotFoundError, UnsafePathError
from ilastik_lazy.project.paths import Roots, resolve
from tests.support.makers import axistags, some_data, write_hdf5_export, write_ilp

IMAGE = some_data((4, 5, 6))


@pytest.fixture
def moved(tmp_path):
    """A project beside ``moved/sub/img 1.h5``, which it does not know of."""
    (tmp_path / "project").mkdir()
    (tmp_path / "moved" / "sub").mkdir(parents=True)
    write_hdf5_export(tmp_path / "moved" / "sub" / "img 1.h5", IMAGE, axes="zyx")
    return tmp_path


def all_at(folder, text, *roots):
    return resolve(text, Roots.of(str(folder / "project" / "p.ilp"), [folder / root for root in roots]))


RECORDED = {
    "a drive, slashes": "D:/Users/Me/sub/img 1.h5/exported_data",
    "a drive, backslashes": r"D:\Users\Me\sub\img 1.h5\exported_data",
    "a server": r"\\server\share\sub\img 1.h5\exported_data",
    "a server, slashes": "//server/share/sub/img 1.h5/exported_data",
    "a long path of Windows": r"\\?\D:\Users\sub\img 1.h5\exported_data",
    "a server in a long path": r"\\?\UNC\server\share\sub\img 1.h5\exported_data",
    "another home": "/home/me/sub/img 1.h5/exported_data",
    "a home by its sign": "~/sub/img 1.h5/exported_data",
    "up and elsewhere": "../../data/sub/img 1.h5/exported_data",
    "up, with backslashes": r"..\data\sub\img 1.h5\exported_data",
    "relative": "data/sub/img 1.h5/exported_data",
    "a URL": "file:///home/me/sub/img%201.h5/exported_data",
    "a URL of a drive": "file:///D:/Users/Me/sub/img%201.h5/exported_data",
}


@pytest.mark.parametrize("text", RECORDED.values(), ids=RECORDED)
@pytest.mark.parametrize("root", ["moved", "moved/sub"])
def test_the_end_of_a_recorded_path_is_found_below_a_named_folder(moved, text, root):
    (found,) = all_at(moved, text, root)
    assert found.path == str(moved / "moved/sub/img 1.h5")
    assert found.internal_path == "exported_data"


@pytest.mark.parametrize("text", RECORDED.values(), ids=RECORDED)
def test_the_message_says_what_was_searched(moved, text):
    (moved / "empty").mkdir()
    with pytest.raises((UnsafePathError, SourceNotFoundError)) as caught:
        all_at(moved, text, "empty")
    message = str(caught.value)
    assert "'img 1.h5'" in message
    assert "sub/img 1.h5' down to" in message
    assert str(moved / "empty") in message
    assert "source_roots=[folder]" in message


def test_the_longest_end_is_taken(moved):
    write_hdf5_export(moved / "moved" / "img 1.h5", IMAGE + 1, axes="zyx")
    (found,) = all_at(moved, RECORDED["another home"], "moved")
    assert found.path == str(moved / "moved/sub/img 1.h5")
    # Also from two folders, in whichever order, and where one lies in the other.
    for roots in (("moved/sub", "moved"), ("moved", "moved/sub")):
        assert all_at(moved, RECORDED["another home"], *roots)[0].path == found.path


def test_two_files_that_fit_as_well_are_an_error_that_lists_them(moved):
    (moved / "copy").mkdir()
    (moved / "copy" / "img 1.h5").write_bytes(b"x")
    with pytest.raises(SourceNotFoundError) as caught:
        all_at(moved, RECORDED["a drive, slashes"], "copy", "moved/sub")
    assert str(moved / "copy/img 1.h5") in str(caught.value)
    assert str(moved / "moved/sub/img 1.h5") in str(caught.value)
    # One file by two names is one.
    (moved / "alias").symlink_to(moved / "moved" / "sub")
    assert len(all_at(moved, RECORDED["a drive, slashes"], "alias", "moved/sub")) == 1


def test_an_internal_path_alone_is_no_end(moved):
    (moved / "moved" / "exported_data").mkdir()
    with pytest.raises(UnsafePathError):
        all_at(moved, "D:/Users/gone.h5/exported_data", "moved")


def test_links_out_of_the_folders_are_no_match(moved):
    (moved / "secret").mkdir()
    write_hdf5_export(moved / "secret" / "s.h5", IMAGE, axes="zyx")
    (moved / "moved" / "s.h5").symlink_to(moved / "secret" / "s.h5")
    (moved / "moved" / "way").symlink_to(moved / "secret")
    for text in ("D:/s.h5/exported_data", "/home/me/way/s.h5", "/x/way/*.h5"):
        with pytest.raises(UnsafePathError):
            all_at(moved, text, "moved")
    for text in ("/x/../secret/s.h5", "D:/moved/../../secret/s.h5/exported_data"):
        with pytest.raises(UnsafePathError):
            all_at(moved, text, "moved/sub")


@pytest.mark.parametrize(
    "text",
    [
        r"D:\exp\slices\b1.png;D:\exp\slices\b2.png",
        "/home/me/slices/b1.png:/home/me/slices/b2.png",
        r"\\server\slices\b1.png;\\server\slices\b2.png",
        r"D:\exp\slices\b*.png",
        "/home/me/slices/b?.png",
        "../slices/b1.png:../slices/b2.png",
    ],
)
@pytest.mark.parametrize("root", ["stack [1]", "stack [1]/slices"])
def test_stacks_are_found_too(moved, text, root):
    (moved / "stack [1]" / "slices").mkdir(parents=True)
    for name in ("b1.png", "b2.png", "other.txt"):
        (moved / "stack [1]" / "slices" / name).write_bytes(b"x")
    found = all_at(moved, text, root)
    assert [location.path for location in found] == [str(moved / "stack [1]/slices" / n) for n in ("b1.png", "b2.png")]


def test_lists_of_datasets_may_be_joined_by_semicolons(moved):
    found = all_at(moved, "//server/sub/img 1.h5/exported_data;//server/sub/img 1.h5/exported_data", "moved")
    assert len(found) == 2


def test_patterns_that_fit_in_two_folders_are_an_error_that_lists_them(moved):
    for name in ("a", "b"):
        (moved / name).mkdir()
        (moved / name / "1.png").write_bytes(b"x")
    with pytest.raises(SourceNotFoundError) as caught:
        all_at(moved, "D:/gone/*.png", "a", "b")
    assert str(moved / "a") in str(caught.value)
    assert str(moved / "b") in str(caught.value)


def test_a_pattern_of_too_many_files_is_refused(moved):
    for number in range(1001):
        (moved / "moved" / f"{number}.png").touch()
    with pytest.raises(LimitExceededError):
        all_at(moved, "D:/gone/*.png", "moved")


def test_an_absolute_path_in_the_folder_of_the_project_does_not_lead_out_of_it(moved):
    (moved / "project" / "a.h5").write_bytes(b"x")
    assert all_at(moved, str(moved / "project" / "a.h5"))[0].path == str(moved / "project" / "a.h5")


@pytest.fixture
def project(moved):
    """Two lanes of two roles and labels, all recorded on another machine."""
    write_hdf5_export(moved / "moved" / "sub" / "mask.h5", (IMAGE > 0).astype(np.uint8), axes="zyx")
    path = write_ilp(moved / "project" / "p.ilp")
    with h5py.File(path, "r+") as file:
        if "Input Data" in file:
            del file["Input Data"]
        inputs = file.create_group("Input Data")
        inputs["Role Names"] = np.array([b"Raw Data", b"Prediction Mask"])
        for lane in range(2):
            for role, name in (("Raw Data", "img 1.h5"), ("Prediction Mask", "mask.h5")):
                group = inputs.create_group(f"infos/lane{lane:04}/{role}")
                group["filePath"] = f"D:\\Users\\Me\\sub\\{name}\\exported_data".encode()
                group["axistags"] = axistags("zyx").encode()
                group["shape"] = IMAGE.shape
    return path


def test_all_lanes_and_roles_open(project, moved):
    with pytest.warns(MissingSourceWarning):
        il.open_datatree(project)
    tree = il.open_datatree(project, source_roots=moved / "moved")
    for lane in ("lane0000", "lane0001"):
        np.testing.assert_array_equal(tree[lane]["Raw Data"]["image"], IMAGE)
        np.testing.assert_array_equal(tree[lane]["Prediction Mask"]["image"], IMAGE > 0)
    export = il.open_dataarray(moved / "moved" / "sub" / "mask.h5", kind="segmentation", project=project)
    assert export.attrs["flag_meanings"] == "nucleus background"


def record(project, *paths):
    """Let the lanes' raw images be recorded at `paths`."""
    with h5py.File(project, "r+") as file:
        for lane, path in enumerate(paths):
            raw = file[f"Input Data/infos/lane{lane:04}/Raw Data"]
            del raw["filePath"]
            raw["filePath"] = path.encode()


@pytest.mark.parametrize(
    ("first", "roots", "found"),
    [
        # Both end in the name of the only file, which may be either's, or another one's.
        (r"D:\new\img 1.h5\exported_data", ["moved/sub"], [False, False]),
        # The first fits better; it is not the second.
        (r"D:\sub\img 1.h5\exported_data", ["moved", "moved/sub"], [True, False]),
        # Two ways to one file are not a mistake, nor are links of the user.
        ("/mnt/old/img 1.h5/exported_data", ["moved/sub"], [True, True]),
        ("link.h5/exported_data", ["moved/sub"], [True, False]),
    ],
)
def test_one_file_is_never_taken_for_two_images(project, moved, first, roots, found):
    (moved / "project" / "link.h5").symlink_to(moved / "moved" / "sub" / "img 1.h5")
    record(project, first, r"D:\old\img 1.h5\exported_data")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = il.open_datatree(project, source_roots=[moved / root for root in roots])
    assert ["image" in tree[lane]["Raw Data"] for lane in ("lane0000", "lane0001")] == found
    said = [str(each.message) for each in caught if each.category is MissingSourceWarning]
    assert len(said) == (not all(found))
    assert all("another image of the project" in text for text in said)


def test_one_file_is_never_taken_for_two_of_a_stack(moved):
    with pytest.raises(SourceNotFoundError, match="another image of the project"):
        all_at(moved, "/a/t0/img 1.h5:/a/t1/img 1.h5", "moved/sub")


def test_the_command_opens_them_and_its_advice_is_an_option_of_it(project, moved):
    found = CliRunner().invoke(cli, ["info", str(project)])
    assert "--source-root FOLDER" in found.output
    assert "source_roots" not in found.output
    found = CliRunner().invoke(cli, ["info", str(project), "--json"])
    assert "source_roots" not in found.output
    found = CliRunner().invoke(cli, ["info", str(project), "--json", "--source-root", os.fspath(moved / "moved")])
    (about,) = json.loads(found.output)
    assert [about["lanes"][lane]["Raw Data"]["shape"] for lane in ("lane0000", "lane0001")] == [[4, 5, 6]] * 2
