"""The command that counts and measures objects in many files."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from ilastik_lazy.cli.batch.options import batch_given, report_options
from ilastik_lazy.cli.options import (
    BESIDE,
    given,
    image_beside,
    image_options,
    kind_option,
    options_given,
    selections_given,
    source_at,
    storage_options,
    with_selection,
)
from ilastik_lazy.cli.running import Command, Failure, end_with_failed, interrupted, logged_to
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import ArgumentError, DestinationExistsError, IlastikLazyError, printable

if TYPE_CHECKING:
    from ilastik_lazy.cli.objects.run import Outcome
    from ilastik_lazy.cli.objects.table import ObjectTable

__all__ = ["objects"]

_ENDINGS = (".csv", ".parquet")


@click.command(cls=Command, short_help="Count and measure objects in one file or many.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("local")
@kind_option
@report_options
@click.option(
    "--class",
    "classes",
    metavar="CLASS",
    multiple=True,
    help="Class that forms the objects: its name, or its number from 1; may be given several times for a segmentation.",
)
@click.option(
    "--threshold",
    type=float,
    metavar="P",
    help="Minimum probability of an object's voxels, 0 to 1 [default: 0.5]; for images without a known range, the "
    "minimum value.",
)
@click.option("--core", type=float, metavar="P", help="Keep only objects with a core of at least this probability.")
@click.option(
    "--smooth",
    metavar="SIGMA",
    help="Gaussian smoothing before the threshold, in voxels: 1.5, or by axis z=0.5,y=1,x=1.",
)
@click.option("--min-size", type=int, metavar="N", help="Minimum number of voxels of an object (of its core, if any).")
@click.option("--max-size", type=int, metavar="N", help="Maximum number of voxels of an object (of its core, if any).")
@click.option(
    "--connectivity",
    type=int,
    metavar="N",
    help="Neighbours of a voxel: 1 by faces, 2 also by edges, 3 also by corners.",
)
@click.option(
    "--intensity",
    metavar="FILE",
    multiple=True,
    help="Image to measure brightness in, or a pattern in quotes; matched to each FILE by name.",
)
@click.option(
    "--properties",
    metavar="NAMES",
    multiple=True,
    help="What to measure, by scikit-image's names, such as area,centroid,intensity_mean; an unknown name "
    "lists all [default: size, position, and brightness].",
)
@click.option(
    "--labels",
    metavar="OUT.zarr",
    help="Write the label image as OME-Zarr; for several files, one for each into this folder.",
)
@click.option(
    "--unique-ids",
    is_flag=True,
    help="Make the ids in the table and in --labels unique over all frames [default: from 1 in each frame].",
)
@click.option("--out", metavar="FILE", help="Write the table to FILE.csv or FILE.parquet.")
@click.option("--resume", is_flag=True, help="Continue the table in --out, and skip the files that are in it already.")
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no summary.")
def objects(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    classes: tuple[str, ...],
    threshold: float | None,
    core: float | None,
    smooth: str | None,
    min_size: int | None,
    max_size: int | None,
    connectivity: int | None,
    intensity: tuple[str, ...],
    properties: tuple[str, ...],
    labels: str | None,
    unique_ids: bool,
    out: str | None,
    resume: bool,
    workers: int | None,
    quiet: bool,
) -> None:
    """Count and measure the connected objects in each FILE, and put them into one table.

    FILE is a probability map, a segmentation (with --class), or a label image, whose ids are measured as they are.
    A pattern in quotes, such as 'exports/*_Probabilities.h5', stands for many files.

    \b
    ilastik-lazy objects a_Probabilities.h5 --project nuclei.ilp --class nucleus
    ilastik-lazy objects 'exports/*_Probabilities.h5' --class 1 --min-size 200 \\
        --intensity 'raw/*.tif' --out nuclei.csv

    --project names the classes. The settings of its step "Threshold and Size Filter", if there is one, are used
    unless --class, --threshold, --core, --smooth or a size is given.

    --intensity: an image belongs to the FILE whose name begins like its own, as control_1.tif belongs to
    control_1_Probabilities.h5. If no names match, give as many images as files, in the same order, each with its
    own --intensity.

    The table has a column for the file (source) and for units: length_unit for centroids, area_unit for area (a
    volume in 3-D); num_pixels counts voxels. It is written after each file. A file that fails does not stop
    the others: it is listed at the end, and the exit code is 1. Run the same command with --resume to try it again,
    or to continue after a stop. Label images that are missing or damaged are then written again, too.
    """
    from ilastik_lazy.cli.batch.names import expanded
    from ilastik_lazy.cli.batch.run import Made, write_report
    from ilastik_lazy.cli.objects.files import label_targets, paired
    from ilastik_lazy.cli.objects.labels import Settings, labels_of
    from ilastik_lazy.cli.objects.run import Job, Outcome, job_of, open_jobs, run_jobs
    from ilastik_lazy.cli.objects.table import ObjectTable, locked
    from ilastik_lazy.core.parallel import threads_for
    from ilastik_lazy.reductions.objects.columns import DEFAULT_PROPERTIES, PROPERTIES, unknown_property
    from ilastik_lazy.reductions.objects.crops import OF_WHOLE_OBJECTS
    from ilastik_lazy.showing.progress import progress_bar

    if resume and out is None:
        raise ArgumentError("--resume continues the table of --out: name it")
    threads_for(workers)
    settings = Settings(classes, threshold, core, smooth, min_size, max_size, connectivity)
    names = expanded(files)
    images = dict(zip(names, paired(names, intensity), strict=True))
    targets = dict(zip(names, label_targets(names, labels), strict=True))
    measured = [name for text in properties for name in text.replace(",", " ").split()] or list(DEFAULT_PROPERTIES)
    known = [*PROPERTIES, *OF_WHOLE_OBJECTS]
    if unknown := [name for name in measured if name not in known]:
        raise unknown_property(unknown[0], known)
    _check_outputs(out, targets, resume)
    click.get_current_context().with_resource(locked(out))
    # Only --connectivity can be combined with the settings of a project.
    is_from_project = settings.given in ([], ["--connectivity"]) and _has_settings(project)
    table = ObjectTable(
        out,
        names,
        {
            "--class": list(classes), "--threshold": threshold, "--core": core, "--smooth": smooth,
            "--min-size": min_size, "--max-size": max_size, "--connectivity": connectivity, "--axes": axes,
            "--kind": given("kind"), "--select": selections_given(),
            "--dataset": dataset, "--project": None if project is None else _version(project),
            "--properties": measured, "--labels": labels, "--unique-ids": unique_ids or None,
        },
        resume,
    )  # fmt: skip

    def open_job(name: str) -> Job:
        source = source_at(name, dataset, axes, None if is_from_project else project, wants_classes=True)
        image = images[name]
        raw = None if image is None else with_selection(image_beside(image), BESIDE)
        found = labels_of(source, settings, project if is_from_project else None, options_given().trust)
        return job_of(name, source, found, raw, targets[name], storage_options(), unique_ids=unique_ids)

    outcome, batch, start = Outcome(), batch_given(), time.perf_counter()
    click.get_current_context().with_resource(logged_to(batch.log_file))
    try:
        jobs = open_jobs(names, open_job, outcome)
        with progress_bar("measuring", quiet=quiet) as progress:
            options: dict[str, Any] = {"properties": measured, "workers": workers, "resume": resume}
            run_jobs(jobs, table, outcome, progress=progress, **options)
    except KeyboardInterrupt:
        interrupted(
            f"{out} has {counted(len(table.rows), 'file')}: run the same command with --resume to continue"
            if out is not None and table.rows
            else "nothing was written"
        )
    finally:
        if batch.report is not None:
            made: dict[str, Made | Failure] = {
                name: Made(out or "", "", facts={"objects": count}) for name, count in outcome.counts.items()
            }
            made |= {name: Made(out or "", "", is_old=True) for name in outcome.skipped}
            write_report(batch.report, names, {**made, **outcome.failed}, outcome.seconds, time.perf_counter() - start)
    _report(names, outcome, table, quiet)


def _check_outputs(out: str | None, targets: dict[str, str | None], resume: bool) -> None:
    """Reject names that cannot be written, before anything is read."""
    from ilastik_lazy.cli.results import check_output
    from ilastik_lazy.storage.object_store import is_url

    if out is not None and not (os.path.isfile(out) and out.endswith(_ENDINGS)):
        check_output(out, _ENDINGS)
    for target in targets.values():
        if target is not None and not resume and not is_url(target) and os.path.lexists(target):
            raise DestinationExistsError(f"{target} already exists: remove it first, or pass --resume")


def _has_settings(project: str | None) -> bool:
    """Whether a project says what an object is, and does not only name classes."""
    from ilastik_lazy.project.thresholding import thresholding_settings

    if project is None:
        return False
    try:
        thresholding_settings(project, options_given().trust)
    except ArgumentError:
        return False
    return True


def _version(project: str) -> list[str]:
    from ilastik_lazy.storage.folders import version_of

    return [project, version_of(project)]


def _report(names: list[str], outcome: Outcome, table: ObjectTable, quiet: bool) -> None:
    """Print a line for each file, those that failed last, and exit with 1 if there are any."""
    if len(names) == 1 and isinstance(error := outcome.failed.get(names[0]), IlastikLazyError):
        raise error
    if not quiet:
        for name in names:
            if name in outcome.counts:
                click.echo(f"{printable(name)}: {counted(outcome.counts[name], 'object')}")
        if outcome.skipped:
            click.echo(f"{counted(len(outcome.skipped), 'file')} measured by an earlier run")
        if table.path is not None and table.rows:
            click.echo(f"{table.path}: {counted(table.count, 'object')} of {counted(len(table.rows), 'file')}")
        elif table.path is None and outcome.counts:
            click.echo("add --out nuclei.csv to keep the table")
    if outcome.failed:
        again = "" if table.path is None else "; run the same command with --resume to retry them"
        end_with_failed(outcome.failed, len(names), again)
