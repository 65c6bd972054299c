"""Every HDF5 dataset that ilastik itself wrote: axes, shape, values, as the manifests state."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import MetadataError, MetadataWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.h5py_source import H5pySource
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import stamp_of
from tests.support.manifest_accounts import accounts_of, summary
from tests.support.shared_files import DATA, MISSING, SHARED, entries, over_files, shared_path

ALL = SHARED / "ilastik-files"
# vigra does not escape the quotes in a description, so this text is not JSON (ilastik-formats.md 1.5).
NO_JSON = "writer/compressed_hdf5/meta_description_quote.h5/exported_data"
FULL_UNITS = {"µm": "micrometer", "nm": "nanometer", "cm": "centimeter", "s": "second", "micrometer": "micrometer"}


@dataclass(frozen=True)
class Entry:
    """One dataset, and what the manifest says of it."""

    folder: str
    path: str
    internal_path: str
    shape: tuple[int, ...]
    axes: str | None
    dtype: str | None
    sha256: str | None
    resolution: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    drange: list[float] | None = None

    @property
    def file(self) -> Path:
        return shared_path("ilastik-files", self.folder, self.path)

    @property
    def is_image(self) -> bool:
        return self.dtype is not None and 2 <= len(self.shape) <= 5

    def __str__(self) -> str:
        return f"{self.folder}/{self.path}/{self.internal_path}"


def _entries(folder: str) -> list[Entry]:
    found = []
    for file in entries(folder, ".h5"):
        datasets: dict[str, Any] = file["datasets"] if "datasets" in file else {file["internal_path"]: file}
        for inside, stated in datasets.items():
            found.append(
                Entry(
                    folder, file["path"], inside, tuple(stated["shape"]),
                    stated.get("axes", stated.get("axes_stored")), stated.get("dtype"), stated.get("sha256"),
                    stated.get("resolution", {}), stated.get("units", {}), stated.get("drange"),
                )
            )  # fmt: skip
    return found


ENTRIES = [entry for folder in ("writer", "workflows", "history") for entry in _entries(folder)]
IMAGES = [entry for entry in ENTRIES if entry.is_image]
OTHERS = [entry for entry in ENTRIES if not entry.is_image]


def params(found: list[Entry]) -> Any:
    return over_files("entry", found, lambda entry: f"{entry.folder}/{entry.path}", str)


def guessed_axes(shape: tuple[int, ...]) -> str:
    """ilastik's own rule for an array without axes (ilastik-formats.md 1.9)."""
    if len(shape) == 3:
        return "yxc" if shape[2] <= 4 else "zyx"
    return {2: "yx", 4: "zyxc", 5: "tzyxc"}[len(shape)]


def opened(entry: Entry, **options: Any) -> xr.DataArray:
    """Open one dataset; a warning is expected if, and only if, its axes are not stored well."""
    if entry.axes is None or str(entry) == NO_JSON:
        with pytest.warns(MetadataWarning, match=r"not valid JSON" if entry.axes else r"guessed"):
            return il.open_dataarray(entry.file, entry.internal_path, **options)
    return il.open_dataarray(entry.file, entry.internal_path, **options)


def stated_pixel_sizes(entry: Entry) -> tuple[dict[str, float], dict[str, str]]:
    """Steps and units as the manifest says; where it is silent, as the attributes of the file say."""
    if entry.resolution or entry.units:
        return entry.resolution, entry.units
    with h5py.File(entry.file) as file:
        attributes = file[entry.internal_path].attrs
        text, units = str(attributes.get("axistags", "")), json.loads(attributes.get("axis_units", "{}"))
    pairs = re.findall(r'"key": "(.)",\s*"typeFlags": \d+,\s*"resolution": ([-+.\de]+)', text)
    return {key: float(step) for key, step in pairs if float(step)}, units


def sha256_of(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()).hexdigest()


@pytest.mark.shared
def test_the_files_are_all_there(record_property):
    shared_path("ilastik-files", "workflows")
    counts = {folder: sum(e.folder == folder for e in ENTRIES) for folder in ("writer", "workflows", "history")}
    print(f"datasets in HDF5 files: {counts}, of which {len(IMAGES)} images")
    record_property("real_datasets", len(ENTRIES))
    assert counts == {"writer": 91, "workflows": 135, "history": 56}
    assert len(IMAGES) == 271


@params(IMAGES)
def test_values_axes_and_shape_are_as_stated(entry):
    array = opened(entry)
    assert "".join(array.dims) == (entry.axes or guessed_axes(entry.shape))
    assert array.attrs.get("axes_guessed", False) == (entry.axes is None)
    assert array.shape == entry.shape
    assert array.dtype == np.dtype(entry.dtype)
    assert sha256_of(array.values) == entry.sha256


@params(IMAGES)
def test_coordinates_are_the_stated_pixel_sizes_and_nothing_made_up(entry):
    array = opened(entry)
    resolution, units = stated_pixel_sizes(entry)
    assert set(array.coords) == set(resolution)
    for name, step in resolution.items():
        np.testing.assert_allclose(array.coords[name].values, np.arange(array.sizes[name]) * step, rtol=1e-12)
        assert array.coords[name].attrs.get("units", "") == FULL_UNITS.get(units.get(name, ""), "")
    unplaced = {name: FULL_UNITS[unit] for name, unit in units.items() if unit and name not in resolution}
    assert json.loads(array.attrs.get("axis_units", "{}")) == unplaced
    if entry.folder == "writer":
        assert array.attrs.get("drange") == entry.drange


@params(IMAGES)
def test_the_engine_opens_the_same_as_the_function(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        array = il.open_dataarray(entry.file, entry.internal_path)
        options: dict[str, Any] = {"internal_path": entry.internal_path}
        dataset = xr.open_dataset(entry.file, engine="ilastik", **options)
    xr.testing.assert_identical(dataset[str(array.name)], array)


@params(IMAGES)
def test_both_paths_read_the_same_bytes(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        source = open_source(Location.parse(entry.file, entry.internal_path))
    whole = tuple(slice(0, length) for length in entry.shape)
    through_h5py = H5pySource(source.spec, Location(str(entry.file), entry.internal_path), stamp_of(str(entry.file)))
    assert source.read(whole).tobytes() == through_h5py.read(whole).tobytes()


@params(OTHERS)
def test_tables_and_lists_are_no_images(entry):
    with pytest.raises(MetadataError, match=r"is not an image"):
        il.open_dataarray(entry.file, entry.internal_path)


@params([entry for entry in IMAGES if entry.axes and entry.folder != "history"])
def test_every_export_is_claimed_by_the_engine(entry):
    assert xr.backends.list_engines()["ilastik"].guess_can_open(entry.file)


@pytest.mark.parametrize(
    ("name", "dims"),
    [("raw", "zyx"), ("probabilities", "zyxc"), ("segmentation", "zyxc")],
)
def test_the_sample_has_its_voxel_size(name, dims):
    array = il.open_dataarray(sample(name))
    assert "".join(array.dims) == dims
    steps = [float(np.diff(array.coords[dim])[0].round(6)) for dim in "zyx"]
    assert steps == [0.8, 0.25, 0.25]
    assert {array.coords[dim].attrs["units"] for dim in "zyx"} == {"micrometer"}


def test_probabilities_of_the_sample_sum_to_one_and_peak_where_the_segmentation_says():
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    labels = il.open_dataarray(sample("segmentation"))
    assert prob.coords["c"].values.tolist() == ["nucleus", "background"]
    np.testing.assert_allclose(prob.sum("c").values, 1, atol=1e-5)
    likeliest = prob.argmax("c").values + 1
    assert float((likeliest == labels.isel(c=0).values).mean()) > 0.99


@pytest.mark.shared
def test_several_images_of_one_file_open_as_one_dataset():
    path = shared_path("ilastik-files", "history", "smallVideoBdv.h5")
    dataset = il.open_dataset(path, chunks=None)
    assert {name: variable.shape for name, variable in dataset.data_vars.items()} == {
        "scale0": (7, 1, 408, 408), "scale1": (7, 1, 204, 204)
    }  # fmt: skip


_LINE = "error: MetadataError: one dimension"
_TEXT = "error: UnknownFormatError: no image, but text or a folder of images"
_SEQUENCE = "part: a sequence, of which the collection holds the first file only"
_SILENT = "part: nothing is stated of it: the values are those that another reader gives"


@pytest.mark.parametrize(
    ("root", "count", "others"),
    [
        (DATA / "writer", 175, {_LINE: 2, _SEQUENCE: 3}),
        pytest.param(ALL / "writer", 310, {_LINE: 2, _SEQUENCE: 3}, marks=pytest.mark.shared),
        pytest.param(ALL / "workflows", 164, {_TEXT: 4, _SILENT: 1}, marks=pytest.mark.shared),
        pytest.param(ALL / "history", 89, {_LINE: 1, _SILENT: 12}, marks=pytest.mark.shared),
    ],
    ids=lambda value: "/".join(value.parts[-2:]) if isinstance(value, Path) else "",
)
def test_every_entry_of_the_manifest_is_accounted_for(root, count, others):
    """Shown by ``pytest -s``: how many open as stated, and why the others do not."""
    if not root.exists():
        pytest.skip(MISSING)
    accounts = list(accounts_of(root))
    print(f"\n{root.name}: {len(accounts)} arrays, tables and projects in {count} entries\n{summary(accounts)}")
    named = {name for _, name, _ in accounts}
    stated = [entry["path"] for entry in json.loads((root / "manifest.json").read_text())["entries"]]
    assert len(stated) == count
    assert all(any(name == path or name.startswith(f"{path}/") for name in named) for path in stated)
    counts = Counter(what if not why else f"{what}: {why}" for _, _, (what, why) in accounts)
    assert {reason: count for reason, count in counts.items() if not reason.startswith("as stated")} == others
