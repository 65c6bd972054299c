"""The command that writes an image as ilastik's HDF5 or N5, or as OME-TIFF."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import click

from ilastik_lazy.cli.batch.options import batch_given, batch_options, pyramid_options
from ilastik_lazy.cli.options import (
    image_options,
    kind_option,
    source_at,
)
from ilastik_lazy.cli.running import Command

if TYPE_CHECKING:
    from ilastik_lazy.showing.progress import Callback
    from ilastik_lazy.writers.tiff import TiffReport

__all__ = ["export"]


@click.command(cls=Command, short_help="Write an image as HDF5 or N5 for ilastik, or as OME-TIFF.")
@click.argument("files", nargs=-1, required=True, metavar="FILE... [TARGET]")
@image_options("local")
@kind_option
@batch_options("a file")
@click.option(
    "--suffix",
    default=".h5",
    show_default=True,
    metavar=".h5",
    help="Ending of the files in --out-dir: .h5, .n5 or .ome.tif.",
)
@click.option("--resume", is_flag=True, help="Keep the files that are already in --out-dir, and write the others.")
@click.option(
    "--compression",
    type=click.Choice(["gzip", "none"]),
    default="gzip",
    help="Compression; in TIFF, gzip is called deflate.",
)
@pyramid_options("TIFF: ")
@click.option("--memory", metavar="SIZE", help="TIFF: maximum memory to use, such as 2GB.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET once the new file is complete.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "mask"]),
    default="raise",
    show_default=True,
    help="If chunks of FILE were never written: stop (raise), or fill them (mask); for TIFF, damaged chunks, too.",
)
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no summary.")
def export(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    compression: str,
    levels: int | None,
    downsample: str,
    memory: str | None,
    workers: int | None,
    overwrite: bool,
    on_error: Literal["raise", "mask"],
    quiet: bool,
    suffix: str,
    resume: bool,
) -> None:
    """Write the image in FILE with its axes and voxel size: TARGET.h5 or TARGET.n5 for ilastik, or TARGET.ome.tif.

    TARGET.h5/PATH names the dataset, which is added if the file exists.

    \b
    ilastik-lazy export stack.tif stack.h5
    ilastik-lazy export labels.tif stack.h5/labels
    ilastik-lazy export brain_Probabilities.h5 brain.ome.tif
    ilastik-lazy export 'raw/*.tif' --out-dir for_ilastik

    A pattern in quotes stands for many images. A file that fails does not stop the others: it is listed at the end,
    and the exit code is 1.
    """
    batch = batch_given()
    from ilastik_lazy.cli.batch.names import images_and_targets

    if resume and batch.out_dir is None:
        raise click.UsageError("--resume is for --out-dir")
    images, targets = images_and_targets(files, batch.out_dir, suffix, may_exist=resume or overwrite)
    from ilastik_lazy.cli.batch.record import Record
    from ilastik_lazy.cli.batch.run import Made, memory_of_each, run_batch, threads_of_each
    from ilastik_lazy.core.size_text import human_bytes
    from ilastik_lazy.formats.suffixes import CONTAINER, TIFF_SUFFIXES
    from ilastik_lazy.writers.ilastik import ExportReport, to_ilastik
    from ilastik_lazy.writers.tiff import to_tiff

    is_tiff = all(target.lower().endswith(TIFF_SUFFIXES) for target in targets.values())
    options: dict[str, Any] = {"workers": threads_of_each(workers, batch.jobs)}
    options |= {"compression": None if compression == "none" else "gzip", "overwrite": overwrite, "on_error": on_error}
    if is_tiff:
        options |= {"levels": levels, "downsample": downsample, "memory": memory_of_each(memory, batch.jobs)}
    elif levels is not None or downsample != "auto" or memory is not None:
        raise click.UsageError("--levels, --downsample and --memory are for a TARGET that is a TIFF")

    record = None if batch.out_dir is None else Record(batch.out_dir)

    def work(name: str, progress: Callback | None) -> Made:
        target = targets[name]
        source = source_at(images[name], dataset, axes, project)
        if record is not None and resume and record.has(target, source, overwrite=overwrite):
            return Made(target, f"{target}: written by an earlier run", is_old=True)
        report: TiffReport | ExportReport
        if is_tiff:
            report = to_tiff(source, target, progress=progress, **options)
        elif record is None and (parts := re.fullmatch(rf"(.*?{CONTAINER})[/\\](.+)", target, re.IGNORECASE)):
            report = to_ilastik(source, parts[1], parts[2], progress=progress, **options)
        else:
            report = to_ilastik(source, target, progress=progress, **options)
        if record is not None:
            record.add(target, source)
        shape = report.shape if isinstance(report, ExportReport) else report.levels[0]
        facts = {"shape": list(shape), "dtype": str(report.dtype), "bytes_written": report.bytes_written}
        return Made(target, str(report), human_bytes(report.bytes_written), facts)

    again = "run the same command with --resume" if batch.out_dir is not None else ""
    run_batch(list(images), work, batch, doing="exporting", done="exported", quiet=quiet, again=again)
