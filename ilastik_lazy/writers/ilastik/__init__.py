"""`to_ilastik`: write anything that can be opened as an HDF5 file or N5 folder that ilastik itself opens."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np

from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.core.size_text import human_bytes, human_seconds
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.whole_chunks import WholeChunks, chunks_held
from ilastik_lazy.errors import ArgumentError, AxesError, option, remedy
from ilastik_lazy.lazy.from_xarray import AnySource, require_written
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.showing.html import html_table
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.storage.files import require_unchanged, stamp_of
from ilastik_lazy.storage.new_file import new_file
from ilastik_lazy.storage.new_folder import new_folder
from ilastik_lazy.warning import warn
from ilastik_lazy.writers.ilastik.adding import is_free_in_hdf5, is_free_in_n5
from ilastik_lazy.writers.ilastik.hdf5 import ImageLayout, block_of, write_image
from ilastik_lazy.writers.ilastik.n5 import write_n5
from ilastik_lazy.writers.opening import Opening, open_any, takes_opening
from ilastik_lazy.writers.target import full_path, local_target, require_not_read

__all__ = ["ExportReport", "to_ilastik"]

# `FormatValidity.ALL_DTYPES` of lazyflow's opExportSlot.py.
_DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
# ilastik's viewer raises an error for any other.
_DISPLAY_MODES = ("default", "grayscale", "rgba", "random-colortable", "binary-mask")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What `to_ilastik` wrote."""

    path: str
    internal_path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """As stored."""

    bytes_decoded: int
    """Size of the image in memory."""

    bytes_written: int
    seconds: float
    not_stored: tuple[str, ...] = ()
    """Known facts about the image that ilastik's HDF5 cannot store."""

    def _repr_html_(self) -> str:
        return html_table(self.path, [("", line.strip()) for line in str(self).split("\n")[1:]])

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        rate = f", {human_bytes(self.bytes_decoded / self.seconds)}/s" if self.seconds >= 1 else ""
        lost = f"\n  not stored, since ilastik's HDF5 has no place for it: {', '.join(self.not_stored)}"
        return (
            f"{self.path}/{self.internal_path}\n"
            f"  {'/'.join(self.dims)}: {shape} {self.dtype}\n"
            f"  {human_bytes(self.bytes_written)} on disk, {human_bytes(self.bytes_decoded)} in memory; "
            f"{human_seconds(self.seconds)}{rate}" + (lost if self.not_stored else "")
        )


@takes_opening
@shows_progress("exporting", 2)
def to_ilastik(
    array: AnySource,
    path: str | os.PathLike[str],
    internal_path: str = "exported_data",
    *,
    compression: Literal["gzip"] | None = "gzip",
    drange: tuple[float, float] | None = None,
    display_mode: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    on_error: Literal["raise", "mask"] = "raise",
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
    **opening: Unpack[Opening],
) -> ExportReport:
    """Write an image of any size as HDF5 or N5 that ilastik opens with the right axes, voxel size and units.

    Layout and attributes are those of ilastik's own exports.  Memory does not grow with the image.
    The file or folder appears when all of it is written, so a partial result never looks like a complete one.

    Parameters
    ----------
    array
        Path of a file that `open_dataarray` opens, what it returned, any DataArray with dims out of
        ``t, z, y, x, c``, also a computed one, an `ArraySource`, or an array of numpy or dask with `axes`.
        Dims keep their order; ilastik needs ``y`` and ``x``.  Integers of 8 to 64 bits, float32 and float64 are
        stored as they are, bool as uint8 and float16 as float32, since ilastik supports neither.
    path
        A file whose name ends in ``.h5`` or ``.hdf5``, or a folder whose name ends in ``.n5``.  If it exists, and
        has nothing at `internal_path`, the dataset is added: to a copy of the HDF5 file, which replaces the
        file when it is complete, so that a process that is killed loses nothing.
    internal_path
        Path of the dataset in the file, such as ``"volume/data"``.
    compression
        ``"gzip"`` is ilastik's "compressed hdf5" or "compressed n5", None is its "hdf5" or "n5".
    drange
        Lowest and highest value for display; by default the range in the file of `array`.  ilastik divides
        integer probabilities by it.
    display_mode
        ``default``, ``grayscale``, ``rgba``, ``random-colortable`` or ``binary-mask``; by default the mode
        in the file of `array`.
    workers
        Threads; None takes all cores.
    overwrite
        Replace the file at `path` and all its contents, once the new one is complete.
    on_error
        ``mask`` fills chunks of an unfinished export, which were never written, with the file's fill value; ``raise``
        refuses such an export.
    progress
        True shows a progress bar; a function is called with the bytes done and all bytes, in the caller's thread.
    axes, project, kind, voxel_size, storage_options, limits, trust, allow_external
        How the file at a path `array` is opened, see `open_dataarray`; `axes` also
        names those of a numpy or dask array; `project`, `kind` and `voxel_size` also hold for a DataArray.

    Returns
    -------
    ExportReport
        Path, bytes, seconds, and what ilastik's HDF5 cannot store: class names, and positions
        that do not begin at 0.

    Raises
    ------
    DestinationExistsError
        `path` already exists, and is not a file or folder that the dataset can be added to.
    DestinationError
        The file cannot be written; nothing of it is left.
    UnfinishedWriteError
        Chunks of the source were never written.
    ArgumentError
        ilastik would not open the result, or `path` is the file that `array` is read from.

    Warns
    -----
    MetadataWarning
        Positions do not begin at 0, but will in the file; or ilastik will not open an image without x and y.

    Examples
    --------
    >>> import tempfile, pathlib, ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "nucleus.h5"
    >>> report = il.to_ilastik(prob.sel(c="nucleus") > 0.5, file)
    >>> report.dims, str(report.dtype)
    (('z', 'y', 'x'), 'uint8')
    >>> il.open_dataarray(file).z.attrs["units"]
    'micrometer'
    """
    start = time.perf_counter()
    assert not isinstance(progress, bool)
    target, inside, threads = _checked_target(path), _checked_internal_path(internal_path), threads_for(workers)
    source = open_any(array, None, storage_options, **opening)
    require_written(source, on_error)
    spec = source.spec
    require_not_read(target, source)
    layout = ImageLayout(
        inside, spec.axes, spec.shape, _stored_dtype(spec), _checked_compression(compression),
        _checked_drange(drange, spec), _checked_display_mode(display_mode, spec),
        None if spec.is_unpacked else spec.packing,
    )  # fmt: skip
    _check_axes(spec)
    held = 0 if spec.storage.compression == "none" else chunks_held(block_of(spec, layout), spec.chunks, spec.shape)
    # Blocks of the target share what they read or compute.
    described = DescribedSource(spec, WholeChunks.of(with_shared_parts(source, threads), held * threads))
    adds = not overwrite and (is_free_in_n5 if target.endswith(".n5") else is_free_in_hdf5)(target, inside)
    if target.endswith(".n5"):
        place = os.path.join(target, *inside.split("/")) if adds else target
        layout = replace(layout, internal_path="") if adds else layout
        with new_folder(place, overwrite=overwrite, is_replaceable=_is_n5) as folder:
            written = write_n5(folder, described, layout, workers=threads, progress=progress)
    else:
        with new_file(target, overwrite=overwrite or adds) as file:
            stamp = stamp_of(target) if adds else None
            if adds:
                file.copy(target)
            copied = os.fstat(file.fd).st_size
            write_image(file, described, layout, workers=threads, progress=progress, adds=adds)
            written = os.fstat(file.fd).st_size - copied
            if stamp is not None:
                require_unchanged(target, stamp)
    return ExportReport(
        target, inside, spec.dims, spec.shape, layout.dtype, spec.nbytes, written, time.perf_counter() - start,
        _not_stored(spec),
    )  # fmt: skip


def _checked_target(path: str | os.PathLike[str]) -> str:
    text = local_target(path)
    if not text.endswith((".h5", ".hdf5", ".n5")):
        has_path_inside = re.search(r"\.(h5|hdf5|n5)[/\\]", text)
        hint = remedy(", and name the dataset with internal_path=") if has_path_inside else ""
        if text.endswith((".zarr", ".ozx")):
            hint = f"; {remedy('to_ome_zarr() writes', 'ilastik-lazy convert writes')} OME-Zarr"
            raise ArgumentError(f"{text}: choose a name that ends in .h5 or .n5{remedy('', ', or in .ome.tif')}{hint}")
        raise ArgumentError(f"{text}: choose a name that ends in .h5 or .n5{remedy(hint, ', or in .ome.tif')}")
    return full_path(text)


def _is_n5(path: str) -> bool:
    """Whether a folder is an N5, so that it may be replaced by one."""
    return not os.listdir(path) or os.path.isfile(os.path.join(path, "attributes.json"))


def _checked_internal_path(internal_path: str) -> str:
    if not isinstance(internal_path, str):
        raise ArgumentError(f"{option('internal_path', internal_path)}: expected a path, such as 'volume/data'")
    # ilastik treats a backslash as a slash, and needs no leading one.
    inside = internal_path.replace("\\", "/").strip("/")
    if "\0" in inside or any(part in ("", ".", "..") for part in inside.split("/")):
        given = option("internal_path", internal_path)
        raise ArgumentError(f"{given}: expected names with '/' between, such as 'volume/data'")
    return inside


def _checked_compression(compression: object) -> Literal["gzip"] | None:
    if compression is None or compression == "gzip":
        return None if compression is None else "gzip"
    raise ArgumentError(f"{option('compression', compression)}: ilastik writes 'gzip', or None")


def _stored_dtype(spec: ArraySpec) -> np.dtype[Any]:
    dtype = {"b1": "u1", "f2": "f4"}.get(key := f"{spec.dtype.kind}{spec.dtype.itemsize}", key)
    if dtype not in _DTYPES:
        raise ArgumentError(
            f"{spec.storage.location} is {spec.dtype}: ilastik knows integers up to 64 bits, float32 and float64"
            + remedy("; convert it with .astype()")
        )
    return np.dtype(f"<{dtype}")


def _checked_drange(drange: object, spec: ArraySpec) -> tuple[float, float] | None:
    if drange is None:
        # ilastik copies the (0, 1) of the probabilities to images computed from them: wrong for ids and classes.
        # For a computation it is not known yet whether the voxels keep to the range.
        return None if spec.is_label_image or spec.is_inherited else spec.drange
    ends = tuple(drange) if isinstance(drange, list | tuple | np.ndarray) else ()
    if len(ends) == 2 and all(isinstance(end, int | float | np.number) for end in ends):
        low, high = (end.item() if isinstance(end, np.number) else end for end in ends)
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    raise ArgumentError(f"drange={drange!r}: expected two numbers, the lower one first, such as (0, 255)")


def _checked_display_mode(display_mode: str | None, spec: ArraySpec) -> str:
    if display_mode is not None and display_mode not in _DISPLAY_MODES:
        raise ArgumentError(f"display_mode={display_mode!r}: ilastik knows {', '.join(_DISPLAY_MODES)}")
    mode = spec.display_mode if display_mode is None else display_mode
    if mode and mode not in _DISPLAY_MODES:
        where = spec.storage.location or spec.name
        warn(f"{where}: ilastik knows no display_mode {ascii(mode)[:40]}: left out")
        return ""
    return mode


def _check_axes(spec: ArraySpec) -> None:
    """Refuse what ilastik does not open as an image, and warn about what changes."""
    where = spec.storage.location
    if not 2 <= spec.ndim <= 5:
        raise AxesError(f"{where} has {spec.ndim} dimensions: ilastik opens images with 2 to 5")
    if 0 in spec.shape:
        raise ArgumentError(f"{where} has shape {spec.shape}, so it has no voxels: ilastik cannot open it")
    if not {"y", "x"} <= set(spec.dims):
        warn(f"{where} has the dimensions {', '.join(spec.dims)}: ilastik opens only images with x and y")
    if moved := [axis for axis in spec.axes if axis.translation]:
        first = ", ".join(f"{axis.name} = {axis.translation:g} {axis.unit}".rstrip() for axis in moved)
        warn(f"ilastik's HDF5 has no place for an origin: {where} begins at {first}, and at 0 in the file")


def _not_stored(spec: ArraySpec) -> tuple[str, ...]:
    lost = [f"origin of {axis.name}" for axis in spec.axes if axis.translation or axis.since]
    if spec.channel_names:
        lost.append("class names")
    if spec.channel_colors:
        lost.append("class colours")
    return tuple(lost)
