"""`to_ome_zarr`: write anything that can be opened as an OME-Zarr that every program opens."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack

import pandas as pd
import xarray as xr

from ilastik_lazy.core.display import as_shown
from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.lazy.from_xarray import AnySource, as_source, require_written
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.tables import open_table
from ilastik_lazy.tables.unique_ids import with_unique_ids
from ilastik_lazy.writers.ome_zarr.commit.label_list import ImageAbove, image_above
from ilastik_lazy.writers.ome_zarr.commit.target import open_store, store_at
from ilastik_lazy.writers.ome_zarr.commit.zip_target import ZipTarget
from ilastik_lazy.writers.ome_zarr.conversion.image import ImageConversion
from ilastik_lazy.writers.ome_zarr.metadata.labels import Table, object_properties
from ilastik_lazy.writers.ome_zarr.plan.fitting import fitted
from ilastik_lazy.writers.ome_zarr.plan.plan import Version
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion
from ilastik_lazy.writers.ome_zarr.report import ConversionReport
from ilastik_lazy.writers.opening import Opening, open_any, takes_opening
from ilastik_lazy.writers.progress import Counter, Progress

__all__ = ["to_ome_zarr"]


@takes_opening
@shows_progress("converting", 2)
def to_ome_zarr(
    source: AnySource,
    target: str | os.PathLike[str],
    *,
    version: Version | None = None,
    memory: str | int | None = None,
    levels: int | None = None,
    downsample: Literal["auto", "mean", "mode", "nearest"] = "auto",
    codec: Literal["auto", "zstd", "gzip", "blosc", "none"] = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    verify: bool = False,
    table: Table | None = None,
    labels: Mapping[str, AnySource] | None = None,
    tables: Mapping[str, Table] | None = None,
    unique_ids: bool = False,
    on_error: Literal["raise", "mask"] = "raise",
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | bool | None = None,
    **opening: Unpack[Opening],
) -> ConversionReport:
    """Write an image as OME-Zarr: sharded Zarr v3, a pyramid, physical positions, class names.

    The source is read once; memory does not grow with the image.  The folder becomes an image only
    when all of it is written, so a partial result never looks like a complete one.

    Label images of an image go below it: with `labels` they are written after the image, each one is listed in
    ``labels`` when it is whole, and `resume` continues where that stopped.  The target ``IMAGE.zarr/labels/NAME`` adds
    one to an image that is there, of any program.  What others have put into ``labels`` stays.

    An image of classes or ids with a target of its own becomes a label image, too, with ``image-label`` beside
    ``multiscales`` in the root; a single channel is left out.

    Parameters
    ----------
    source
        Path of a file that `open_dataarray` opens, what it returned, any DataArray with dims out
        of ``t, z, y, x, c``, an `ArraySource`, or an array of numpy or dask with `axes`.
    target
        Folder to create, usually ``something.zarr``, or ``image.zarr/labels/name`` for labels of an image; or one in a
        bucket, ``s3://bucket/something.zarr`` (extra ``remote``).  ``something.ozx`` or ``something.ome.zarr.zip``
        becomes one file, zipped OME-Zarr (RFC-9): a hidden folder beside it is packed at the end, so the disk needs
        room for both.
    version
        Version of OME-Zarr: ``"0.4"`` uses Zarr v2, without shards, for older programs and for ilastik itself.
        None is ``"0.5"``, and for labels of an image its version.
    memory
        Most bytes to use beside the interpreter, such as ``"2GB"``.  If a DataArray is computed, this includes one
        dask block for each worker, but not the intermediate results of the computation; on a cluster each worker uses
        as much as one thread does here.
    levels
        Number of resolutions, the full one included, 1 to 16; None continues until no axis of space is longer than 256
        voxels.  An image has fewer if nothing is left to halve.
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
    labels
        Label images of the image by their names: integers or masks with its axes, without channels, of the same shape,
        or with positions inside it.  One that states no voxel size takes that of the image.
    tables
        Tables of the objects in `labels`, by the names of the label images (see `table`).
    unique_ids
        Write ids of objects that differ between frames, with their tables: see `ilastik_lazy.unique_ids`.  Of `labels`,
        those that hold classes or tracks, or have no frames, stay as they are.
    on_error
        ``mask`` fills chunks of the source that cannot be decoded with NaN or 0, and chunks that were never
        written with the file's fill value, and lists them in the report;
        ``raise`` stops at the first one, and leaves what can be resumed.
    storage_options
        Options for a `target` or a `source` in a bucket: ``endpoint_url``, ``region``, ``key``, ``secret``, ...
    progress
        True shows a progress bar; a function is called with the bytes done and all bytes, in the caller's thread.
        Verifying counts them again.
    internal_path, axes, project, kind, voxel_size, limits, trust, allow_external
        How the file at a path is opened, see `open_dataarray`; `axes` also
        names those of a numpy or dask array; `project`, `kind` and `voxel_size` also hold for a DataArray.

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

    A raw image with the classes of its voxels:

    >>> report = il.to_ome_zarr(sample("raw"), folder.with_name("raw.zarr"), labels={"classes": sample("segmentation")})
    >>> zarr.open_group(folder.with_name("raw.zarr") / "labels", mode="r").attrs["ome"]["labels"]
    ['classes']
    """
    assert not isinstance(progress, bool)
    labels = labels or {}
    of_labels: dict[str, Table | None] = dict(tables or {})
    if not isinstance(labels, Mapping):
        raise ArgumentError(f"{option('labels')}: expected label images by their names, such as {{'cells': ...}}")
    array = open_any(source, internal_path, storage_options, **opening)
    if unique_ids and not labels:
        array, table = _with_unique_ids(array, source, table)
    options = {"memory": memory, "codec": codec, "workers": workers}
    planned = functools.partial(_planned, on_error=on_error, storage_options=storage_options)
    images: list[ImageConversion] = []
    archive: ZipTarget | None = None
    if (there := image_above(target, storage_options)) is not None:
        if labels or of_labels:
            raise ArgumentError(f"{target} is a label image, and {option('labels')} belong to an image")
        above, name = there
        if version not in (None, above.version):
            raise ArgumentError(f"{above.place} is OME-Zarr {above.version}, and its labels are, too: omit the version")
        sources, of_labels = {name: array}, {name: table}
        options |= {"levels": levels or above.levels, "downsample": downsample}
    else:
        if table is not None and array.spec.kind is None and array.spec.dtype.kind in "iu":
            array = with_kind(array, "object identities")
        own = {"version": version or "0.5", "levels": levels, "downsample": downsample}
        archive = ZipTarget.of(target, version or "0.5")
        images.append(planned(as_shown(array), archive or target, table, options | own))
        above = ImageAbove.of(images[0].store.place, images[0].plan, storage_options)
        if unknown := [name for name in of_labels if name not in labels]:
            raise ArgumentError(f"{option('tables')}: there is no label image {unknown[0]!r} in {option('labels')}")
        sources = {name: as_source(each, storage_options) for name, each in labels.items()}
        options |= {"levels": above.levels}
        for name in [name for name, each in sources.items() if unique_ids and _holds_ids(each.spec)]:
            sources[name], of_labels[name] = _with_unique_ids(sources[name], labels[name], of_labels.get(name))
    for name, each in sources.items():
        below = fitted(each, above.spec, name)
        images.append(
            planned(below, above.target(name), of_labels.get(name), options | {"version": above.version}, is_below=True)
        )
    counter = Counter(sum(image.plan.spec.nbytes for image in images) * (2 if verify else 1), progress, None)
    reports: list[ConversionReport] = []
    for image in images:
        with _without_empty_folder(above):
            reports.append(image.run(counter, overwrite=overwrite, resume=resume, verify=verify))
        if image.is_below:
            above.add(image.name)
        elif archive is not None and archive.is_packed:
            archive.require_labels(labels)
            return reports[0]
    if archive is not None:
        archive.pack(overwrite=overwrite)
        above_it = archive.path
        reports[1:] = [replace(each, target=each.target.replace(archive.folder, above_it)) for each in reports[1:]]
    return replace(reports[0], labels=dict(zip(labels, reports[1:], strict=True)))


def _holds_ids(spec: ArraySpec) -> bool:
    return spec.kind in (None, "object identities") and spec.dtype.kind in "iu"


def _with_unique_ids(source: ArraySource, given: AnySource, table: Table | None) -> tuple[ArraySource, Table | None]:
    """Return a label image and its table with ids that differ between frames; `given` is what the source is of."""
    rows = table if table is None or isinstance(table, pd.DataFrame) else open_table(table)
    return with_unique_ids(source, given if isinstance(given, xr.DataArray) else source, rows)


def _planned(
    source: ArraySource,
    target: str | os.PathLike[str] | ZipTarget,
    table: Table | None,
    options: dict[str, Any],
    *,
    on_error: Literal["raise", "mask"],
    storage_options: Mapping[str, Any] | None,
    is_below: bool = False,
) -> ImageConversion:
    """Check and plan everything about one image; nothing is written."""
    absent = require_written(source, on_error)
    archive = target if isinstance(target, ZipTarget) else None
    place = target.folder if isinstance(target, ZipTarget) else target
    store = store_at(place, source, storage_options, is_below=is_below)
    properties = None if table is None else object_properties(source.spec, table)
    plan = plan_conversion(source, **options)
    return ImageConversion(source, plan, store, properties, on_error == "mask", absent, is_below, archive)


@contextlib.contextmanager
def _without_empty_folder(above: ImageAbove) -> Iterator[None]:
    """Remove the folder of all labels, if an error leaves it empty."""
    try:
        yield
    except BaseException:
        open_store(above.place, above.storage_options).prune("labels")
        raise
