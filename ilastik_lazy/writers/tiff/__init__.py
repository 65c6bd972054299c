"""`to_tiff`: write anything that can be opened as a tiled OME-TIFF with a pyramid."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.core.size_text import counted, parse_size
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.views.whole_chunks import WholeChunks
from ilastik_lazy.errors import ArgumentError, AxesError, option
from ilastik_lazy.formats.suffixes import TIFF_SUFFIXES
from ilastik_lazy.lazy.from_xarray import AnySource, require_written
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.storage.compression.deflating import zlib_deflater
from ilastik_lazy.storage.new_file import new_file
from ilastik_lazy.warning import warn
from ilastik_lazy.writers.ome_zarr.conversion.one_pass import write_shards
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics
from ilastik_lazy.writers.ome_zarr.plan.pyramid import method_for
from ilastik_lazy.writers.ome_zarr.report import ConversionReport, unknown_steps
from ilastik_lazy.writers.opening import Opening, open_any, takes_opening
from ilastik_lazy.writers.progress import Counter
from ilastik_lazy.writers.target import full_path, local_target, require_not_read
from ilastik_lazy.writers.tiff.dtypes import as_tiff_numbers
from ilastik_lazy.writers.tiff.ome import not_stored, ome_metadata
from ilastik_lazy.writers.tiff.plan import plan_tiff
from ilastik_lazy.writers.tiff.tiles import TileWriter

__all__ = ["TiffReport", "to_tiff"]


@dataclass(frozen=True, slots=True)
class TiffReport(ConversionReport):
    """What `to_tiff` wrote."""

    dtype: str = ""
    """As stored."""

    not_stored: tuple[str, ...] = ()
    """Known facts about the image that OME-TIFF cannot store."""

    def __str__(self) -> str:
        lost = f"\n  not stored, since OME-TIFF has no place for it: {', '.join(self.not_stored)}"
        # Written out: slots=True makes another class than the one that super() without arguments looks for.
        return f"{ConversionReport.__str__(self)}\n  numbers are {self.dtype}" + (lost if self.not_stored else "")


@takes_opening
@shows_progress("writing", 2)
def to_tiff(
    image: AnySource,
    path: str | os.PathLike[str],
    *,
    compression: Literal["gzip"] | None = "gzip",
    levels: int | None = None,
    downsample: Literal["auto", "mean", "mode", "nearest"] = "auto",
    memory: str | int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    on_error: Literal["raise", "mask"] = "raise",
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
    **opening: Unpack[Opening],
) -> TiffReport:
    """Write an image of any size as tiled OME-TIFF, with a pyramid, voxel size, units, channel names and colours.

    Where the positions of a crop do not begin at 0, they are written as positions of the planes.
    Fiji, QuPath, napari, bioio and tifffile open it.  The source is read once; memory does not grow with the image.
    The file appears when all of it is on the disk, so a partial result never looks like a complete one, not even after
    a power failure.

    Parameters
    ----------
    image
        Path of a file that `open_dataarray` opens, what it returned, any DataArray with dims out of
        ``t, z, y, x, c``, also a computed one, an `ArraySource`, or an array of numpy or dask with `axes`.
        It needs ``y`` and ``x``; the file has the order ``t, c, z, y, x``, or ``t, z, y, x, c`` for a colour picture.
        OME-TIFF has no bool, float16 and integers of 64 bits: these become uint8, float32, and integers of 32 bits
        if all of them fit.
    path
        A new file whose name ends in ``.ome.tif``, ``.tif``, ``.tiff``, ``.btf`` or ``.tf8``.  All are OME-TIFF,
        and BigTIFF where 4 GiB might not be enough.
    compression
        ``"gzip"`` is TIFF's "deflate", which all programs read; None stores the voxels as they are.
    levels
        Resolutions, the full one included; None continues until y and x are not longer than 256.  Only y and x are
        halved, as OME-TIFF demands; the lower resolutions are SubIFDs of each plane.
    downsample
        How levels are made (see `to_ome_zarr`): ``auto`` takes the mean for images, and invents no value for labels.
    memory
        Most memory to use, such as ``"2GB"``, beside the interpreter and its libraries.
    workers
        Threads; None takes all cores.
    overwrite
        Replace the file at `path`, once the new one is complete.
    on_error
        ``mask`` fills chunks of the source that cannot be decoded with NaN or 0, and chunks that were never written
        with the file's fill value, and lists them in the report; ``raise`` stops at the first one.
    progress
        True shows a progress bar; a function is called with the bytes done and all bytes, in the caller's thread.
    internal_path, axes, project, kind, voxel_size, storage_options, limits, trust, allow_external
        How the file at a path `image` is opened, see `open_dataarray`; `axes` also
        names those of a numpy or dask array; `project`, `kind` and `voxel_size` also hold for a DataArray.

    Returns
    -------
    TiffReport
        Levels, bytes, seconds, and what OME-TIFF cannot store; its text is a summary.

    Raises
    ------
    DestinationExistsError
        `path` already exists.
    DestinationError
        The file cannot be written; nothing of it is left.
    CorruptChunkError
        A chunk of the source is damaged; nothing of the file is left.
    ArgumentError
        OME-TIFF cannot hold the image, or `path` is the file that `image` is read from.
    MissingExtraError
        tifffile is not installed.

    Warns
    -----
    MetadataWarning
        Times do not begin at 0, but will in the file.

    Examples
    --------
    >>> import tempfile, pathlib, ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "nuclei.ome.tif"
    >>> report = il.to_tiff(sample("probabilities"), file, levels=2)
    >>> report.dims, report.levels
    (('c', 'z', 'y', 'x'), ((2, 40, 128, 160), (2, 40, 64, 80)))
    >>> il.open_dataarray(file).z.attrs["units"]
    'micrometer'
    """
    start = time.perf_counter()
    assert not isinstance(progress, bool)
    target, deflate = _checked_target(path), _deflater(compression)
    # Imported before anything is written or read: it may be missing.
    from ilastik_lazy.writers.tiff.container import frame_of, note_places

    source = open_any(image, internal_path, storage_options, **opening)
    absent = require_written(source, on_error)
    require_not_read(target, source)
    _check_axes(source.spec)
    # By the dtype of the source: True and False are no numbers.
    method, why = method_for(source.spec, downsample)
    source = as_tiff_numbers(source)
    limit = None if memory is None else parse_size(memory, "memory")
    plan = plan_tiff(source.spec, levels, method, "gzip" if deflate else "none", threads_for(workers), limit)
    shared = with_shared_parts(source, plan.workers, plan.spare)
    reader = ShardReader(plan, WholeChunks.of(shared, plan.held * plan.workers), mask=on_error == "mask")
    counter = Counter(plan.spec.nbytes, progress)
    with new_file(target, overwrite=overwrite) as file:
        frame = frame_of(plan, ome_metadata(plan.spec, plan.levels[0].axes))
        file.seek(len(frame))
        tiles = TileWriter(file, plan, deflate)
        shards, advance = plan.remaining(()), counter.add
        units = write_shards(reader, tiles, shards, (), workers=plan.workers, progress=advance, ranges=False)
        note_places(frame, tiles.places(), is_compressed=deflate is not None)
        file.seek(0)
        file.write(frame)
        file.check()
        written = os.fstat(file.fd).st_size
    statistics = functools.reduce(Statistics.merged, (u.statistics for u in units if u.statistics), Statistics({}, {}))
    masked = tuple(text for unit in units for text in unit.masked)
    return TiffReport(
        target=target,
        levels=tuple(level.shape for level in plan.levels),
        dims=tuple(axis.name for axis in plan.levels[0].axes),
        method=method,
        codec=plan.codec,
        bytes_decoded=plan.spec.nbytes,
        bytes_written=written,
        seconds=time.perf_counter() - start,
        verified=False,
        method_reason=why,
        voxels_per_class=statistics.voxels_per_class(plan.spec),
        masked=masked + ((f"{counted(absent, 'chunk')} never written",) if absent else ()),
        unknown_steps=unknown_steps(source.spec),
        dtype=plan.spec.dtype.name,
        not_stored=not_stored(plan.spec),
    )


def _checked_target(path: str | os.PathLike[str]) -> str:
    text = local_target(path)
    if not text.lower().endswith(TIFF_SUFFIXES):
        raise ArgumentError(f"{text}: a TIFF has a name that ends in .ome.tif, .tif or .tiff: choose one")
    return full_path(text)


def _deflater(compression: object) -> Any:
    if compression is None:
        return None
    if compression == "gzip":
        return zlib_deflater()
    raise ArgumentError(f"{option('compression', compression)}: expected 'gzip', or None")


def _check_axes(spec: ArraySpec) -> None:
    """Refuse what is not an image, and warn about what changes."""
    where = spec.storage.location
    if missing := [name for name in "yx" if name not in spec.dims]:
        raise AxesError(f"{where} has no axis {missing[0]!r}: OME-TIFF holds images with y and x")
    if 0 in spec.shape:
        raise ArgumentError(f"{where} is empty (shape {spec.shape}): there is nothing to write")
    for axis in spec.axes:
        if axis.name == "t" and axis.translation:
            first = f"{axis.translation:g} {axis.unit}".rstrip()
            warn(f"OME-TIFF has no place for a start: {where} begins at t = {first}, and at 0 in the file")
