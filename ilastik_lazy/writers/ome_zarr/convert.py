"""`to_ome_zarr`: write anything that can be opened as an OME-Zarr that every program opens."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack

from ilastik_lazy import __version__
from ilastik_lazy.core.views.whole_chunks import WholeChunks
from ilastik_lazy.errors import SourceChangedError, VerificationError
from ilastik_lazy.lazy.attributes import attributes_of
from ilastik_lazy.lazy.clusters import current_client
from ilastik_lazy.lazy.from_xarray import AnySource, ComputedSource, require_written
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit, read_journals
from ilastik_lazy.writers.ome_zarr.commit.manifest import noted_units
from ilastik_lazy.writers.ome_zarr.commit.target import name_of, store_at
from ilastik_lazy.writers.ome_zarr.commit.transaction import Transaction
from ilastik_lazy.writers.ome_zarr.commit.zip_target import ZipTarget
from ilastik_lazy.writers.ome_zarr.conversion.cluster import write_on_cluster
from ilastik_lazy.writers.ome_zarr.conversion.compare import compare_levels, require_units
from ilastik_lazy.writers.ome_zarr.conversion.one_pass import write_shards
from ilastik_lazy.writers.ome_zarr.conversion.resuming import require_same_voxels, sound_units
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader, ShardWriter
from ilastik_lazy.writers.ome_zarr.identity import source_identity, without_version
from ilastik_lazy.writers.ome_zarr.metadata.attributes import ome_attributes
from ilastik_lazy.writers.ome_zarr.metadata.documents import metadata_documents
from ilastik_lazy.writers.ome_zarr.metadata.labels import Table, object_properties
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard, Version
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion
from ilastik_lazy.writers.ome_zarr.report import ConversionReport
from ilastik_lazy.writers.opening import Opening, open_any
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
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | bool | None = None,
    **opening: Unpack[Opening],
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
        of ``t, z, y, x, c``, an `ArraySource`, or an array of numpy or dask with `axes`.
    target
        Folder to create, usually ``something.zarr``; or one in a bucket, ``s3://bucket/something.zarr`` (extra
        ``remote``).  ``something.ozx`` or ``something.ome.zarr.zip`` becomes one file, zipped OME-Zarr (RFC-9): a
        hidden folder beside it is packed at the end, so the disk needs room for both.
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
    """
    start = time.perf_counter()
    assert not isinstance(progress, bool)
    array = open_any(source, internal_path, storage_options, **opening)
    absent = require_written(array, on_error)
    archive = ZipTarget.of(target, version)
    store = store_at(target if archive is None else archive.folder, array, storage_options)
    place = store.place if archive is None else archive.path
    plan = plan_conversion(
        array, version=version, memory=memory, levels=levels, downsample=downsample, codec=codec, workers=workers
    )
    # An interrupted conversion is resumed only if its metadata had the same digest; ranges are measured on the way.
    properties = None if table is None else object_properties(array.spec, table)
    planned = _documents(plan, place, properties, None)
    identity = source_identity(array)
    if unknown := without_version(array):
        # A different text each time, so that this conversion is never resumed.
        identity |= {"unversioned": [*unknown, uuid.uuid4().hex]}
    settings = _settings(plan, identity, planned, on_error)
    if archive is not None and (made := archive.finished(settings, overwrite=overwrite, resume=resume)) is not None:
        units = noted_units(made) or {}
        return _report(plan, place, units, len(units), *_learned({}, made.get("learned", {})), absent, verify, start)
    with Transaction(store, settings, overwrite=overwrite, resume=resume) as transaction:
        found = sound_units(plan, transaction.store, transaction.done)
        if len(found) < len(transaction.done):
            transaction.repair()
        before = sum(shard.voxels for shard in found if shard.number == 0) * plan.dtype.itemsize
        counter = Counter(plan.spec.nbytes * (2 if verify else 1), progress, before)
        client = current_client()
        shared = with_shared_parts(array, plan.workers, plan.spare, client and client.get)
        # Shards share what they read; on a cluster, a task has one thread, and chunks of its own.
        shared = WholeChunks.of(shared, plan.held * (1 if client else plan.workers))
        reader = ShardReader(plan, shared, mask=on_error == "mask")
        if found and isinstance(array, ComputedSource):
            require_same_voxels(reader, transaction.store, found)
        units = _write_units(reader, transaction, found, counter, client)
        require_units(plan, transaction.store, units)
        statistics, masked = _learned(units, transaction.learned)
        documents = _documents(plan, place, properties, statistics)
        transaction.write_arrays(documents)
        if verify:
            try:
                compare_levels(reader, transaction.store, counter.add)
            except VerificationError:
                transaction.withdraw_arrays(documents)
                raise
        if source_identity(array).get("version") != identity.get("version"):
            raise SourceChangedError(f"{array.spec.storage.location} changed while it was converted: convert it again")
        transaction.publish(documents, units, {"statistics": statistics.as_json(), "masked": masked})
    if archive is not None:
        archive.pack(overwrite=overwrite)
    return _report(plan, place, units, len(found), statistics, masked, absent, verify, start)


def _report(
    plan: Plan,
    place: str,
    units: Mapping[str, Unit],
    resumed: int,
    statistics: Statistics,
    masked: list[str],
    absent: int,
    verified: bool,
    start: float,
) -> ConversionReport:
    return ConversionReport(
        target=place,
        levels=tuple(level.shape for level in plan.levels),
        dims=tuple(axis.name for axis in plan.levels[0].axes),
        method=plan.method,
        codec=plan.codec,
        bytes_decoded=plan.spec.nbytes,
        bytes_written=sum(unit.nbytes for unit in units.values()),
        seconds=time.perf_counter() - start,
        verified=verified,
        reason=plan.reason,
        method_reason=plan.method_reason,
        resumed=resumed,
        parts=len(units),
        voxels_per_class=statistics.voxels_per_class(plan.spec),
        masked=tuple(masked) + ((f"{absent} chunks that were never written",) if absent else ()),
    )


def _write_units(
    reader: ShardReader, transaction: Transaction, found: Mapping[Shard, Unit], counter: Counter, client: Any
) -> dict[str, Unit]:
    """Write the shards that were not `found`; returns all units by name."""
    plan, done = reader.plan, set(found)
    units = {unit.name: unit for unit in found.values()}
    writer = ShardWriter(transaction.store, transaction.journal)

    def advance(nbytes: int) -> None:
        transaction.require_lock()
        counter.add(nbytes)

    if client is not None:
        write_on_cluster(client, reader, writer, done, progress=advance)
        # Read from the journals, since workers that died have written some, too.
        units = read_journals(transaction.store) | units
        done = {shard for shard in plan.all_shards() if shard.name in units}
    made = write_shards(reader, writer, plan.remaining(done), done, workers=plan.workers, progress=advance)
    return units | {unit.name: unit for unit in made}


def _learned(units: Mapping[str, Unit], noted: Mapping[str, Any]) -> tuple[Statistics, list[str]]:
    """Statistics of all voxels, and errors of masked chunks; of a complete image, those in its manifest."""
    if noted:
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            return Statistics.from_json(noted["statistics"]), [str(text) for text in noted["masked"]]
    parts = (unit.statistics for unit in units.values() if unit.statistics)
    masked = [text for unit in units.values() for text in unit.masked]
    return functools.reduce(Statistics.merged, parts, Statistics({}, {})), masked


def _documents(
    plan: Plan, place: str, properties: list[dict[str, Any]] | None, statistics: Statistics | None
) -> dict[str, bytes]:
    """All metadata; without `statistics`, the ranges of the voxels are left out."""
    measured = None if statistics is None else statistics.measured(plan.spec)
    if statistics is not None:
        plan = replace(plan, spec=statistics.agreed(plan.spec))
    attributes = ome_attributes(plan, name_of(place), measured=measured, properties=properties)
    return metadata_documents(plan, attributes, attributes_of(plan.spec))


def _settings(plan: Plan, identity: dict[str, Any], documents: Mapping[str, bytes], on_error: str) -> dict[str, Any]:
    """Everything that decides what is written, as plain JSON values."""
    digest = hashlib.sha256()
    for key in sorted(documents):
        digest.update(key.encode() + b"\0" + documents[key] + b"\0")
    return identity | plan.settings() | {"library": __version__, "on_error": on_error, "metadata": digest.hexdigest()}
