"""`to_ome_zarr`: write anything that can be opened as an OME-Zarr that every program opens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from ilastik_lazy.core.display import as_shown
from ilastik_lazy.lazy.from_xarray import AnySource, as_source, require_written
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.writers.ome_zarr.commit.target import store_at
from ilastik_lazy.writers.ome_zarr.conversion.image import ImageConversion
from ilastik_lazy.writers.ome_zarr.metadata.labels import Table, object_properties
from ilastik_lazy.writers.ome_zarr.plan.plan import Version
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion
from ilastik_lazy.writers.ome_zarr.report import ConversionReport
from ilastik_lazy.writers.progress import Counter, Progress

__all__ = ["to_ome_zarr"]


@shows_progress("converting", 2)
def to_ome_zarr(
    source: AnySource,
    target: str | os.PathLike[str],
    *,
    version: Version = "0.5",
    memory: str | int | None = None,
    levels: int | None = None,
    downsample: Literal["auto", "mean", "mode", "nearest"] = "auto",
    codec: Literal["auto", "zstd", "gzip", "blosc", "none"] = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    verify: bool = False,
    table: Table | None = None,
    on_error: Literal["raise", "mask"] = "raise",
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | bool | None = None,
) -> ConversionReport:
    """Write an image as OME-Zarr: sharded Zarr v3, a pyramid, physical positions, class names.

    The source is read once; memory does not grow with the image.  The folder becomes an image only
    when all of it is written, so a partial result never looks like a complete one.

    An image of classes or ids becomes a label image, with ``image-label`` beside ``multiscales`` in the root.  It is
    not in a group ``labels``: that is for labels *of another image*, and ilastik does not read it.
    ome-zarr-py and napari-ome-zarr show such labels.  (napari-ome-zarr 0.10 turns the folder two above into a group.)

    Parameters
    ----------
    source
        Path of a file that `open_dataarray` opens, what it returned, any DataArray with dims out
        of ``t, z, y, x, c``, or an `ArraySource`.
    target
        Folder to create, usually ``something.zarr``; or one in a bucket, ``s3://bucket/something.zarr`` (extra
        ``remote``).
    version
        Version of OME-Zarr: ``"0.4"`` uses Zarr v2, without shards, for older programs and for ilastik itself.
    memory
        Most bytes to use beside the interpreter, such as ``"2GB"``.  If a DataArray is computed, this includes one
        dask block for each worker, but not the intermediate results of the computation; on a cluster each worker uses
        as much as one thread does here.
    levels
        Number of resolutions, the full one included; None continues until the image is 256 voxels long.
        An image has fewer if nothing is left to halve.
    downsample
        How each level is made from the one before: ``mean`` for images, ``mode`` or ``nearest`` for labels.
        ``auto`` takes the mean for floats, for intensities (``kind``) and for 8- and 16-bit integers unless the file,
        its name or its role says that they are classes or ids; the mode for masks and if the file is known to hold
        labels; and ``nearest`` for other integers, because a mean would invent ids if they are ids.  A mean of
        integers is rounded half to even; ``nearest`` takes the first voxel of each pair, and the level keeps its
        position.
    codec
        Compression of chunks.  ``auto`` moves chunks that are gzip already without compressing them again, and
        takes ``zstd`` for all others; ``blosc`` in 0.4.
    workers
        Number of threads; None takes all cores.  Under a `dask.distributed.Client` the cluster converts.
    overwrite
        Replace the image at `target`, once the new one is complete; what others have put into it, such as labels and
        tables, stays where it is.
    resume
        Continue a conversion that was stopped; what it has written is checked, and not written again.
        Begin if there is none to continue; do nothing if all is done.
    verify
        Read all levels back and compare every voxel before the image is published.
    table
        Table of the objects whose ids the image holds, as `open_table` returns it, or its file.  It becomes the
        properties of the ids in ``image-label``, up to 20,000 values; beyond that, a warning says how many objects
        these are.
    on_error
        ``mask`` fills chunks of the source that cannot be decoded with NaN or 0, and chunks that were never
        written with the file's fill value, and lists them in the report;
        ``raise`` stops at the first one, and leaves what can be resumed.
    storage_options
        Options for a `target` or a `source` in a bucket: ``endpoint_url``, ``region``, ``key``, ``secret``, ...
    progress
        True shows a progress bar; a function is called with the bytes done and all bytes, in the caller's thread.
        Verifying counts them again.

    Returns
    -------
    ConversionReport
        Levels, bytes, seconds; its text is a summary.

    Raises
    ------
    DestinationExistsError
        `target` already exists.
    DestinationBusyError
        Another process is writing there.
    ResumeMismatchError
        The conversion at `target` has other settings, another version of the source, or was computed differently:
        of a computed array, some of the written voxels are computed again and compared.
    CorruptChunkError
        A chunk of the source is damaged; `target` is left unfinished.
    UnfinishedWriteError
        Chunks of the source were never written.
    MemoryLimitError
        `memory` is too small.
    VerificationError
        The written voxels differ from the source.

    Examples
    --------
    >>> import tempfile, pathlib, zarr, ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "nuclei.zarr"
    >>> report = il.to_ome_zarr(sample("probabilities"), folder)
    >>> zarr.open_array(folder / "scale0/image", mode="r").shape    # c, z, y, x
    (2, 40, 128, 160)
    """
    assert not isinstance(progress, bool)
    array = as_shown(as_source(source, storage_options))
    absent = require_written(array, on_error)
    store = store_at(target, array, storage_options)
    plan = plan_conversion(
        array, version=version, memory=memory, levels=levels, downsample=downsample, codec=codec, workers=workers
    )
    properties = None if table is None else object_properties(array.spec, table)
    conversion = ImageConversion(array, plan, store, properties, on_error == "mask", absent)
    counter = Counter(plan.spec.nbytes * (2 if verify else 1), progress, None)
    return conversion.run(counter, overwrite=overwrite, resume=resume, verify=verify)
