"""What napari reads of the plugin before it imports any of it, checked by npe2, which napari reads it with."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import h5py
import pytest

import ilastik_lazy
from ilastik_lazy.demo import sample
from tests.support.children import run_forked, run_python

MANIFEST = Path(ilastik_lazy.__file__).with_name("napari.yaml")
PYPROJECT = MANIFEST.parents[1] / "pyproject.toml"

pytest.importorskip("npe2", reason="pip install 'ilastik_lazy[test]'")


def npe2(code: str, *arguments: object) -> str:
    """Run `code` with the manifest registered as ``ilastik-lazy``; pydantic's warnings are no errors there."""
    start = f"""
import json, sys
import npe2
manager, manifest = npe2.PluginManager(), npe2.PluginManifest.from_file({str(MANIFEST)!r})
manager.register(manifest)
npe2.PluginManager.instance = lambda: manager
"""
    run = run_forked(start + code, *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_is_valid_and_names_functions_that_exist():
    validate = (
        "import runpy, sys; sys.argv = ['npe2', 'validate', sys.argv[1]]; runpy.run_module('npe2', run_name='__main__')"
    )
    assert b"valid" in run_python(validate, str(MANIFEST))
    npe2("manifest.validate_imports()")


def test_is_found_by_the_name_of_the_distribution():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert npe2("print(manifest.name)").strip() == project["name"] == "ilastik-lazy"
    assert project["entry-points"]["napari.manifest"] == {"ilastik-lazy": "ilastik_lazy:napari.yaml"}


def test_npe2_reads_layers_without_napari():
    code = """
layers = npe2.read([sys.argv[1]], stack=False, plugin_name="ilastik-lazy")
assert not {"napari", "qtpy"} & set(sys.modules)
print(json.dumps([(kind, options["name"], int(data[3, 4, 5].compute() * 100)) for data, options, kind in layers]))
"""
    with h5py.File(sample("probabilities"), "r") as file:
        first, second = (file["exported_data"][3, 4, 5] * 100).astype(int).tolist()
    found = json.loads(npe2(code, sample("probabilities")))
    assert found == [["image", "nucleus", first], ["image", "background", second]]


def test_folders_stacks_and_capitals_reach_the_reader(tmp_path):
    (tmp_path / "A.H5").write_bytes(Path(sample("raw")).read_bytes())
    (tmp_path / "B.H5").write_bytes(Path(sample("raw")).read_bytes())
    ilastik_lazy.to_ome_zarr(sample("raw"), tmp_path / "a.zarr", levels=2)
    code = """
folder = sys.argv[1]
shapes = []
for paths, stack in ([["A.H5"], False], [["A.H5", "B.H5"], True], [["a.zarr"], False]):
    ((data, _, _),) = npe2.read([f"{folder}/{name}" for name in paths], stack=stack, plugin_name="ilastik-lazy")
    shapes.append(data.shape if stack or paths == ["A.H5"] else [level.shape for level in data])
print(json.dumps(shapes))
"""
    shape = [40, 128, 160]
    assert json.loads(npe2(code, tmp_path)) == [shape, [2, *shape], [shape, [40, 64, 80]]]


def test_samples_are_layers():
    code = """
for sample in manifest.contributions.sample_data:
    print(sample.key, [(kind, options["name"]) for _, options, kind in sample.open(_registry=manager.commands)])
"""
    assert npe2(code).splitlines() == [
        "raw [('image', 'nuclei')]",
        "probabilities [('image', 'nucleus'), ('image', 'background')]",
        "segmentation [('labels', 'nuclei_Simple_Segmentation')]",
    ]


def test_asking_for_a_reader_imports_neither_xarray_nor_dask():
    code = "import sys; from ilastik_lazy.viewing.napari import get_reader; assert get_reader(sys.argv[1])"
    run_python(f"{code}; assert not {{'xarray', 'dask', 'zarr', 'pandas'}} & set(sys.modules)", sample("raw"))
