"""Files that do not open, that others use, or that do not fit one another; and that examining changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.doctor import examine
from ilastik_lazy.storage.holders import holders_of
from ilastik_lazy.writers.ome_zarr.commit import transaction
from tests.support.makers import write_ilp
from tests.support.table_makers import write_table

IDS = np.zeros((2, 6, 8), "u4")
IDS[0, :2, :2], IDS[0, 4:, 4:], IDS[1, :2, :2] = 1, 2, 1
ROWS = [(0, 0, 1), (1, 0, 2), (2, 1, 1)]


def table(path, rows=ROWS, **more):
    columns = [("object_id", "i8"), ("timestep", "i8"), ("labelimage_oid", "i8"), *((name, "f8") for name in more)]
    return write_table(path, np.array([(*row, *more.values()) for row in rows], columns))


@pytest.mark.parametrize("which", ["raw", "probabilities", "segmentation", "project"])
@pytest.mark.parametrize("full", [False, True])
def test_nothing_is_found_in_the_sample(which, full):
    report = examine(sample(which), full=full)
    assert (report.findings, report.exit_code) == ((), 0)


def test_a_file_is_not_changed(export):
    path = export(resolution=None, missing=[(0, 0, 0)])
    before = path.read_bytes(), path.stat().st_mtime_ns
    examine(path, full=True)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def edited(path, change, mode="w"):
    with h5py.File(path, mode) as file:
        change(file)


REFUSED = {
    "no such file": (lambda path: path.unlink(), "SourceNotFoundError", "mount the disk"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "CorruptFileError", "copy it again"),
    "empty": (lambda path: path.write_bytes(b""), "CorruptFileError", "copy it again"),
    "wrong axes": (
        lambda path: edited(path, lambda file: file["exported_data"].attrs.create("axistags", "zyx"), "r+"),
        "MetadataError",
        "pass axes=",
    ),
    "a link": (
        lambda path: edited(path, lambda file: file.update({"exported_data": h5py.ExternalLink("b.h5", "a")})),
        "ExternalReferenceError",
        "pass allow_external=",
    ),
    "no image": (
        lambda path: edited(path, lambda file: file.update({"a": 1})),
        "DatasetNotFoundError",
        "2 to 5 dimensions",
    ),
    "of another program": (lambda path: path.rename(path.with_suffix(".doc")), "SourceNotFoundError", "correct"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_open_refuses_is_an_error_with_a_remedy(export, case):
    change, error, remedy = REFUSED[case]
    path = export()
    change(path)
    report = examine(path)
    (finding,) = [finding for finding in report.findings if finding.severity == "error"]
    assert (finding.error, report.exit_code, report.holds) == (error, 2, "nothing that opens")
    assert remedy in finding.remedy
    with pytest.raises(getattr(il.errors, error)):
        il.open_dataarray(path)


def test_a_bad_image_does_not_hide_the_others(export, found):
    path = export(resolution=None)
    with h5py.File(path, "r+") as file:
        file["volume"] = np.zeros((4, 5, 6), "u1")
        file["volume"].attrs["axistags"] = "no JSON"
    named = found(path)
    assert named["cannot-open"].error == "MetadataError"
    assert named["voxel-size"].where == ("exported_data",)


def test_several_images_without_a_first_one_are_found(export, found):
    path = export(internal_path="a")
    with h5py.File(path, "r+") as file:
        file.copy("a", "b")
    assert found(path)["several-images"].severity == "warning"
    assert found(path, "a") == {}


def test_levels_with_the_same_trouble_are_one_finding(tmp_path, found):
    il.to_ome_zarr(il.open_dataarray(sample("raw")).drop_vars(["z", "y", "x"]), tmp_path / "a.zarr", levels=2)
    assert found(tmp_path / "a.zarr")["voxel-size"].where == ("scale0/image", "scale1/image")


LOCKING = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(flush=True); sys.stdin.read()"


def test_who_writes_to_a_file_is_named(export, found):
    path = export()
    with subprocess.Popen(
        [sys.executable, "-c", LOCKING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        finding = found(path)["in-use"]
        other.stdin.close()
    assert finding.error == "FileBusyError"
    if sys.platform == "linux":
        assert f"(process {other.pid}) holds the lock" in finding.what
    assert found(path) == {}


def test_a_file_without_a_lock_has_no_holder(export):
    assert not holders_of(str(export()))
    assert holders_of("/nonexistent/file") is None


def test_a_file_that_was_not_closed_is_found_with_a_tool(export, found):
    path = export(libver="latest")
    content = bytearray(path.read_bytes())
    content[11] |= 1
    path.write_bytes(content)
    finding = found(path)["unfinished"]
    assert finding.error == "UnfinishedWriteError"
    assert finding.remedy.endswith(f"h5clear -s {path}")


class StoppedError(Exception):
    pass


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Begin a conversion of the sample and stop it, after `examine` has looked at it."""

    def run(overwrite):
        def stop(*_):
            seen.append(examine(tmp_path / "a.zarr"))
            raise StoppedError

        seen = []
        with monkeypatch.context() as patched:
            patched.setattr(transaction.Transaction, "write_arrays", stop)
            with pytest.raises(StoppedError):
                il.to_ome_zarr(sample("raw"), tmp_path / "a.zarr", overwrite=overwrite)
        return seen[0]

    return run


def test_a_conversion_is_found_while_it_runs_and_after_it_was_stopped(stopped, tmp_path):
    running = stopped(False)
    if sys.platform == "linux":
        assert (running.findings[0].check, running.exit_code) == ("in-use", 2)
        assert f"(process {os.getpid()})" in running.findings[0].what
    report = examine(tmp_path / "a.zarr")
    (finding,) = report.findings
    assert (finding.check, finding.error, report.exit_code) == ("unfinished", "UnfinishedWriteError", 2)
    eval(finding.remedy[finding.remedy.index("il.") :], {"il": il})
    assert examine(tmp_path / "a.zarr").findings == ()


def test_a_stopped_replacement_is_found_beside_the_image(stopped, tmp_path):
    il.to_ome_zarr(sample("probabilities"), tmp_path / "a.zarr")
    assert examine(tmp_path / "a.zarr").findings == ()
    assert stopped(True).exit_code == 1
    report = examine(tmp_path / "a.zarr")
    (finding,) = report.findings
    assert (finding.check, report.exit_code) == ("unfinished", 1)
    eval(finding.remedy[finding.remedy.index("il.") :], {"il": il})
    assert examine(tmp_path / "a.zarr").findings == ()


def test_a_conversion_without_a_readable_plan_is_found(tmp_path, found):
    (tmp_path / "a.zarr" / ".ilz").mkdir(parents=True)
    for plan in (None, b"{", json.dumps({"source": "a computation"}).encode()):
        if plan is not None:
            (tmp_path / "a.zarr" / ".ilz" / "plan.json").write_bytes(plan)
        assert found(tmp_path / "a.zarr")["unfinished"].severity == "error"
    assert "program that began it" in found(tmp_path / "a.zarr")["unfinished"].remedy


def test_a_project_that_was_moved_lists_its_images(tmp_path, found):
    shutil.copy(sample("project"), tmp_path / "p.ilp")
    finding = found(tmp_path / "p.ilp")["project-image"]
    assert finding.severity == "warning"
    assert "nuclei.h5" in finding.what
    shutil.copy(sample("raw"), tmp_path / "nuclei.h5")
    assert found(tmp_path / "p.ilp") == {}


@pytest.mark.parametrize(
    ("names", "check", "said"),
    [
        (("a", "b"), None, ""),
        (("a", "b", "c"), "classes", "no classes of"),
        (("a", "a"), "classes", "several classes are called a (of a, a)"),
        (None, "classes", "names no classes"),
    ],
)
def test_a_project_must_fit(export, found, tmp_path, names, check, said):
    path = export("a_Probabilities.h5", (6, 8, 10, 2), "zyxc", chunks=(3, 4, 5, 1), data=np.zeros((6, 8, 10, 2), "f4"))
    named = found(path, project=write_ilp(tmp_path / "p.ilp", names, None), full=True)
    assert set(named) == ({check} if check else set())
    assert check is None or said in named[check].what


def test_a_class_without_a_name_is_found(export, found, tmp_path):
    data = np.full((6, 8, 10), 3, "u1")
    project = write_ilp(tmp_path / "p.ilp")
    named = found(export("a_Simple Segmentation.h5", data=data), project=project)
    assert named["values"].what == "class 3 was read, and there are 2 names: nucleus, background"


@pytest.mark.parametrize(("name", "frames", "found_"), [("Object Identities", 2, True), ("Object Identities", 1, False),
                                                        ("Tracking-Result", 2, False)])  # fmt: skip
def test_ids_that_restart_are_found(export, found, name, frames, found_):
    data = IDS[:frames]
    path = export(f"a_{name}.h5", data.shape, "tyx", chunks=(1, 3, 4), data=data)
    assert ("ids-restart" in found(path)) == found_


CASES = {
    "fits": ({}, None, None),
    "an object too many": ({"rows": [*ROWS, (3, 1, 7)]}, None, "of the table are not in"),
    "an object too few": ({"rows": ROWS[:2]}, None, "are not in the table: frame 1, id 1"),
    "frames": ({"rows": [*ROWS, (3, 2, 1)]}, "the table has frames 0 to 2", None),
    "boxes": ({"Bounding Box Maximum_0": 9.0}, "bounding boxes reach 9 along x, where the image has 8", None),
    "twice": ({"rows": [*ROWS, (3, 1, 1)]}, "1 row repeat", None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_table_must_match_the_label_image_beside_it(export, tmp_path, case):
    options, cheap, full = CASES[case]
    export("cells_Object Identities.h5", IDS.shape, "tyx", chunks=(1, 3, 4), data=IDS)
    path = table(tmp_path / "cells_table.h5", **options)
    for said, finds in ((cheap, examine(path)), (cheap or full, examine(path, full=True))):
        assert [finding.check for finding in finds.findings] == (["table"] if said else [])
        assert said is None or said in finds.findings[0].what


def test_a_table_alone_has_nothing_to_match(tmp_path):
    assert examine(table(tmp_path / "cells_table.h5"), full=True).findings == ()


def test_a_label_image_that_does_not_open_is_an_error_of_its_table(tmp_path):
    (tmp_path / "cells_Object Identities.h5").write_bytes(b"")
    report = examine(table(tmp_path / "cells_table.h5"))
    assert (report.findings[0].error, report.exit_code) == ("CorruptFileError", 2)


def test_findings_name_the_label_image_that_they_were_made_in(tmp_path):
    image = xr.DataArray(np.zeros((8, 9), np.uint8), dims=("y", "x"))
    labels = {name: (image + 1).astype("u4") for name in ("cells", "nuclei")}
    il.to_ome_zarr(image, tmp_path / "a.zarr", labels=labels)
    (finding,) = examine(tmp_path / "a.zarr").findings
    assert finding.where == ("scale0/image", "labels/cells/scale0/image", "labels/nuclei/scale0/image")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_label_images_that_viewers_do_not_find_are_found(tmp_path, version):
    """As in napari-ome-zarr#33: they were put into the folder, and not into its list."""
    image = xr.DataArray(np.zeros((8, 9), np.uint8), dims=("y", "x"))
    cells = image.astype("u4")
    il.to_ome_zarr(image, tmp_path / "a.zarr", version=version, voxel_size="y=1um,x=1um", labels={"nuclei": cells})
    assert examine(tmp_path / "a.zarr").findings == ()
    il.to_ome_zarr(cells, tmp_path / "b.zarr", version=version, voxel_size="y=1um,x=1um", kind="object identities")
    shutil.copytree(tmp_path / "b.zarr", tmp_path / "a.zarr" / "labels" / "cells")
    (finding,) = examine(tmp_path / "a.zarr").findings
    assert (finding.check, finding.what) == ("labels", "the list of label images lacks cells")
    exec(finding.remedy.removeprefix("add them to the list: "), {"zarr": zarr})
    assert examine(tmp_path / "a.zarr").findings == ()


def test_a_scale_that_is_not_understood_is_said_though_positions_are_known(tmp_path):
    """As in vizarr#297: a negative scale, to flip an image."""
    image = xr.DataArray(np.zeros((8, 9), np.uint8), dims=("y", "x"))
    il.to_ome_zarr(image, tmp_path / "a.zarr", version="0.4", voxel_size="y=2um,x=2um")
    path = tmp_path / "a.zarr" / ".zattrs"
    attributes = json.loads(path.read_text())
    attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [-2.0, 2.0]
    path.write_text(json.dumps(attributes))
    (finding,) = examine(tmp_path / "a.zarr").findings
    assert finding.check == "metadata"
    assert "scale [-2.0, 2.0]" in finding.what
