"""Every entry of a manifest, opened and compared: what came of each, in one word and a reason."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import IlastikLazyError, IlastikLazyWarning, MetadataError, UnknownFormatError

Outcome = tuple[str, str]
"""``"as stated"``, ``"error"`` or ``"part"``, and why it is not all."""

AS_STATED: Outcome = ("as stated", "")
_NOTHING_STATED: Outcome = ("part", "nothing is stated of it: the values are those that another reader gives")


def accounts_of(folder: Path) -> Iterator[tuple[str, str, Outcome]]:
    """Format, name and outcome of each entry; a file with several arrays has an account for each."""
    for entry in json.loads((folder / "manifest.json").read_text())["entries"]:
        path = folder / entry["path"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IlastikLazyWarning)
            kind = path.suffix.lower().lstrip(".") or "folder"
            for name, outcome in _ACCOUNTS.get(kind, _no_image)(path, entry):
                yield kind, f"{entry['path']}/{name}".rstrip("/"), outcome


def summary(accounts: list[tuple[str, str, Outcome]]) -> str:
    """A line for each format and outcome, with the reasons."""
    counts = Counter((kind, *outcome) for kind, _, outcome in accounts)
    return "\n".join(
        f"  {kind:8} {count:4} {what}{f': {why}' if why else ''}" for (kind, what, why), count in sorted(counts.items())
    )


def _checked(array: xr.DataArray, stated: Mapping[str, Any]) -> Outcome:
    """Compare with what the manifest states; AssertionError where it is something else."""
    if (axes := stated.get("axes") or stated.get("axes_stored")) is not None:
        assert "".join(array.dims) == axes, (array.dims, axes)
    assert list(array.shape) == stated["shape"], (array.shape, stated["shape"])
    assert array.dtype == np.dtype(stated["dtype"])
    values = array.values
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    assert hashlib.sha256(data).hexdigest() == stated["sha256"]
    return AS_STATED


def _refused(error: type[IlastikLazyError], why: str, call: Callable[[], object]) -> Outcome:
    """The error that rightly comes."""
    with pytest.raises(error) as caught:
        call()
    assert len(str(caught.value)) <= 500
    return "error", f"{error.__name__}: {why}"


def _no_image(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    yield "", _refused(UnknownFormatError, "no image, but text or a folder of images", lambda: il.open_dataarray(path))
    for file in sorted(path.glob("mask*.tif")) if path.is_dir() else ():
        assert il.open_dataarray(file).values.any()


def _arrays(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    """HDF5 and N5: one array or several, tables among them."""
    for inside, stated in (entry.get("datasets") or {entry.get("internal_path"): entry}).items():

        def opened(inside: str = inside) -> xr.DataArray:
            return il.open_dataarray(path, inside)

        if stated.get("kind") == "table":
            table = il.open_table(path)
            assert [len(table)] == stated["shape"]
            assert list(table.columns) == [name for name, _ in stated["columns"]]
            yield inside, AS_STATED
        elif len(stated["shape"]) < 2:
            yield inside, _refused(MetadataError, "one dimension", opened)
        else:
            yield inside, _checked(opened(), stated)


def _flat(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    """Files of one image: numpy, TIFF, pictures."""
    if "sha256" not in entry:
        independent = pytest.importorskip("tifffile" if path.suffix == ".tif" else "PIL.Image")
        read = independent.imread(path) if path.suffix == ".tif" else np.asarray(independent.open(path))
        np.testing.assert_array_equal(il.open_dataarray(path).values, read)
        yield "", _NOTHING_STATED
    elif "sequence" in entry["format"]:
        # The name of the first file; the checksum is of all.
        axes = entry["axes"].replace(first := entry["axes"][0], "")
        array = il.open_dataarray([path], stack_along=first, axes=axes)
        assert "".join(array.dims) == entry["axes"]
        assert list(array.shape[1:]) == entry["shape"][1:]
        yield "", ("part", "a sequence, of which the collection holds the first file only")
    elif "tiff_axes" in entry:
        squeezed = il.open_dataarray(path, axes=entry["tiff_axes"].lower())
        assert "".join(il.open_dataarray(path).dims) == "tzcyx"
        yield "", _checked(squeezed, {**entry, "axes": entry["tiff_axes"].lower()})
    elif path.suffix == ".npy":
        # A .npy names no axes: its reader is told.
        yield (
            "",
            (
                _refused(MetadataError, "one dimension", lambda: il.open_dataarray(path))
                if len(entry["shape"]) < 2
                else _checked(il.open_dataarray(path, axes=entry.get("axes")), entry)
            ),
        )
    else:
        yield "", _checked(il.open_dataarray(path), entry)


def _xml(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    """BigDataViewer's XML, with the HDF5 beside it."""
    with h5py.File(path.with_suffix(".h5")) as file:
        times = sorted(name for name in file if name.startswith("t"))
        read = np.stack([file[f"{time}/s00/0/cells"][...].view("u2") for time in times])
    np.testing.assert_array_equal(il.open_dataarray(path).values, read)
    yield "", _NOTHING_STATED


def _zarr(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    (image,) = entry["multiscales"]
    for inside, stated in (entry.get("levels") or entry["arrays"]).items():
        array = il.open_dataarray(path, inside)
        outcome = _checked(array, {"dtype": entry.get("dtype"), "axes": "tczyx", **stated})
        own = next(d for d in image["datasets"] if d["path"] == inside)["coordinateTransformations"]
        common = image.get("coordinateTransformations", [])
        for number, dim in enumerate(array.dims):
            scale, origin = 1.0, 0.0
            for transform in (*own, *common):
                value = transform[transform["type"]][number]
                scale, origin = (
                    (scale * value, origin * value) if transform["type"] == "scale" else (scale, origin + value)
                )
            if dim in array.coords and dim != "c":
                positions = origin + scale * np.arange(array.sizes[dim])
                np.testing.assert_allclose(array.coords[dim].values, positions, rtol=1e-12)
            else:
                # Not stated, so 1 at the finest level, and its factor at others.
                assert dim == "c" or origin == 0
                is_finest = inside == image["datasets"][0]["path"]
                assert dim == "c" or not is_finest or scale == 1, (dim, scale)
        yield inside, outcome


def _csv(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    table = il.open_table(path)
    assert list(table.columns) == entry["columns"]
    if "n_lines" in entry:
        assert len(table) == entry["n_lines"] - 1
    yield "", AS_STATED


def _project(path: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    """Every voxel that was labelled is there, with its class; the images lie on other people's disks."""
    tree = il.open_datatree(path, chunks=None)
    expected: Counter[int] = Counter()
    with h5py.File(path) as file:
        for group in (file.get(f"{applet}/LabelSets", {}) for applet in file):
            for block in (block for lane in group.values() for block in lane.values()):
                assert re.findall(r"(\d+):(\d+)", block.attrs["blockSlice"])
                expected.update(int(value) for value in block[()].ravel() if value)
    found: Counter[int] = Counter()
    for node in tree.subtree:
        if "labels" in node.data_vars:
            found.update(int(value) for value in node["labels"].values.ravel() if value)
    assert found == expected, (found, expected)
    missing = sum(node.attrs.get("status") not in (None, "opened", "embedded") for node in tree.subtree)
    yield "", AS_STATED if not missing else ("as stated", "labels; its images are elsewhere, each with a remedy")


_ACCOUNTS: dict[str, Callable[[Path, Mapping[str, Any]], Iterator[tuple[str, Outcome]]]] = {
    "h5": _arrays, "n5": _arrays, "npy": _flat, "tif": _flat, "tiff": _flat, "png": _flat, "zarr": _zarr, "csv": _csv,
    "ilp": _project, "xml": _xml,
}  # fmt: skip
