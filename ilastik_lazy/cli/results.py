"""Print and write the results of reductions."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import ArgumentError, DestinationError, DestinationExistsError
from ilastik_lazy.formats.location import checked_target
from ilastik_lazy.formats.suffixes import TIFF_SUFFIXES

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["check_image", "check_output", "check_printable", "result_text", "write_result"]

_PRINTED_VALUES = 1000


def check_output(path: str, endings: tuple[str, ...] = (".npy", ".zarr"), *, overwrite: bool | None = None) -> None:
    """Reject a file that cannot be written, before anything is read.

    Parameters
    ----------
    overwrite
        Whether a file may be replaced; None if the command has no such option.
    """
    if "://" in checked_target(path):
        raise ArgumentError(f"{path} is a URL: results are written to local files")
    if not path.endswith(endings):
        raise ArgumentError(
            f"cannot write {path}: expected a name that ends in {', '.join(endings[:-1])} or {endings[-1]}"
        )
    if os.path.isdir(path) or (os.path.lexists(path) and not overwrite):
        advice = "" if overwrite is None or os.path.isdir(path) else ", or pass --overwrite"
        raise DestinationExistsError(f"{path} already exists: remove it first{advice}")
    if not os.path.isdir(folder := os.path.dirname(os.path.abspath(path))):
        raise DestinationError(f"there is no folder {folder}: make it first")


def check_image(what: str, path: str, dims: Collection[str]) -> None:
    """Reject a result that is no image for a TIFF, before anything is read."""
    if path.lower().endswith(TIFF_SUFFIXES) and not {"y", "x"} <= set(dims):
        raise ArgumentError(f"{what} is no image with y and x, as a TIFF is: write .npy or .zarr")


def check_printable(what: str, sizes: Mapping[str, int]) -> None:
    """Reject printing an image as numbers, before anything is read."""
    if (count := math.prod(sizes.values())) > _PRINTED_VALUES:
        shape = "  ".join(f"{dim} {size}" for dim, size in sizes.items())
        raise ArgumentError(
            f"{what} has {count:,} values ({shape}), too many to print: add --out {what.split()[0]}.npy"
        )


def write_result(result: xr.DataArray, path: str) -> None:
    """Write a bare ``.npy``, which appears when it is whole, a ``.zarr`` with coordinates, or an OME-TIFF.

    For ``.npy``, `result` may be an array of numpy.
    """
    if path.endswith(".npy"):
        import numpy as np

        from ilastik_lazy.storage.new_file import new_file

        with new_file(os.path.abspath(path), overwrite=False) as file:
            np.lib.format.write_array(file, np.asarray(result), allow_pickle=False)
            file.check()
    elif path.lower().endswith(TIFF_SUFFIXES):
        from ilastik_lazy.writers.tiff import to_tiff

        to_tiff(result, path)
    else:
        result.to_dataset(name=str(result.name or "result")).to_zarr(path, zarr_format=3, consolidated=False)


def result_text(result: xr.DataArray) -> str:
    """Format one number, also one of numpy, or a small table; for histograms, only bins that are not empty."""
    if result.ndim == 0:
        return f"{result.item():.10g}" if result.dtype.kind == "f" else str(result.item())
    name = str(result.name or "value")
    frame = result.to_dataframe(name=name)
    frame = frame[[each for each in ("class", name, "share") if each in frame]]
    if "bin" in result.dims:
        frame = frame[frame[name] > 0]
    text: str = frame.to_string(float_format=lambda value: f"{value:.6g}") if len(frame) else "no values in any bin"
    notes = [f"{counted(empty, 'empty bin')} left out"] if (empty := result.size - len(frame)) else []
    if "outside" in result.coords and (outside := int(result.coords["outside"].sum())):
        notes.append(f"{counted(outside, 'value')} in no bin: outside their range, or not a number")
    return f"{text}\n({'; '.join(notes)})" if notes else text
