"""Plates: wells and fields are listed in few lines, errors name what to open, and a well or a field opens."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.doctor import examine
from ilastik_lazy.errors import DatasetNotFoundError, MetadataError, UnsafePathError
from tests.support.children import run_command as run
from tests.support.makers import some_data
from tests.support.servers import serving

WELLS = ("A/1", "A/2", "A/3", "B/2")
DATA = some_data((2, 6, 8), "u2")


def write_plate(path, version, wells=WELLS, fields=2, missing=()):
    """Write a plate as OME-Zarr 0.4 or 0.5 says, with two levels of each field; values count the fields."""
    root = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)

    def state(group, **content):
        if version == "0.4":
            group.attrs.update(content)
        else:
            group.attrs["ome"] = {"version": version, **content}

    rows, columns = ([{"name": name} for name in sorted({well.split("/")[k] for well in wells})] for k in (0, 1))
    listed = [
        {"path": well, "rowIndex": ord(well[0]) - 65, "columnIndex": int(well[2:]) - 1} for well in (*wells, *missing)
    ]
    state(root, plate={"name": "HT 29", "rows": rows, "columns": columns, "wells": listed, "field_count": fields})
    for number, well in enumerate(wells):
        group = root.create_group(well)
        state(group, well={"images": [{"path": str(field)} for field in range(fields)]})
        for field in range(fields):
            image = group.create_group(str(field))
            scales = [[1, 1, 1], [1, 2, 2]]
            datasets = [
                {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
                for k, scale in enumerate(scales)
            ]
            axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
            state(image, multiscales=[{"version": version, "axes": axes, "datasets": datasets}])
            for k in range(2):
                data = (DATA + number * fields + field)[:, :: k + 1, :: k + 1]
                image.create_array(str(k), data=data, chunks=(1, 3, 4))
    return path


@pytest.fixture(params=["0.4", "0.5"])
def plate(request, tmp_path):
    return write_plate(tmp_path / "plate.zarr", request.param)


def test_a_plate_is_listed_in_few_lines(plate):
    lines = str(il.info(plate)).splitlines()
    assert [line.split(maxsplit=1) for line in lines[1:4]] == [
        ["plate", "HT 29, a plate with 8 fields of view in 4 wells"],
        ["wells", "A/1 to A/3 (3); B/2"],
        ["fields", "0, 1"],
    ]
    assert 'open_dataarray(..., "A/1/0") opens a field' in lines[4]
    assert lines[5].strip() == "A/1/0/0, the first field"
    assert len(lines) < 15
    (found,) = il.info(plate).as_json()
    assert found["wells"] == {well: ["0", "1"] for well in WELLS}
    assert found["first_field"]["shape"] == [2, 6, 8]
    assert "HT 29" in il.info(plate)._repr_html_()


def test_the_command_lists_it_likewise(plate):
    found = run("info", plate)
    assert "HT 29, a plate with 8 fields of view in 4 wells" in found.stdout
    assert "pass --dataset A/1/0 for one field" in found.stdout
    assert len(found.stdout.splitlines()) < 15
    (values,) = json.loads(run("info", "--json", f"{plate}/B/2").stdout)
    assert values["wells"] == {"": ["0", "1"]}
    refused = run("convert", plate, plate.parent / "out.zarr")
    assert refused.returncode != 0
    assert "holds a plate with 8 fields of view in 4 wells: A/1/0, A/1/1, " in refused.stderr
    assert "name one with --dataset A/1/0" in refused.stderr


@pytest.mark.parametrize(("inside", "at"), [(None, "B/2"), ("B/2", "")])
def test_a_well_is_listed_and_an_error_names_its_fields(plate, inside, at):
    lines = str(il.info(plate / at, inside)).splitlines()
    assert lines[1].split(maxsplit=1) == ["well", "a well with 2 fields of view"]
    name = "B/2/0" if inside else "0"
    with pytest.raises(DatasetNotFoundError, match=rf"a well with 2 fields of view: {name}, .*internal_path='{name}'"):
        il.open_dataarray(plate / at, inside)


def test_what_is_to_be_opened_is_named_and_opens(plate):
    with pytest.raises(
        DatasetNotFoundError,
        match=r"a plate with 8 fields of view in 4 wells: A/1/0, .*internal_path='A/1/0'.*datatree",
    ):
        il.open_dataarray(plate)
    for found in (
        il.open_dataarray(plate, "B/2/1"),
        il.open_dataarray(f"{plate}/B/2/1"),
        il.open_dataarray(f"{plate}/B/2", "1"),
    ):
        np.testing.assert_array_equal(found, DATA + 7)
    tree = il.open_datatree(f"{plate}/A/2/0")
    np.testing.assert_array_equal(tree["scale1/image"], (DATA + 2)[:, ::2, ::2])


def test_a_well_with_one_field_is_an_image(tmp_path):
    path = write_plate(tmp_path / "plate.zarr", "0.4", fields=1)
    np.testing.assert_array_equal(il.open_dataarray(f"{path}/A/2"), DATA + 1)
    np.testing.assert_array_equal(il.open_dataarray(path, "A/2"), DATA + 1)


def test_wells_that_are_not_there_are_listed_as_missing(tmp_path):
    path = write_plate(tmp_path / "plate.zarr", "0.5", missing=("C/1", "C/2"))
    assert "missing  2 wells of those listed: C/1, C/2" in str(il.info(path))


def test_a_plate_on_a_server_that_lists_nothing_is_found_by_its_metadata(tmp_path):
    write_plate(tmp_path / "plate.zarr", "0.5")
    with serving(tmp_path) as server:
        assert "8 fields of view in 4 wells" in str(il.info(f"{server.url}/plate.zarr"))
        assert len(il.open_datatree(f"{server.url}/plate.zarr").leaves) == 16


def test_the_doctor_looks_at_every_field(plate):
    report = examine(plate)
    assert (report.holds, report.chunks) == ("images", 8 * 8)
    assert {finding.check for finding in report.findings} == {"voxel-size"}


def test_paths_that_make_no_sense_are_refused(tmp_path):
    for number, (entry, error) in enumerate([({"path": "../A"}, UnsafePathError), ({"row": 1}, MetadataError)]):
        root = zarr.open_group(tmp_path / f"{number}.zarr", mode="w", zarr_format=2)
        root.attrs["plate"] = {"wells": [entry]}
        with pytest.raises(error):
            il.open_dataarray(tmp_path / f"{number}.zarr")


def test_a_field_that_is_listed_twice_is_one(tmp_path):
    path = write_plate(tmp_path / "plate.zarr", "0.4", wells=("A/1",))
    well = zarr.open_group(path)["A/1"]
    well.attrs["well"] = {"images": [{"path": "0"}, {"path": "0"}]}
    assert "a plate with 1 field of view in 1 well" in str(il.info(path))
