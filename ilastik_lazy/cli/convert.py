"""The commands that write an OME-Zarr and compare it with its source."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ilastik_lazy.cli.batch.options import BatchOptions, batch_given, batch_options, pyramid_options, scheduler_option
from ilastik_lazy.cli.options import (
    BESIDE,
    image_options,
    kind_option,
    options_given,
    source_at,
    storage_options,
)
from ilastik_lazy.cli.running import Command
from ilastik_lazy.errors import MetadataWarning

if TYPE_CHECKING:
    from ilastik_lazy.core.spec import ArraySource
    from ilastik_lazy.showing.progress import Callback

__all__ = ["convert", "verify"]


@click.command(cls=Command, short_help="Write an image as OME-Zarr.")
@click.argument("files", nargs=-1, required=True, metavar="FILE... [TARGET]")
@image_options("local")
@kind_option
@batch_options("an image")
@scheduler_option
@click.option("--memory", metavar="SIZE", help="Maximum memory to use, such as 2GB.")
@pyramid_options()
@click.option(
    "--ome-version",
    type=click.Choice(["0.5", "0.4"]),
    help="OME-Zarr version; 0.4 is for ilastik and older programs [default: 0.5; in an image, its version].",
)
@click.option(
    "--codec",
    type=click.Choice(["auto", "zstd", "gzip", "blosc", "none"]),
    default="auto",
    show_default=True,
    help="Compression; auto keeps gzip chunks as they are, and compresses all others with zstd (0.4: all with blosc).",
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "mask"]),
    default="raise",
    show_default=True,
    help="If a chunk of FILE is damaged: stop (raise), or fill it with NaN or 0 and list it (mask).",
)
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option(
    "--overwrite", is_flag=True, help="Replace the image TARGET once the new one is complete; its labels stay."
)
@click.option("--resume", is_flag=True, help="Continue what was stopped, without writing finished parts again.")
@click.option(
    "--verify", is_flag=True, help="Read TARGET back, and compare every voxel with FILE, before TARGET is finished."
)
@click.option(
    "--table", metavar="FILE", help="Table of the objects in FILE, if FILE is a label image; viewers show its values."
)
@click.option(
    "--labels",
    metavar="[NAME=]FILE",
    multiple=True,
    help="Label image to add to TARGET; may be given several times.",
)
@click.option(
    "--tables",
    metavar="NAME=FILE",
    multiple=True,
    help="Table of the objects in the label image NAME; viewers show its values.",
)
@click.option(
    "--unique-ids",
    is_flag=True,
    help="Make ids unique over all frames, in tables, too; most programs number the objects of each frame from 1 on.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Write nothing; print what would be written, and the memory and time that it would take.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no summary.")
def convert(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    memory: str | None,
    levels: int | None,
    downsample: Any,
    ome_version: Any,
    codec: Any,
    on_error: Any,
    workers: int | None,
    overwrite: bool,
    resume: bool,
    verify: bool,
    table: str | None,
    labels: tuple[str, ...],
    tables: tuple[str, ...],
    unique_ids: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Write the image in FILE as OME-Zarr to TARGET: a folder, one file (.ozx) or s3://bucket/name.

    For many files, pass --out-dir. TARGET may be IMAGE.zarr/labels/NAME: then FILE is added to that image as a label
    image.

    \b
    ilastik-lazy convert brain_Probabilities.h5 brain.zarr --project brain.ilp
    ilastik-lazy convert brain.h5 brain.zarr --labels "cells=brain_Object Identities.h5" --tables cells=brain_table.csv
    ilastik-lazy convert "movie_Object Identities.h5" ids.zarr --unique-ids --table movie_table.csv
    ilastik-lazy convert 'exports/*_Probabilities.h5' --out-dir zarr --resume --report done.json
    ilastik-lazy convert 'frames/t*.h5' movie.zarr --stack t

    A pattern in quotes stands for many images, also inside a file: 'brain.h5/t*'. A file that fails does not stop the
    others: it is listed at the end, and the exit code is 1. With --resume, finished files are not converted again.
    """
    batch = batch_given()
    from ilastik_lazy.cli.batch.names import images_and_targets

    images, targets = images_and_targets(files, batch.out_dir, ".zarr", may_exist=resume or overwrite or dry_run)
    from ilastik_lazy.cli.batch.run import Made, memory_of_each, run_batch, threads_of_each
    from ilastik_lazy.core.size_text import human_bytes
    from ilastik_lazy.tables import open_table
    from ilastik_lazy.tables.unique_ids import with_unique_ids
    from ilastik_lazy.writers.ome_zarr.commit.label_list import lacks_labels
    from ilastik_lazy.writers.ome_zarr.commit.target import is_unfinished
    from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
    from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion

    if (labels or tables or table) and len(images) > 1:
        raise click.UsageError("--table, --labels and --tables belong to one image: convert it by a command of its own")
    options: dict[str, Any] = {
        "memory": memory_of_each(memory, batch.jobs), "levels": levels,
        "downsample": downsample, "workers": threads_of_each(workers, batch.jobs), "codec": codec,
    }  # fmt: skip
    if dry_run:
        from ilastik_lazy.core.display import as_shown
        from ilastik_lazy.listing.describe import describe_plan
        from ilastik_lazy.writers.ome_zarr.plan.estimate import estimate_conversion

        def planned(name: str, _: Callback | None) -> Made:
            source = source_at(images[name], dataset, axes, project)
            if unique_ids and not labels:
                source = with_unique_ids(source, source, None)[0]
            plan = plan_conversion(as_shown(source), version=ome_version or "0.5", **options)
            lines = [*describe_plan(plan, targets[name]), f"  {estimate_conversion(source, plan)}"]
            return Made("", "\n".join(lines), "\n".join(lines))

        run_batch(list(images), planned, BatchOptions(), doing="planning", done="planned", quiet=True, prints=True)
        return
    options |= {"overwrite": overwrite, "resume": resume, "verify": verify, "on_error": on_error}
    options |= {"storage_options": storage_options(), "version": ome_version}
    options["table"] = None if table is None else open_table(table, trust=options_given().trust)
    beneath = _labels_at(labels, project)
    options |= {"labels": beneath, "tables": _tables_at(tables), "unique_ids": unique_ids}

    def work(name: str, progress: Callback | None) -> Made:
        with warnings.catch_warnings():
            if labels:  # whose classes the project names
                warnings.filterwarnings("ignore", ".*: no classes of .* fit its channels", MetadataWarning)
            source = source_at(images[name], dataset, axes, project)
        report = to_ome_zarr(source, targets[name], progress=progress, **options)
        is_old = report.parts > 0 and report.resumed == report.parts
        unknown = ", voxel size unknown" if report.unknown_steps else ""
        summary = f"{human_bytes(report.bytes_written)}{unknown}{', every voxel verified' if report.verified else ''}"
        return Made(targets[name], str(report), summary, report.as_json(), is_old)

    run_batch(
        list(images), work, batch, quiet=quiet, done="converted",
        doing="converting and verifying" if verify else "converting",
        again="run the same command with --resume to continue",
        is_begun=lambda: any(
            is_unfinished(target, storage_options()) or lacks_labels(target, beneath, storage_options())
            for target in targets.values()
        ),
    )  # fmt: skip


def _labels_at(texts: Sequence[str], project: str | None) -> dict[str, ArraySource]:
    """Open label images; one without a name is called after its file."""
    from ilastik_lazy.serving.addresses import name_of_image

    found: dict[str, ArraySource] = {}
    for text in texts:
        name, file = _name_and_file(text)
        source = source_at(file, None, None, project, takes_kind=False, selectable=BESIDE)
        name = name or name_of_image(source.spec)
        if name in found:
            raise click.UsageError(f"--labels: two label images are called {name!r}: name them, --labels NAME=FILE")
        found[name] = source
    return found


def _tables_at(texts: Sequence[str]) -> dict[str, Any]:
    from ilastik_lazy.tables import open_table

    named = dict(map(_name_and_file, texts))
    if "" in named:
        raise click.UsageError(f"--tables: say which label image {named['']} describes, as --tables NAME={named['']}")
    return {name: open_table(file, trust=options_given().trust) for name, file in named.items()}


def _name_and_file(text: str) -> tuple[str, str]:
    """Split ``NAME=FILE``; the name is empty where it is missing, and a file may have ``=`` in its name."""
    name, equals, file = text.partition("=")
    return (name, file) if equals and "/" not in name and not os.path.exists(text) else ("", text)


@click.command(cls=Command, short_help="Check that an OME-Zarr is intact, and equal to its source.")
@click.argument("target")
@click.argument("file", required=False)
@image_options("local")
@click.option("--unique-ids", is_flag=True, help="TARGET was written with --unique-ids.")
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no summary.")
def verify(
    target: str,
    file: str | None,
    dataset: str | None,
    axes: str | None,
    project: str | None,
    unique_ids: bool,
    workers: int | None,
    quiet: bool,
) -> None:
    """Compare the OME-Zarr TARGET with its checksums, and every voxel with FILE, if it is given.

    Label images in TARGET are compared with their checksums, too. A pattern in quotes stands for many TARGETs; then
    leave out FILE. One that fails does not stop the others.

    \b
    ilastik-lazy verify brain.zarr brain_Probabilities.h5
    ilastik-lazy verify 'zarr/*.zarr'
    """
    from ilastik_lazy.cli.batch.names import expanded

    targets = expanded([target])
    if file is not None and len(targets) > 1:
        raise click.UsageError("FILE is the source of one TARGET: name one of each, or many TARGETs alone")
    source = None if file is None else source_at(file, dataset, axes, project)
    from ilastik_lazy.cli.batch.run import Made, run_batch
    from ilastik_lazy.writers.ome_zarr.verify import verify_image

    def work(name: str, progress: Callback | None) -> Made:
        options: dict[str, Any] = {"unique_ids": unique_ids, "workers": workers, "storage_options": storage_options()}
        found = verify_image(name, source, progress=progress, **options)
        return Made("", str(found), "verified")

    run_batch(targets, work, BatchOptions(), doing="verifying", done="verified", quiet=quiet)
