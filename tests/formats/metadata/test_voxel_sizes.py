"""One rule for voxel sizes in HDF5, Zarr and N5: element_size_um, resolution and offset, and what contradicts them."""

from __future__ import annotations

import json
import warnings

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.listing.describe import describe, spec_as_json
from ilastik_lazy.reductions import reduce
from tests.support.children import run_command as run
from tests.support.makers import axistags
from tests.support.n5_makers import write_n5

FORMATS = ("hdf5", "zarr2", "zarr3", "n5")


def written(folder, kind, shape, attributes, *, axes=None):
    """An array of `shape` with `attributes`; vectors are given z first, and turned where the format counts from x."""
    data = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    if kind == "hdf5":
        with h5py.File(folder / "a.h5", "w") as file:
            file["image"] = data
            file["image"].attrs.update(attributes)
            if axes:
                file["image"].attrs["axistags"] = axistags(axes)
        return folder / "a.h5"
    if kind == "n5":
        turned = {
            name: value[::-1] if isinstance(value, list) and name != "element_size_um" else value
            for name, value in attributes.items()
        }
        write_n5(folder / "a.n5", data, axes=axes, chunks=shape, attributes=turned)
        return folder / "a.n5"
    array = zarr.create_array(folder / "a.zarr", shape=shape, dtype="u2", zarr_format=int(kind[-1]))
    array[...] = data
    array.attrs.update(attributes | ({"axistags": axistags(axes)} if axes else {}))
    return folder / "a.zarr"


def steps(path, **options):
    found = il.open_dataarray(path, **options)
    return found.dims, {
        str(dim): (float(p[0]), float(p[1] - p[0]), p.attrs.get("units", "")) for dim, p in found.coords.items()
    }


@pytest.mark.parametrize("kind", FORMATS)
class TestEveryFormat:
    def test_micrometer_by_element_size_um(self, tmp_path, kind):
        path = written(tmp_path, kind, (4, 5, 6), {"element_size_um": [0.5, 0.25, 0.125]})
        um = "micrometer"
        assert steps(path) == (("z", "y", "x"), {"z": (0, 0.5, um), "y": (0, 0.25, um), "x": (0, 0.125, um)})

    @pytest.mark.parametrize("sizes", [[0.25, 0.125], [1.0, 0.25, 0.125]])
    def test_a_plane_has_two_sizes_or_those_of_its_volume(self, tmp_path, kind, sizes):
        path = written(tmp_path, kind, (5, 6), {"element_size_um": sizes}, axes="yx")
        assert steps(path) == (("y", "x"), {"y": (0, 0.25, "micrometer"), "x": (0, 0.125, "micrometer")})

    def test_channels_have_no_size(self, tmp_path, kind):
        path = written(tmp_path, kind, (2, 4, 5, 6), {"element_size_um": [0.5, 0.25, 0.125]}, axes="czyx")
        assert steps(path)[1] == {
            dim: (0, size, "micrometer") for dim, size in zip("zyx", (0.5, 0.25, 0.125), strict=True)
        }

    def test_nanometer_by_resolution_and_offset(self, tmp_path, kind):
        path = written(tmp_path, kind, (4, 5, 6), {"resolution": [40.0, 4.0, 8.0], "offset": [400.0, 8.0, 0.0]})
        nm = "nanometer"
        assert steps(path) == (("z", "y", "x"), {"z": (400, 40, nm), "y": (8, 4, nm), "x": (0, 8, nm)})

    def test_a_unit_beside_a_resolution_is_its_unit(self, tmp_path, kind):
        path = written(tmp_path, kind, (4, 5, 6), {"resolution": [2.0, 0.5, 0.25], "units": "um"})
        assert steps(path)[1]["z"] == (0, 2, "micrometer")

    @pytest.mark.parametrize("unit", ["kelvin", "dpi", "counts"])
    def test_a_unit_of_values_is_none_of_positions(self, tmp_path, kind, unit):
        path = written(tmp_path, kind, (4, 5, 6), {"resolution": [2.0, 2.0, 2.0], "units": unit}, axes="zyx")
        with pytest.warns(MetadataWarning, match=f"'{unit}', which is not a unit of length or time"):
            assert not il.open_dataarray(path).coords

    @pytest.mark.parametrize(
        "attributes",
        [{"element_size_um": "tiny"}, {"element_size_um": [1.0, -2.0, 3.0]}, {"resolution": 300},
         {"resolution": [1.0, 2.0]}, {"resolution": [4.0, 4.0, 4.0], "offset": [1.0, 2.0]}],
    )  # fmt: skip
    def test_what_is_not_understood_is_stated_with_name_and_value(self, tmp_path, kind, attributes):
        path = written(tmp_path, kind, (4, 5, 6), attributes)
        name, value = list(attributes.items())[-1]
        shown = str(value if not isinstance(value, list) or kind != "n5" or name == "element_size_um" else value[::-1])
        with pytest.warns(MetadataWarning) as caught:
            found = il.open_dataarray(path)
        assert not found.coords
        assert any(name in str(each.message) and shown in str(each.message) for each in caught)
        with pytest.warns(MetadataWarning):
            spec = open_source(Location.parse(path)).spec
        voxel = dict(describe(spec))["voxel"]
        assert voxel.startswith("unknown: not understood: ")
        assert shown in voxel
        assert name in spec_as_json(spec)["remarks"][0]

    def test_two_sizes_that_contradict_each_other_are_both_named(self, tmp_path, kind):
        path = written(tmp_path, kind, (4, 5, 6), {"element_size_um": [0.5] * 3, "resolution": [500.0, 500.0, 40.0]})
        with pytest.warns(
            MetadataWarning, match=r"element_size_um .*0\.5 micrometer along x, resolution .*40 nanometer"
        ):
            assert steps(path)[1]["x"] == (0, 0.5, "micrometer")

    def test_sizes_that_agree_complete_each_other(self, tmp_path, kind):
        attributes = {"element_size_um": [0.04] * 3, "resolution": [40.0] * 3, "offset": [400.0, 0.0, 0.0]}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = steps(written(tmp_path, kind, (4, 5, 6), attributes))[1]
        assert found["z"][2] == "micrometer"
        np.testing.assert_allclose(found["z"][:2], (0.4, 0.04))

    def test_axes_in_capitals_are_the_same(self, tmp_path, kind):
        path = written(tmp_path, kind, (4, 5, 6), {}, axes="zyx")
        text = axistags("zyx").replace('"z"', '"Z"').replace('"y"', '"Y"').replace('"x"', '"X"')
        if kind == "hdf5":
            with h5py.File(path, "a") as file:
                file["image"].attrs["axistags"] = text
        elif kind.startswith("zarr"):
            zarr.open_array(path).attrs["axistags"] = text
        else:
            folder = open_source(Location.parse(path)).folder
            with open(f"{folder}/attributes.json") as file:
                known = json.load(file)
            with open(f"{folder}/attributes.json", "w") as file:
                json.dump(known | {"axistags": text}, file)
        assert il.open_dataarray(path).dims == ("z", "y", "x")


def test_ilastiks_axes_count_first(tmp_path):
    path = written(tmp_path, "hdf5", (4, 5, 6), {"axes": "xyz", "DIMENSION_LABELS": list("zyx")}, axes="xyz")
    with pytest.warns(MetadataWarning, match="axistags say xyz, DIMENSION_LABELS say zyx: axistags are used"):
        assert il.open_dataarray(path).dims == ("x", "y", "z")


def test_a_child_gives_the_same_answers(tmp_path):
    path = written(tmp_path, "hdf5", (4, 5, 6), {"element_size_um": [1.0, 2.0, 3.0], "offset": [5, 6]})
    assert steps(path) == steps(path, trust="untrusted")
    path = written(tmp_path, "hdf5", (4, 5, 6), {"element_size_um": "tiny"}, axes="zyx")
    for trust in ("local", "untrusted"):
        with pytest.warns(MetadataWarning, match="element_size_um is 'tiny'"):
            il.open_dataarray(path, trust=trust)


def test_units_without_a_size_are_stated_by_info_and_kept_by_reduce(tmp_path):
    path = written(tmp_path, "hdf5", (4, 5, 6), {"axis_units": json.dumps({"z": "nm", "y": "um"})}, axes="zyx")
    reduced = reduce(path, "max", over="z")
    assert json.loads(reduced.attrs["axis_units"]) == {"y": "micrometer"}
    assert "axis_units" not in reduce(path, "mean", over="zy").attrs
    output = run("info", path).stdout
    assert "voxel    unknown, units without a size: z nanometer  y micrometer" in output


def test_a_name_along_c_is_none_of_a_value_in_an_image_of_classes(tmp_path):
    array = xr.DataArray(np.ones((1, 4, 5), "u1"), {"c": [405]}, ("c", "y", "x"), "image")
    array.to_netcdf(tmp_path / "a_Simple Segmentation.h5", engine="h5netcdf")
    assert "flag_meanings" not in il.open_dataarray(tmp_path / "a_Simple Segmentation.h5").attrs


def test_a_plane_keeps_its_position_where_its_step_stands_elsewhere(tmp_path):
    array = xr.DataArray(np.ones((1, 4, 5), "u1"), {"z": ("z", [4.0], {"units": "um"})}, ("z", "y", "x"), "image")
    array.attrs["element_size_um"] = [2.0, 1.0, 1.0]
    array.to_netcdf(tmp_path / "a.h5", engine="h5netcdf")
    assert il.open_dataarray(tmp_path / "a.h5").coords["z"].values.tolist() == [4.0]
