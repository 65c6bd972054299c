"""BigDataViewer's XML opened by its own name: HDF5 and N5 beside it, names, sizes, and what it may not reach."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.errors import (
    DatasetNotFoundError,
    MetadataError,
    SourceNotFoundError,
    UnknownFormatError,
    UnsafePathError,
)
from ilastik_lazy.formats import bdv
from ilastik_lazy.formats.location import Location
from tests.support.children import run_command as run
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.n5_makers import write_dataset
from tests.support.shared_files import shared_path

SETUPS = "".join(
    f"<ViewSetup><id>{number}</id><name>{name}</name><voxelSize><unit>{unit}</unit><size>{size}</size></voxelSize>"
    "</ViewSetup>"
    for number, name, unit, size in [(0, "nuclei GFP", "um", "0.25 0.5 2.0"), (1, "membrane", "nm", "40 40 100")]
)
DATA = np.stack([some_data((4, 8, 12), "u2", seed=time) for time in range(2)])
FACTORS = [(1, 1, 1), (2, 4, 1)]  # x y z


def write_xml(path, loader="hdf5", stated="data/raw.h5", head="", base="."):
    path.write_text(
        f'{head}<SpimData version="0.2"><BasePath type="relative">{base}</BasePath><SequenceDescription>'
        f'<ImageLoader format="bdv.{loader}"><{loader} type="relative">{stated}</{loader}></ImageLoader>'
        f"<ViewSetups>{SETUPS}</ViewSetups></SequenceDescription></SpimData>"
    )
    return path


def write_data(folder, loader="hdf5", setups=2):
    folder.mkdir(exist_ok=True)
    levels = DATA, DATA[:, :, ::4, ::2]
    for setup in range(setups):
        for level, values in enumerate(levels):
            for time, part in enumerate(values):
                if loader == "n5":
                    place = folder / f"raw.n5/setup{setup}/timepoint{time}/s{level}"
                    write_dataset(place, part + setup, axes=None, chunks=(4, 4, 4))
                    continue
                with h5py.File(folder / "raw.h5", "a") as file:
                    file[f"t{time:05}/s{setup:02}/{level}/cells"] = (part + setup).view("i2")
        if loader == "n5":
            about = {"downsamplingFactors": FACTORS, "dataType": "uint16"}
            (folder / f"raw.n5/setup{setup}/attributes.json").write_text(json.dumps(about))
        else:
            with h5py.File(folder / "raw.h5", "a") as file:
                file[f"s{setup:02}/resolutions"] = np.array(FACTORS, float)


@pytest.fixture(params=["hdf5", "n5"])
def described(request, tmp_path):
    write_data(tmp_path / "data", request.param)
    return write_xml(tmp_path / "dataset.xml", request.param, f"data/raw.{request.param.replace('hdf5', 'h5')}")


class TestBdvSource(SourceContract):
    @pytest.fixture
    def stored(self, tmp_path):
        write_data(tmp_path / "data", "n5", setups=1)
        path = write_xml(tmp_path / "dataset.xml", "n5", "data/raw.n5")
        source = bdv.open_image(Location.parse(path), DEFAULTS)
        return Stored(tmp_path / "data/raw.n5/setup0/timepoint1/s0/attributes.json", source, DATA)


def test_the_xml_opens_its_data_with_names_and_voxel_sizes(described):
    tree = il.open_datatree(described)
    assert set(tree.groups) >= {"/s00/scale0", "/s00/scale1", "/s01/scale0", "/s01/scale1"}
    fine, coarse = tree["s01/scale0/image"], tree["s01/scale1/image"]
    np.testing.assert_array_equal(fine, DATA + 1, strict=False)
    assert fine.dtype == np.uint16
    np.testing.assert_array_equal(coarse, DATA[:, :, ::4, ::2] + 1)
    np.testing.assert_allclose(fine["z"], np.arange(4) * 100)
    assert fine["z"].attrs["units"] == "nanometer"
    np.testing.assert_allclose(coarse["y"], fine["y"].values.reshape(-1, 4).mean(1))
    for name in ("membrane", "s01", "s01/scale0"):
        found = il.open_dataarray(described, name)
        assert found.name == "membrane"
        np.testing.assert_array_equal(found, DATA + 1)
    np.testing.assert_array_equal(il.open_dataarray(f"{described}/s00/scale1"), DATA[:, :, ::4, ::2])


def test_several_setups_are_listed_by_name(described):
    with pytest.raises(
        DatasetNotFoundError, match="2 setups of BigDataViewer: s00/scale0 nuclei GFP, s01/scale0 membrane; name one"
    ):
        il.open_dataarray(described)
    with pytest.raises(DatasetNotFoundError, match=r"no setup 'actin' .* it holds nuclei GFP, membrane, s00/scale0"):
        il.open_dataarray(described, "actin")
    assert [spec.name for spec in il.info(described).images] == ["nuclei GFP", "membrane"] * 2


def test_the_command_describes_it_too(tmp_path):
    write_data(tmp_path / "data", setups=1)
    found = run("info", write_xml(tmp_path / "d.xml"), "--dataset", "nuclei GFP")
    assert found.returncode == 0, found.stderr
    assert "z 2 micrometer  y 0.5 micrometer  x 0.25 micrometer" in found.stdout
    assert "\n  s00/scale0  (nuclei GFP)\n" in found.stdout
    made = run("convert", tmp_path / "d.xml", tmp_path / "d.zarr", "--quiet")
    assert made.returncode == 0, made.stderr
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "d.zarr"), DATA)


def test_a_single_setup_needs_no_name_and_a_moved_file_is_found_beside(tmp_path):
    write_data(tmp_path, setups=1)
    for stated, base in [("C:\\old\\raw.h5", "."), ("/gone/raw.h5", "."), ("raw.h5", "/gone"), ("../raw.h5", ".")]:
        found = il.open_dataarray(write_xml(tmp_path / "d.xml", stated=stated, base=base))
        np.testing.assert_array_equal(found, DATA)


@pytest.mark.parametrize("loader", ["hdf5", "n5"])
def test_data_outside_the_folder_are_followed_only_where_it_is_allowed(tmp_path, loader):
    (tmp_path / "in").mkdir()
    write_data(tmp_path / "out", loader, setups=1)
    name = "raw." + loader.replace("hdf5", "h5")
    for number, stated in enumerate((f"../out/{name}", f"{tmp_path}/out/{name}", f"link/{name}", "link")):
        folder = tmp_path / "in" / str(number)
        folder.mkdir()
        path = write_xml(folder / "d.xml", loader, stated)
        (folder / "link").symlink_to(tmp_path / "out" / name if stated == "link" else tmp_path / "out")
        if not number:
            path = write_xml(tmp_path / "in" / "d.xml", loader, stated)
        with pytest.raises(UnsafePathError, match=r"not below its folder: .*allow_external"):
            il.open_dataarray(path)
        np.testing.assert_array_equal(il.open_dataarray(path, allow_external=tmp_path / "out"), DATA)


def test_what_is_not_there_or_not_understood_says_so(tmp_path):
    with pytest.raises(SourceNotFoundError, match=r"d\.xml describes 'raw\.h5', which does not exist"):
        il.open_dataarray(write_xml(tmp_path / "d.xml", stated="raw.h5"))
    with pytest.raises(UnknownFormatError, match=r"the format 'multimg\.zarr': .*HDF5 .*N5"):
        il.open_dataarray(write_xml(tmp_path / "d.xml", "multimg.zarr"))
    entities = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
    with pytest.raises(MetadataError, match="entities"):
        il.open_dataarray(write_xml(tmp_path / "d.xml", head=entities))
    (tmp_path / "other.xml").write_text("<OME/>")
    with pytest.raises(UnknownFormatError, match="no format"):
        il.open_dataarray(tmp_path / "other.xml")
    write_data(tmp_path, "n5")
    (tmp_path / "raw.n5/setup0/attributes.json").write_text('{"downsamplingFactors": [[1, 1]]}')
    with pytest.raises(MetadataError, match="setup0: downsamplingFactors"):
        il.open_dataarray(write_xml(tmp_path / "d.xml", "n5", "raw.n5"), "s01")
    (tmp_path / "empty.n5").mkdir()
    (tmp_path / "empty.n5/attributes.json").write_text('{"n5": "2.0.0"}')
    with pytest.raises(DatasetNotFoundError, match="no setup of BigDataViewer"):
        il.open_dataarray(write_xml(tmp_path / "d.xml", "n5", "empty.n5"))


@pytest.mark.shared
def test_ilastiks_own_example_opens_by_its_xml():
    path = shared_path("ilastik-files", "history", "smallVideoBdv.xml")
    found = il.open_dataarray(path)
    assert (found.name, found.shape) == ("channel 1", (7, 1, 408, 408))
    with h5py.File(path.with_suffix(".h5")) as file:
        np.testing.assert_array_equal(found[3], file["t00003/s00/0/cells"][...].view("u2"))


def test_numbers_of_thousands_of_digits_are_no_setups_and_no_times(tmp_path):
    write_data(tmp_path / "data", setups=1)
    path = write_xml(tmp_path / "raw.xml")
    path.write_text(path.read_text().replace("<id>1</id>", f"<id>{'1' * 5000}</id>"))
    with h5py.File(tmp_path / "data/raw.h5", "a") as file:
        file["s" + "1" * 5000] = file["s00"]
        file["t" + "1" * 5000] = file["t00000"]
    assert il.open_dataarray(path).sizes["t"] == len(DATA)


def test_a_name_that_several_setups_have_opens_none_of_them(tmp_path):
    write_data(tmp_path / "data")
    path = write_xml(tmp_path / "raw.xml")
    path.write_text(path.read_text().replace("membrane", "nuclei GFP"))
    with pytest.raises(DatasetNotFoundError, match=r"2 setups called 'nuclei GFP': name one of s00, s01"):
        il.open_dataarray(path, "nuclei GFP")
    path.write_text(path.read_text().replace("nuclei GFP", "s01", 1).replace("nuclei GFP", "s00"))
    assert il.open_dataarray(path, "s01").encoding["source"].endswith("s01/scale0")


def test_factors_of_hundreds_of_digits_are_refused(tmp_path):
    write_data(tmp_path / "data", "n5")
    about = tmp_path / "data/raw.n5/setup0/attributes.json"
    about.write_text(about.read_text().replace("4", "4" * 400))
    with pytest.raises(MetadataError, match="expected three numbers from 1 on"):
        il.open_dataarray(write_xml(tmp_path / "raw.xml", "n5", "data/raw.n5"), "s00")
