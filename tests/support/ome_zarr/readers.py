"""What other programs find in a store: voxels, axes, positions, units and names, told in one way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
import pytest
import xarray as xr
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

import ilastik_lazy as il
from tests.support.ome_zarr.fakes import read_by_tensorstore

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Found:
    """What a reader makes of an image; None stands for what it has no word for, or leaves out."""

    levels: list[Array]
    dims: tuple[str, ...] | None = None
    scale: dict[str, float] | None = None
    translation: dict[str, float] | None = None
    units: dict[str, str] | None = None
    names: list[str] | None = None
    is_labels: bool | None = None


def level_paths(store: Path) -> list[Path]:
    return [store / f"scale{number}" / "image" for number in range(len(list(store.glob("scale*"))))]


def by_zarr(store: Path) -> Found:
    return Found([np.asarray(zarr.open_array(path, mode="r")[...]) for path in level_paths(store)])


def by_tensorstore(store: Path) -> Found:
    found = [read_by_tensorstore(path) for path in level_paths(store)]
    named = [dims for dims, _ in found if any(dims)]
    return Found([values for _, values in found], named[0] if named else None)


def _found_in(tree: xr.DataTree, variable: str | None = None) -> Found:
    images = [child[variable or next(iter(child.data_vars))] for _, child in sorted(tree.children.items())]
    first = images[0]
    space = [dim for dim in map(str, first.dims) if dim in first.coords and dim != "c"]
    return Found(
        [image.values for image in images],
        tuple(map(str, first.dims)),
        {dim: float(np.diff(first[dim].values[:2]).item()) for dim in space},
        {dim: float(first[dim].values[0]) for dim in space},
        {dim: first[dim].attrs["units"] for dim in space},
        np.atleast_1d(first.c.values).tolist() if "c" in first.coords else None,
    )


def by_xarray(store: Path) -> Found:
    with xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None) as tree:
        return _found_in(tree, "image")


def by_ilastik_lazy(store: Path) -> Found:
    with il.open_datatree(store) as tree:
        return _found_in(tree)


def by_ngff_zarr(store: Path) -> Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = ngff_zarr.from_ngff_zarr(store, validate=True).images
        levels = [np.asarray(image.data) for image in images]
    units = {dim: unit for dim, unit in (images[0].axes_units or {}).items() if unit}
    return Found(levels, tuple(images[0].dims), _space(images[0].scale), _space(images[0].translation), units)


def by_ome_zarr_py(store: Path) -> Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        location = parse_url(str(store))
        assert location is not None
        node = next(iter(Reader(location)()))
        levels = [np.asarray(level) for level in node.data]
    axes = node.metadata["axes"]
    dims = tuple(axis["name"] for axis in axes)
    scale, translation = node.metadata["coordinateTransformations"][0]
    return Found(
        levels,
        dims,
        _space(dict(zip(dims, scale["scale"], strict=True))),
        _space(dict(zip(dims, translation["translation"], strict=True))),
        {axis["name"]: axis["unit"] for axis in axes if "unit" in axis},
        node.metadata.get("channel_names"),
        "Label" in [type(spec).__name__ for spec in node.specs],
    )


def by_napari(store: Path) -> Found:
    """Without translations, which napari-ome-zarr leaves out: https://github.com/ome/napari-ome-zarr/issues/73."""
    reason = "napari is not installed: pip install napari-ome-zarr"
    napari_ome_zarr = pytest.importorskip("napari_ome_zarr", reason=reason, exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((data, metadata, kind),) = napari_ome_zarr.napari_get_reader(str(store))()
        levels = [np.asarray(level) for level in data]
    dims = list(metadata["axis_labels"])
    scale = dict(zip(dims, metadata["scale"], strict=True))
    units = {dim: unit for dim, unit in zip(dims, metadata["units"], strict=True) if unit}
    if "channel_axis" in metadata:
        dims.insert(metadata["channel_axis"], "c")
    layers = metadata.get("name")
    names = [name.split(": ", 1)[1] for name in layers] if isinstance(layers, list) else None
    return Found(levels, tuple(dims), _space(scale), None, units, names, kind == "labels")


def _space(steps: dict[str, float]) -> dict[str, float]:
    return {dim: float(step) for dim, step in steps.items() if dim != "c"}


READERS: dict[str, Callable[[Path], Found]] = {
    "zarr": by_zarr,
    "tensorstore": by_tensorstore,
    "xarray": by_xarray,
    "ilastik_lazy": by_ilastik_lazy,
    "ngff-zarr": by_ngff_zarr,
    "ome-zarr-py": by_ome_zarr_py,
    "napari-ome-zarr": by_napari,
}
