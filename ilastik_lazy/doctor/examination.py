"""Examine a file: open it as `open_*` do, and let every check look at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ilastik_lazy.core.options import Axes, Limits, OpenOptions, Trust
from ilastik_lazy.core.parallel import in_bytes
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.doctor.axes import guessed_axes, unknown_units, unknown_voxel_size
from ilastik_lazy.doctor.chunks import Reading, damaged_chunks, masked_chunks, missing_chunks, read_all, read_some
from ilastik_lazy.doctor.finding import Finding, Report, located, merged
from ilastik_lazy.doctor.labels import unlisted_labels
from ilastik_lazy.doctor.layout import chunk_shape, chunk_size, read_in_one_thread, uncompressed
from ilastik_lazy.doctor.projects import missing_images, named_by, repeated_names
from ilastik_lazy.doctor.refusals import refusal, unfinished_beside
from ilastik_lazy.doctor.tables import label_image_beside, repeated_ids, restarting_ids, unlike_labels
from ilastik_lazy.doctor.values import suspicious_values
from ilastik_lazy.doctor.warned import collected, findings_of
from ilastik_lazy.errors import DatasetNotFoundError, IlastikLazyError, option
from ilastik_lazy.formats import list_images, open_source, open_sources
from ilastik_lazy.formats.location import Location
from ilastik_lazy.listing.contents import Contents, Fields, Images, Project, Table, contents_of, inside
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.storage.allowed import Folders, checked_options

__all__ = ["examine"]

_CHECKS: tuple[Callable[[ArraySpec], Iterator[Finding]], ...] = (
    guessed_axes, unknown_voxel_size, unknown_units, chunk_shape, chunk_size, read_in_one_thread,
    restarting_ids, repeated_names,
)  # fmt: skip
"""Checks of what is known of an image unread."""

_MOST_SAMPLED = 20
"""Images of one file that chunks are tried of, without `full`."""


@shows_progress("reading", 2)
def examine(
    path: str | os.PathLike[str],
    internal_path: str | None = None,
    *,
    full: bool = False,
    axes: Axes | None = None,
    project: str | os.PathLike[str] | None = None,
    source_roots: Sequence[str] = (),
    storage_options: Mapping[str, Any] | None = None,
    memory: str = "4GB",
    workers: int | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> Report:
    """Find what will cause trouble in a file, and what to do about it.

    Only metadata, the index of the chunks and a few chunks are read, so that a large file takes no longer than a
    small one.  The file is not changed.

    Parameters
    ----------
    full
        Read all chunks, and compare a table with all ids of the *Object Identities* beside it.
    project
        The project that made the images: its classes must fit.
    source_roots
        If the file is a project: further folders that may hold its images.
    memory
        Size of the largest table to read.
    workers
        Threads; None takes all cores.
    progress
        With `full`: True shows a progress bar; a function is called with the bytes done and all bytes, of each image.
    internal_path, axes, storage_options, limits, trust, allow_external
        See `open_dataarray`.

    Returns
    -------
    Report
        Its `findings`, errors first, and its `exit_code`: 0, 1 or 2.

    Raises
    ------
    ArgumentError
        An argument is invalid.  What is wrong with the file is a finding, not an error.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> from ilastik_lazy.doctor import examine
    >>> report = examine(sample("probabilities"), project=sample("project"), full=True)
    >>> report.findings, report.exit_code, report.chunks_read == report.chunks
    ((), 0, True)
    """
    assert not isinstance(progress, bool)
    options = checked_options(limits, trust, allow_external, axes)
    name = os.fsdecode(path)
    look = _Look(full, None if project is None else os.fspath(project), workers, progress)
    with collected() as warned:
        try:
            location = Location.parse(name, internal_path, storage_options)
        except IlastikLazyError as error:
            return Report(name, "nothing that opens", (refusal(error, name),))
        findings = [unfinished] if (unfinished := unfinished_beside(location.path)) else []
        findings += masked_chunks(location.path)
        found: Contents
        try:
            found = contents_of(location, options, source_roots=source_roots, memory=memory)
            if isinstance(found, Images):
                findings += _of_main_image(location, options)
            elif isinstance(found, Fields):
                paths = [f"{found.internal_path}/{field}".lstrip("/") for field in found.plate.fields]
                found = Images(found.path, open_sources(location, paths, options))
        except IlastikLazyError as error:
            findings.append(refusal(error, location.path))
            found = _one_by_one(location, options)
        match found:
            case Table():
                findings += _of_table(found, location, options, full=full)
                return Report(name, "table", merged([*findings, *findings_of(warned)]))
            case Project():
                findings += missing_images(found.tree)
                return Report(name, "project", merged([*findings, *findings_of(warned)]))
            case Images():
                if not findings:
                    findings += unlisted_labels(location.path)
                readings = [
                    look.at(number, source, found.path, options, findings)
                    for number, source in enumerate(found.sources)
                ]
        findings += findings_of(warned, [source.spec for source in found.sources], findings)
    return Report(
        name,
        "images" if found.sources else "nothing that opens",
        merged(findings),
        sum(reading.count for reading in readings),
        sum(reading.chunks for reading in readings),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """How the images of a file are looked at."""

    full: bool
    project: str | None
    workers: int | None
    progress: Callable[[int, int], None] | None

    def at(self, number: int, source: ArraySource, file: str, options: OpenOptions, findings: list[Finding]) -> Reading:
        """Examine the image with this number in its file, and add to `findings`."""
        found: list[Finding] = []
        if self.project is not None:
            source, misfits = named_by(source, self.project, options)
            found += misfits
        for check in _CHECKS:
            found += check(source.spec)
        reading = Reading(source.spec)
        try:
            found += missing_chunks(source)
            if self.full:
                progress = in_bytes(self.progress, source.spec)
                reading = read_all(source, workers=self.workers, progress=progress)
            elif number < _MOST_SAMPLED:
                reading = read_some(source)
        except IlastikLazyError as error:
            found.append(refusal(error, source.spec.storage.path))
        found += damaged_chunks(reading)
        is_masked = any(finding.check == "masked-chunks" for finding in findings)
        found += suspicious_values(source.spec, reading.seen, is_masked=is_masked)
        found += uncompressed(source.spec, reading.samples)
        findings += located(found, inside(source, file).strip("/") or source.spec.name)
        return reading


def _of_table(found: Table, location: Location, options: OpenOptions, *, full: bool) -> Iterator[Finding]:
    """Examine a table, and compare it with the label image beside it."""
    yield from repeated_ids(found.table)
    if (labels := label_image_beside(location.path)) is None:
        return
    try:
        yield from unlike_labels(found.table, labels, options, full=full)
    except IlastikLazyError as error:
        yield refusal(error, labels)


def _one_by_one(location: Location, options: OpenOptions) -> Images:
    """Open the images that can be opened of a file in which one cannot."""
    sources = []
    try:
        paths = list_images(location, options) if location.internal_path is None else []
    except IlastikLazyError:
        paths = []
    for path in paths if len(paths) > 1 else ():
        try:
            sources.append(open_source(location.at(path), options))
        except IlastikLazyError:
            continue  # the error of the first of them is reported already
    return Images(location.path, sources)


def _of_main_image(location: Location, options: OpenOptions) -> Iterator[Finding]:
    """Open what `open_dataarray` takes if no image is named."""
    if location.internal_path is not None:
        return
    try:
        open_source(location, options)
    except DatasetNotFoundError as error:
        yield Finding(
            "several-images",
            "warning",
            str(error),
            "commands and functions that take one image do not choose among several",
            f"name one: {option('internal_path')}",
        )
    except IlastikLazyError as error:
        yield refusal(error, location.path)
