"""The command that writes an image as ilastik's HDF5 or N5, or as OME-TIFF."""

from __future__ import annotations

import re
from typing import Any, Literal

import click

from ilastik_lazy.cli.options import image_options, kind_option, source_at
from ilastik_lazy.cli.running import Command

__all__ = ["export"]


@click.command(cls=Command, short_help="Write an image as ilastik's HDF5 or N5, or as OME-TIFF.")
@click.argument("file")
@click.argument("target")
@image_options("local")
@kind_option
@click.option(
    "--compression", type=click.Choice(["gzip", "none"]), default="gzip", help="gzip is called deflate in a TIFF."
)
@click.option(
    "--levels", type=int, metavar="N", help="TIFF: resolutions, the full one included [default: down to 256]."
)
@click.option(
    "--downsample",
    type=click.Choice(["auto", "mean", "mode", "nearest"]),
    default="auto",
    show_default=True,
    help="TIFF: how levels are made: mean for images, mode or nearest for labels; the report says why.",
)
@click.option("--memory", metavar="SIZE", help="TIFF: most memory to use, such as 2GB.")
@click.option("--workers", type=int, metavar="N", help="Threads [default: all cores].")
@click.option("--overwrite", is_flag=True, help="Replace TARGET once the new file is complete.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "mask"]),
    default="raise",
    show_default=True,
    help="Chunks of FILE that were never written: refuse it, or fill them; for a TIFF also damaged chunks.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def export(
    file: str,
    target: str,
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
) -> None:
    """Write the image in FILE with its axes and voxel size: TARGET.h5 or TARGET.n5 for ilastik, or TARGET.ome.tif.

    TARGET.h5/PATH names the dataset, which is added if the file exists.

    \b
    ilastik-lazy export stack.tif stack.h5
    ilastik-lazy export labels.tif stack.h5/labels
    ilastik-lazy export brain_Probabilities.h5 brain.ome.tif
    """
    from ilastik_lazy.formats.suffixes import CONTAINER, TIFF_SUFFIXES

    options: dict[str, Any] = {"workers": workers, "overwrite": overwrite, "on_error": on_error}
    is_tiff = target.lower().endswith(TIFF_SUFFIXES)
    if is_tiff:
        options |= {"levels": levels, "downsample": downsample, "memory": memory}
    elif levels is not None or downsample != "auto" or memory is not None:
        raise click.UsageError("--levels, --downsample and --memory are for a TARGET that is a TIFF")
    elif parts := re.fullmatch(rf"(.*?{CONTAINER})[/\\](.+)", target, re.IGNORECASE):
        target, options["internal_path"] = parts.groups()
    source = source_at(file, dataset, axes, project)
    from ilastik_lazy.showing.progress import progress_bar
    from ilastik_lazy.writers.ilastik import to_ilastik
    from ilastik_lazy.writers.tiff import to_tiff

    options["compression"] = None if compression == "none" else "gzip"
    with progress_bar("exporting", quiet=quiet) as progress:
        report = (to_tiff if is_tiff else to_ilastik)(source, target, progress=progress, **options)
    if not quiet:
        click.echo(str(report))
