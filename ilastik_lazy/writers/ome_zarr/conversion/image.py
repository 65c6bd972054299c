"""Carry out the conversion of one image: resume, write, compare, publish, report."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ilastik_lazy import __version__
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.whole_chunks import WholeChunks
from ilastik_lazy.errors import SourceChangedError, VerificationError
from ilastik_lazy.lazy.attributes import attributes_of
from ilastik_lazy.lazy.clusters import current_client
from ilastik_lazy.lazy.from_xarray import ComputedSource
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.storage.stores import Store
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit, read_journals
from ilastik_lazy.writers.ome_zarr.commit.manifest import noted_units
from ilastik_lazy.writers.ome_zarr.commit.target import name_of
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
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard
from ilastik_lazy.writers.ome_zarr.report import ConversionReport, unknown_steps
from ilastik_lazy.writers.progress import Counter

__all__ = ["ImageConversion"]


@dataclass(frozen=True, slots=True)
class ImageConversion:
    """One image that will be written: what is read, how, and where it goes."""

    source: ArraySource
    plan: Plan
    store: Store
    properties: list[dict[str, Any]] | None = None
    """Properties of the objects whose ids the image holds."""

    is_masked: bool = False
    """Whether chunks that cannot be decoded are filled."""

    absent: int = 0
    """Chunks of the source that were never written."""

    is_below: bool = False
    """Whether it is a label image of another image, in whose ``labels`` it lies."""

    archive: ZipTarget | None = None
    """The one file that `store` is packed into at the end."""

    @property
    def place(self) -> str:
        """Where a reader finds it."""
        return self.store.place if self.archive is None else self.archive.path

    @property
    def name(self) -> str:
        """Name of its folder; of a label image, as it is listed."""
        return self.store.place.replace("\\", "/").rsplit("/", 1)[-1]

    def run(self, counter: Counter, *, overwrite: bool, resume: bool, verify: bool) -> ConversionReport:
        """Write the image (see `to_ome_zarr`); `counter` gets the bytes that are done, twice if `verify`."""
        start = time.perf_counter()
        source, plan = self.source, self.plan
        # An interrupted conversion is resumed only if its metadata had the same digest; ranges are measured on the way.
        planned = self._documents(None)
        identity = source_identity(source)
        if unknown := without_version(source):
            # A different text each time, so that this conversion is never resumed.
            identity |= {"unversioned": [*unknown, uuid.uuid4().hex]}
        settings = self._settings(identity, planned)
        if self.archive is not None:
            made = self.archive.finished(settings, overwrite=overwrite, resume=resume)
            if made is not None:
                units = noted_units(made) or {}
                return self._report(units, len(units), *_learned({}, made.get("learned", {})), verify, start)
        with Transaction(self.store, settings, overwrite=overwrite, resume=resume) as transaction:
            found = sound_units(plan, transaction.store, transaction.done)
            if len(found) < len(transaction.done):
                transaction.repair()
            counter.add(sum(shard.voxels for shard in found if shard.number == 0) * plan.dtype.itemsize)
            client = current_client()
            shared = with_shared_parts(source, plan.workers, plan.spare, client and client.get)
            # Shards share what they read; on a cluster, a task has one thread, and chunks of its own.
            shared = WholeChunks.of(shared, plan.held * (1 if client else plan.workers))
            reader = ShardReader(plan, shared, mask=self.is_masked)
            if found and isinstance(source, ComputedSource):
                require_same_voxels(reader, transaction.store, found)
            units = _write_units(reader, transaction, found, counter, client)
            require_units(plan, transaction.store, units)
            statistics, masked = _learned(units, transaction.learned)
            documents = self._documents(statistics)
            transaction.write_arrays(documents)
            if verify:
                try:
                    compare_levels(reader, transaction.store, counter.add)
                except VerificationError:
                    transaction.withdraw_arrays(documents)
                    raise
            if source_identity(source).get("version") != identity.get("version"):
                raise SourceChangedError(
                    f"{source.spec.storage.location} changed while it was converted: convert it again"
                )
            transaction.publish(documents, units, {"statistics": statistics.as_json(), "masked": masked})
        return self._report(units, len(found), statistics, masked, verify, start)

    def _report(
        self,
        units: Mapping[str, Unit],
        resumed: int,
        statistics: Statistics,
        masked: list[str],
        verified: bool,
        start: float,
    ) -> ConversionReport:
        plan = self.plan
        absent = (f"{counted(self.absent, 'chunk')} never written",) if self.absent else ()
        return ConversionReport(
            target=self.place,
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
            masked=tuple(masked) + absent,
            unknown_steps=() if self.is_below else unknown_steps(self.source.spec),
        )

    def _documents(self, statistics: Statistics | None) -> dict[str, bytes]:
        """All metadata; without `statistics`, the ranges of the voxels are left out."""
        plan = self.plan
        measured = None if statistics is None else statistics.measured(plan.spec)
        if statistics is not None:
            plan = replace(plan, spec=statistics.agreed(plan.spec))
        attributes = ome_attributes(
            plan, name_of(self.place), measured=measured, properties=self.properties, is_below=self.is_below
        )
        return metadata_documents(plan, attributes, attributes_of(plan.spec))

    def _settings(self, identity: dict[str, Any], documents: Mapping[str, bytes]) -> dict[str, Any]:
        """Everything that decides what is written, as plain JSON values."""
        digest = hashlib.sha256()
        for key in sorted(documents):
            digest.update(key.encode() + b"\0" + documents[key] + b"\0")
        on_error = "mask" if self.is_masked else "raise"
        return (
            identity
            | self.plan.settings()
            | {"library": __version__, "on_error": on_error, "metadata": digest.hexdigest()}
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
