"""Objects as others find and measure them: scikit-image, cc3d, tilewise-ccl and dask-image, where installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import h5py
import numpy as np

import ilastik_lazy as il

Array = np.ndarray[Any, Any]

PROPERTIES = ("num_pixels", "bbox", "centroid", "intensity_mean")
SKIMAGE, CC3D, TILEWISE, DASK_IMAGE = "scikit-image", "cc3d", "tilewise-ccl", "dask-image"
MODULES = {SKIMAGE: "skimage", CC3D: "cc3d", TILEWISE: "tilewise_ccl", DASK_IMAGE: "dask_image"}


def installed(peer: str) -> bool:
    return importlib.util.find_spec(MODULES[peer]) is not None


def loaded(path: str) -> Array:
    """The dataset of an export in memory, without its channel."""
    with h5py.File(path, "r") as file:
        values: Array = file["exported_data"][...]
    return values[..., 0] if values.ndim == 4 else values


def mask_of(path: str) -> Any:
    """The lazy mask that peers label."""
    return il.open_dataarray(path).isel(c=0).data >= 0.5


def regionprops(labels: Array, raw: Array, properties: tuple[str, ...] = PROPERTIES) -> dict[str, Array]:
    from skimage.measure import regionprops_table

    table: dict[str, Array] = regionprops_table(labels, raw, properties=("label", *properties))
    return table


def with_skimage(probabilities: str, raw: str) -> dict[str, Array]:
    """The whole job, in memory."""
    from skimage.measure import label

    return regionprops(label(loaded(probabilities) >= 0.5, connectivity=1), loaded(raw))


def with_tilewise(probabilities: str) -> int:
    """Labels alone; each block of them is computed, and none kept."""
    from tilewise_ccl import label_array

    return int(label_array(mask_of(probabilities), connectivity=1, max_threads=2).max().compute())


def tilewise_table(probabilities: str) -> int:
    """Number of objects, after their sizes and boxes were found; no labels."""
    from tilewise_ccl import label_array

    _, found = label_array(mask_of(probabilities), connectivity=1, max_threads=2, properties=True)
    return len(found["area"])


def with_dask_image(probabilities: str) -> int:
    """Labels alone; each block of them is computed, and none kept.  Connectivity 1 is its default."""
    from dask_image.ndmeasure import label

    labels, _ = label(mask_of(probabilities))
    return int(labels.max().compute())


def cc3d_statistics(labels: Array) -> Any:
    """Sizes, boxes and centroids; it knows no intensities."""
    import cc3d

    return cc3d.statistics(labels, no_slice_conversion=True)


def cc3d_labels(probabilities: str) -> int:
    """Labels alone, in memory."""
    import cc3d

    return int(cc3d.connected_components(loaded(probabilities) >= 0.5, connectivity=6, return_N=True)[1])
