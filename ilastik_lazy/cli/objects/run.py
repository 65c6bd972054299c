"""Measure one file after the other: all are opened first, and one that fails does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd
from dask.base import tokenize

from ilastik_lazy.cli.objects.table import ObjectTable
from ilastik_lazy.cli.running import Failure
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import (
    ArgumentError,
    DestinationError,
    DestinationExistsError,
    IlastikLazyError,
    MissingExtraError,
    ResumeMismatchError,
    VerificationError,
)
from ilastik_lazy.lazy.from_xarray import AnySource, as_source, require_written
from ilastik_lazy.reductions.objects import measure_objects
from ilastik_lazy.tables.unique_ids import unique_ids
from ilastik_lazy.writers.ome_zarr.commit.target import store_at
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.identity import source_identity, without_version
from ilastik_lazy.writers.ome_zarr.verify import verify_image

__all__ = ["Job", "Outcome", "job_of", "open_jobs", "run_jobs"]

_log = logging.getLogger("ilastik_lazy.cli")

_ENDS_THE_RUN = (DestinationError, MissingExtraError)
"""Errors that every other file would have, too."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to measure."""

    name: str
    labels: AnySource
    intensity: ArraySource | None
    target: str | None
    """Where the label image goes."""
    storage_options: dict[str, Any] | None
    nbytes: int
    version: str
    """Version of the file and of its intensities; empty if it is not known."""
    unique_ids: bool
    """Whether ids differ between frames."""


@dataclass(slots=True)
class Outcome:
    """What has come of the files, by name."""

    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def open_jobs(names: Sequence[str], open_job: Callable[[str], Job], outcome: Outcome) -> list[Job]:
    """Open all files; those that cannot be opened are noted in `outcome`.

    Raises
    ------
    IlastikLazyError
        None of them can be opened; the error of the first one.
    """
    jobs = []
    for name in names:
        try:
            jobs.append(open_job(name))
        except _ENDS_THE_RUN:
            raise
        except (IlastikLazyError, MemoryError, OSError) as error:
            outcome.failed[name] = error
    if not jobs:
        raise outcome.failed[names[0]]
    return jobs


def job_of(
    name: str,
    source: ArraySource,
    labels: AnySource,
    intensity: ArraySource | None,
    target: str | None,
    storage_options: dict[str, Any] | None,
    *,
    unique_ids: bool,
) -> Job:
    """Return the job of an opened file, whose chunks were all written.

    Raises
    ------
    UnfinishedWriteError
        Some were not.
    ArgumentError
        The label image cannot be written to `target`.
    """
    sources = [source] if intensity is None else [source, intensity]
    for each in sources:
        require_written(each, "raise")
        if target is not None:
            store_at(target, each, storage_options)
    is_known = not any(map(without_version, sources))
    version = tokenize([source_identity(each) for each in sources]) if is_known else ""
    return Job(name, labels, intensity, target, storage_options, as_source(labels).spec.nbytes, version, unique_ids)


def run_jobs(
    jobs: Sequence[Job],
    table: ObjectTable,
    outcome: Outcome,
    *,
    properties: Sequence[str],
    workers: int | None,
    resume: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Measure each file into `table`, and note in `outcome` what came of it."""
    total = sum(_work(job) for job in jobs)
    finished = {job.name for job in jobs if table.has(job.name, job.version) and _has_labels(job, workers)}
    done = sum(_work(job) for job in jobs if job.name in finished)
    if progress is not None:
        progress(done, total)
    for job in jobs:
        if job.name in finished:
            outcome.skipped.append(job.name)
            continue

        start = time.perf_counter()
        _log.info("%s: begun", job.name)
        share = partial(_report_share, progress, done, _work(job), total)
        try:
            outcome.counts[job.name] = _measure(job, table, properties, workers, resume, share)
        except _ENDS_THE_RUN:
            raise
        except (IlastikLazyError, MemoryError, OSError) as error:
            outcome.failed[job.name] = error
        outcome.seconds[job.name] = time.perf_counter() - start
        if job.name in outcome.counts:
            _log.info("%s: %s", job.name, counted(outcome.counts[job.name], "object"))
        done += _work(job)
        share(1.0)


def _report_share(progress: Callable[[int, int], None] | None, before: int, work: int, total: int, part: float) -> None:
    if progress is not None:
        progress(min(before + int(part * work), total), total)


def _work(job: Job) -> int:
    """Bytes to go through: once to measure, and once more to write labels."""
    return job.nbytes * (1 if job.target is None else 2)


def _has_labels(job: Job, workers: int | None) -> bool:
    """Whether the label image of a file is as it was written, if it has one."""
    if job.target is None:
        return True
    try:
        verify_image(job.target, workers=workers, storage_options=job.storage_options)
    except (ArgumentError, VerificationError):
        return False
    return True


def _measure(
    job: Job,
    table: ObjectTable,
    properties: Sequence[str],
    workers: int | None,
    resume: bool,
    share: Callable[[float], None],
) -> int:
    passes = 1 if job.target is None else 2
    frame = measure_objects(
        job.labels,
        job.intensity,
        properties=properties,
        workers=workers,
        progress=lambda done, blocks, _: share(done / blocks / passes),
    )
    if job.unique_ids:
        labels, frame = unique_ids(job.labels, frame)
        job = replace(job, labels=labels)
    if job.target is not None:
        is_known, is_same = job.name in table.rows, table.has(job.name, job.version)
        # One of another version is replaced, and what is damaged in one of this version is written again.
        how = {"overwrite": resume and is_known, "resume": resume and (is_same or not is_known)}
        _write_labels(job, job.target, frame, workers, share, **how)
    table.add(job.name, job.version, frame)
    return len(frame)


def _write_labels(
    job: Job,
    target: str,
    frame: pd.DataFrame,
    workers: int | None,
    share: Callable[[float], None],
    *,
    overwrite: bool,
    resume: bool,
) -> None:
    """Write the label image of a file."""
    # Ids that restart in every frame have no properties in a label image.
    objects = None if frame["label"].duplicated().any() else frame
    try:
        to_ome_zarr(
            job.labels,
            target,
            table=objects,
            workers=workers,
            overwrite=overwrite,
            resume=resume,
            storage_options=job.storage_options,
            progress=lambda done, total: share(0.5 + done / max(1, total) / 2),
        )
    except ResumeMismatchError as error:
        raise DestinationExistsError(
            f"{target} is another image than the objects of {job.name}: remove it, or choose another name for --labels"
        ) from error
