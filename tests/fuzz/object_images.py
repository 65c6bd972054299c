"""Random images with objects in them: masks, probability maps and class images, and intensities beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
import scipy.ndimage as ndi
import xarray as xr

Array = np.ndarray[Any, Any]
DIMS = ("x", "yx", "xy", "zyx", "xyz", "tyx", "yxc", "tzyx", "zyxc", "tyxc", "xyt")
PATTERNS = ("random", "random", "random", "blobs", "spiral", "comb", "full", "empty", "voxel", "diagonal")


@dataclass
class Case:
    """An image, and how its objects are found."""

    dims: str
    mask: Array
    chunks: tuple[int, ...]
    image: xr.DataArray
    options: dict[str, Any] = field(default_factory=dict)
    core: Array | None = None
    """Mask of the cores."""

    def __str__(self) -> str:
        return f"{self.dims} {self.mask.shape} in {self.chunks}, {self.image.dtype}, {self.options}"


def pattern(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
    """A mask whose objects are scattered, winding, or cross many blocks."""
    mask = np.zeros(shape, np.bool_)
    if name == "random":
        mask = rng.random(shape) < rng.choice([0.03, 0.2, 0.4, 0.6, 0.9])
    elif name == "blobs":
        mask = ndi.gaussian_filter(rng.random(shape), 1.2) > 0.52
    elif name == "spiral":
        mask = np.broadcast_to(spiral(*shape[-2:]) if len(shape) > 1 else True, shape).copy()
    elif name == "comb":
        mask[..., ::2] = True
        mask[(..., *([-1] * min(1, len(shape) - 1)), slice(None))] = True
    elif name == "full":
        mask[...] = True
    elif name == "voxel" and mask.size:
        mask.flat[rng.integers(mask.size)] = True
    elif name == "diagonal":
        mask = np.indices(shape).sum(axis=0) % 2 == 0
    return mask


def spiral(height: int, width: int) -> Array:
    """One winding line, one voxel wide, with one voxel between its turns."""
    mask = np.zeros((height, width), np.bool_)
    y = x = 0
    dy, dx = 0, 1
    mask[0, 0] = height > 0 < width
    for _ in range(height * width):
        ahead = [(y + dy * step, x + dx * step) for step in (1, 2)]
        inside = 0 <= ahead[0][0] < height and 0 <= ahead[0][1] < width
        beyond = 0 <= ahead[1][0] < height and 0 <= ahead[1][1] < width
        if not inside or mask[ahead[0]] or (beyond and mask[ahead[1]]):
            dy, dx = dx, -dy
            y_next, x_next = y + dy, x + dx
            if not (0 <= y_next < height and 0 <= x_next < width) or mask[y_next, x_next]:
                break
            if 0 <= y + 2 * dy < height and 0 <= x + 2 * dx < width and mask[y + 2 * dy, x + 2 * dx]:
                break
            continue
        y, x = ahead[0]
        mask[y, x] = True
    return mask


def some_case(rng: np.random.Generator) -> Case:
    """Any image."""
    dims = str(rng.choice(DIMS))
    longest = 40 if len(dims) < 3 else 14 if len(dims) == 3 else 8
    shape = tuple(int(rng.integers(1, longest)) for _ in dims)
    chunks = tuple(int(rng.integers(1, length + 1)) for length in shape)
    space = [axis for axis, name in enumerate(dims) if name in "zyx"]
    mask = pattern(rng, str(rng.choice(PATTERNS)), shape)
    options: dict[str, Any] = {"connectivity": int(rng.integers(1, len(space) + 1))}
    core = None
    attributes: dict[str, Any] = {}
    kind = rng.choice(["mask", "probabilities", "bytes", "classes"])
    if kind == "mask":
        values: Array = mask
    elif kind == "classes":
        values = np.where(mask, rng.choice([1, 3], shape), 2).astype("u1")
        options["classes"] = [1, 3]
    else:
        threshold = float(rng.choice([0.5, 0.3]))
        above = threshold + (1 - threshold) * rng.choice([0, 0.25, 1], shape, p=[0.2, 0.6, 0.2])
        values = np.where(mask, above, rng.random(shape) * threshold * 0.99).astype(np.float32)
        if kind == "bytes":
            attributes["drange"] = [0, 255]
            values = np.where(mask, np.ceil(above * 255), np.floor(values * 255)).astype("u1")
        mask = values >= (np.float32(threshold) if kind == "probabilities" else threshold * 255)
        options["threshold"] = threshold
        if rng.random() < 0.5:
            options["core"] = 0.9
            core = values >= (np.float32(0.9) if kind == "probabilities" else 0.9 * 255)
        if kind == "probabilities" and rng.random() < 0.2:
            nan = rng.random(shape) < 0.05
            values, mask = np.where(nan, np.float32(np.nan), values), mask & ~nan
            core = None if core is None else core & ~nan
    if rng.random() < 0.3:
        options["min_size"] = int(rng.integers(1, 6))
    if rng.random() < 0.2:
        options["max_size"] = max(options.get("min_size", 0), int(rng.integers(1, 30)))
    image = xr.DataArray(da.from_array(values, chunks=chunks), dims=list(dims), attrs=attributes)
    return Case(dims, mask, chunks, image, options, core)


def some_intensity(rng: np.random.Generator, case: Case) -> tuple[xr.DataArray, int]:
    """An image beside the labels, in other blocks and perhaps in another order of axes, with channels."""
    dims = [name for name in case.dims if name != "c"]
    sizes = [case.image.sizes[name] for name in dims]
    channels = int(rng.integers(0, 3))
    values: Array = rng.integers(0, 60000, (*sizes, max(1, channels))).astype(str(rng.choice(["u2", "f4", "i4"])))
    if values.dtype.kind == "f" and rng.random() < 0.5:
        values[rng.random(values.shape) < 0.03] = np.nan
    array = xr.DataArray(values, dims=[*dims, "c"])
    array = array if channels else array.isel(c=0)
    if rng.random() < 0.5:
        array = array.transpose(*rng.permutation(array.dims))
    return array.chunk({name: int(rng.integers(1, n + 1)) for name, n in array.sizes.items()}), channels
