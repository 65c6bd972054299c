"""The command that writes an image as ilastik's HDF5 or N5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ilastik_lazy.cli.batch.names import images_and_targets
from ilastik_lazy.cli.batch.options import batch_given, batch_options
from ilastik_lazy.cli.options import (
    image_options,
    kind_option,
    source_at,
)
from ilastik_lazy.cli.running import Command

if TYPE_CHECKING:
    from ilastik_lazy.showing.progress import Callback

__all__ = ["export"]


@click.command(cls=Command, short_help="Write an image as ilastik's HDF5 or N5.")
@click.argument("files", nargs=-1, required=True, metavar="FILE... [TARGET]")
@image_options("local")
@kind_option
@batch_options("a file")
@click.option(
    "--suffix", default=".h5", show_default=True, metavar=".h5", help="Ending of the files in --out-dir: .h5 or .n5."
)
@click.option("--resume", is_flag=True, help="Keep the files in --out-dir that are there, and write the others.")
@click.option("--compression", type=click.Choice(["gzip", "none"]), default="gzip", help="As in ilastik's two formats.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET once the new file is complete.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "mask"]),
    default="raise",
    show_default=True,
    help="Chunks of FILE that were never written: refuse it, or fill them.",
)
@click.option("--workers", type=int, metavar="N", help="Threads [default: all cores].")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def export(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    compression: str,
    overwrite: bool,
    on_error: Literal["raise", "mask"],
    workers: int | None,
    quiet: bool,
    suffix: str,
    resume: bool,
) -> None:
    """Write the image in FILE as ilastik opens it: TARGET.h5 or TARGET.n5, with its axes and voxel size.

    \b
    ilastik-lazy export stack.tif stack.h5
    ilastik-lazy export 'raw/*.tif' --out-dir for_ilastik

    A pattern in quotes stands for many images. A file that fails does not stop the others: it is listed at the end,
    and the exit code is 1.
    """
    batch = batch_given()
    if resume and batch.out_dir is None:
        raise click.UsageError("--resume is for --out-dir")
    images, targets = images_and_targets(files, batch.out_dir, suffix, may_exist=resume or overwrite)
    from ilastik_lazy.cli.batch.run import Made, is_made, run_batch, threads_of_each
    from ilastik_lazy.core.size_text import human_bytes
    from ilastik_lazy.writers.ilastik import to_ilastik

    def work(name: str, progress: Callback | None) -> Made:
        target = targets[name]
        if resume and is_made(target, images[name], overwrite=overwrite):
            return Made(target, f"{target}: written by an earlier run", is_old=True)
        source = source_at(images[name], dataset, axes, project)
        report = to_ilastik(
            source,
            target,
            compression=None if compression == "none" else "gzip",
            workers=threads_of_each(workers, batch.jobs),
            overwrite=overwrite,
            on_error=on_error,
            progress=progress,
        )
        facts = {"shape": list(report.shape), "dtype": str(report.dtype), "bytes_written": report.bytes_written}
        return Made(target, str(report), human_bytes(report.bytes_written), facts)

    again = "run the same command with --resume" if batch.out_dir is not None else ""
    run_batch(list(images), work, batch, doing="exporting", done="exported", quiet=quiet, again=again)
