"""A project that is not that of the image is noticed, and no other is."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.doctor import examine
from ilastik_lazy.errors import MetadataWarning
from tests.support.children import run_command as run
from tests.support.makers import axistags, some_data, write_hdf5_export, write_ilp
from tests.support.shared_files import shared_path


def project_of(path, *lanes):
    """Write a project; each lane is the path of its image, and its shape and axes if the project records them."""
    write_ilp(path)
    with h5py.File(path, "r+") as file:
        file["Input Data/Role Names"] = np.array([b"Raw Data"])
        for number, (image, shape, axes) in enumerate(lanes):
            group = file.create_group(f"Input Data/infos/lane{number:04d}/Raw Data")
            group["filePath"], group["axistags"] = image.encode(), axistags(axes)
            group["nickname"] = image.rsplit("/", 2)[-2].partition(".")[0].encode()
            if shape is not None:
                group["shape"] = np.array(shape)
    return path


def export(path, shape=(4, 5, 6, 2), axes="zyxc", dtype="<f4"):
    path.parent.mkdir(exist_ok=True)
    write_hdf5_export(path, some_data(shape, dtype), axes=axes)
    return path


@pytest.fixture
def project(tmp_path):
    return project_of(
        tmp_path / "p.ilp", ("brain_1.h5/data", (4, 5, 6), "zyx"), ("D:/x/Brain 2.h5/data", (9, 8, 7, 3), "zyxc")
    )


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in caught]


FOREIGN = {
    "liver_Probabilities.h5": {"shape": (4, 5, 5, 2)},  # another name and another size
    "liver_Simple Segmentation.h5": {"shape": (30, 40), "axes": "yx", "dtype": "|u1"},
    "brain_1_Probabilities.h5": {"shape": (4, 5, 10, 2)},  # larger than any image
    "renamed.h5": {"shape": (3, 4, 5, 6, 2), "axes": "tzyxc"},  # no image has frames
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_project_of_another_image_is_warned_of_once(tmp_path, project, name):
    path = export(tmp_path / name, **FOREIGN[name])
    (text,) = warned(lambda: il.open_dataarray(path, project=project))
    assert text.startswith(
        f"{path}: no image of {project} has its {'name or ' * name.startswith('liver')}size: it has "
    )
    assert "'brain_1' (z 4, y 5, x 6), 'Brain 2' (z 9, y 8, x 7)" in text
    assert text.endswith("are right only if the project processed it in a batch")


OWN = {
    "brain_1_Probabilities.h5": {},
    "moved/brain 2_Probabilities Stage 1.h5": {"shape": (9, 8, 7, 2)},
    "exp7-Brain-1-data_Simple Segmentation.h5": {"shape": (5, 6, 4), "axes": "yxz", "dtype": "|u1"},
    "brain_1_Probabilities_crop.h5": {"shape": (2, 5, 6, 2)},
    "brain_2_Probabilities.h5": {"shape": (8, 1, 7, 2)},  # one plane of it
    "renamed.h5": {"shape": (4, 5, 6, 2)},
    "renamed crop.h5": {"shape": (4, 4, 2), "axes": "yxc"},
    "liver_Probabilities.h5": {"shape": (1, 4, 5, 6, 2), "axes": "tzyxc"},  # batches have images of one size
}


@pytest.mark.parametrize("name", OWN)
def test_exports_that_are_renamed_moved_or_cut_belong_to_their_project(tmp_path, project, name):
    path = export(tmp_path / name, **OWN[name])
    assert warned(lambda: il.open_dataarray(path, project=project)) == []


def test_a_file_of_several_images_is_warned_of_once(tmp_path, project):
    path = export(tmp_path / "liver.h5", (10, 5, 6, 2))
    with h5py.File(path, "r+") as file:
        file.copy("exported_data", "other")
    assert len(warned(lambda: il.open_dataset(path, project=project))) == 1
    assert len(warned(lambda: il.info(path, project=project))) == 1


@pytest.mark.parametrize(("shape", "count"), [((4, 5, 6), 0), ((4, 5, 7), 1)])
def test_sizes_that_an_old_project_does_not_record_are_those_of_its_images(tmp_path, shape, count):
    write_hdf5_export(tmp_path / "raw.h5", some_data(shape), axes="zyx")
    old = project_of(tmp_path / "old.ilp", ("raw.h5/exported_data", None, "zyx"))
    path = export(tmp_path / "liver_Probabilities.h5")
    assert len(warned(lambda: il.open_dataarray(path, project=old))) == count


def test_sizes_that_nobody_knows_are_no_reason_to_warn(tmp_path):
    old = project_of(tmp_path / "old.ilp", ("gone.h5/data", None, "zyx"))
    assert warned(lambda: il.open_dataarray(export(tmp_path / "liver_Probabilities.h5"), project=old)) == []
    plane = export(tmp_path / "liver_Labels.h5", (3, 4, 5, 6), "tzyx", "|u1")
    (text,) = warned(lambda: il.open_dataarray(plane, project=old))
    assert "'gone' (zyx of unknown size)" in text


def test_a_stack_of_exports_belongs_to_the_project_of_its_files(tmp_path):
    project = project_of(tmp_path / "p.ilp", ("s1.png/x", (5, 6), "yx"), ("s2.png/x", (5, 6), "yx"))
    for number in (1, 2):
        export(tmp_path / f"s{number}_Probabilities.h5", (5, 6, 2), "yxc")
    stack = str(tmp_path / "s*_Probabilities.h5")
    assert warned(lambda: il.open_dataarray(stack, project=project, stack_along="z")) == []


def test_the_command_warns_too(tmp_path, project):
    path = export(tmp_path / "liver_Probabilities.h5", (30, 5, 6, 2))
    found = run("info", path, "--project", project)
    assert found.returncode == 0, found.stderr
    assert "nucleus, background" in found.stdout
    assert found.stderr.count("no image of") == 1
    (finding,) = [each for each in examine(path, project=project).findings if each.check == "classes"]
    assert "no image of" in finding.what
    assert finding.why == "names and colours may be those of other classes"


@pytest.mark.shared
def test_exports_of_ilastik_belong_to_their_projects_and_to_no_others():
    path = shared_path("ilastik-files", "workflows/pixel_classification/pc_3d2c__Probabilities-tczyx__gz.h5")
    own = shared_path("ilastik-files", "history/projects/PixelClassification3d2c.ilp")
    assert warned(lambda: il.open_dataarray(path, project=own)) == []
    foreign = shared_path("ilastik-files", "workflows/projects/resaved_PixelClassification2d3c.ilp")
    with pytest.warns(MetadataWarning, match="no image of .*resaved_PixelClassification2d3c"):
        il.open_dataarray(path, project=foreign)
