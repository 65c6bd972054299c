"""The command that writes an image as ilastik's HDF5 or N5."""

from __future__ import annotations

from typing import Literal

import click

from ilastik_lazy.cli.options import image_options, kind_option, source_at
from ilastik_lazy.cli.running import Command

__all__ = ["export"]


@click.command(cls=Command, short_help="Write an image as ilastik's HDF5 or N5.")
@click.argument("file")
@click.argument("target")
@image_options("local")
@kind_option
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
    file: str,
    target: str,
    dataset: str | None,
    axes: str | None,
    project: str | None,
    compression: str,
    overwrite: bool,
    on_error: Literal["raise", "mask"],
    workers: int | None,
    quiet: bool,
) -> None:
    """Write the image in FILE as ilastik opens it: TARGET.h5 or TARGET.n5, with its axes and voxel size.

    \b
    ilastik-lazy export stack.tif stack.h5
    """
    source = source_at(file, dataset, axes, project)
    from ilastik_lazy.showing.progress import progress_bar
    from ilastik_lazy.writers.ilastik import to_ilastik

    with progress_bar("exporting", quiet=quiet) as progress:
        report = to_ilastik(
            source,
            target,
            compression=None if compression == "none" else "gzip",
            overwrite=overwrite,
            on_error=on_error,
            workers=workers,
            progress=progress,
        )
    if not quiet:
        click.echo(str(report))
