"""The command that shows images in a browser."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ilastik_lazy.cli.options import BESIDE, image_options, kind_option, options_given, source_at, stack_options
from ilastik_lazy.cli.running import Command, wait_for_interrupt
from ilastik_lazy.cli.serve import host_option, tunnel
from ilastik_lazy.errors import printable

if TYPE_CHECKING:
    from ilastik_lazy.core.spec import ArraySource
    from ilastik_lazy.viewing.neuroglancer import View

__all__ = ["view"]


@click.command(cls=Command, short_help="Show images in a browser, without converting.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@image_options("local")
@kind_option
@stack_options
@click.option("--raw", metavar="FILE", help="Image to show beneath all others.")
@click.option(
    "--labels",
    metavar="FILE",
    multiple=True,
    help="Label image to show above all others; may be given several times.",
)
@click.option("--table", metavar="FILE", help="Table of the objects in --labels, as HDF5, CSV or Parquet.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@host_option
@click.option(
    "--port",
    type=click.IntRange(0, 65534),
    default=0,
    help="Port of the page; voxels come from the next port [default: free ports].",
)
def view(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    raw: str | None,
    labels: tuple[str, ...],
    table: str | None,
    no_browser: bool,
    host: str,
    port: int,
) -> None:
    """Show the image in each FILE in a browser, with Neuroglancer, until Ctrl-C.

    Each class of --project is a layer with its name and colour, and each column of --table is shown beside the ids.
    Voxels are read from the files when they are looked at; nothing is loaded from the internet. A pattern in quotes
    stands for many images, or, with --stack, for one.

    \b
    ilastik-lazy view brain_Probabilities.h5 --project brain.ilp --raw brain.h5
    ilastik-lazy view brain.h5 --labels "brain_Object Identities.h5" --table brain_table.csv
    """
    from ilastik_lazy.cli.batch.names import expanded, images_of

    # Files on a network, and the first start, take a while.
    named = [*files, *([] if raw is None else [raw]), *labels, *([] if table is None else [table])]
    click.echo(printable(f"ilastik-lazy: opening {', '.join(named)}"), err=True)
    sources = [source_at(paths, dataset, axes, project) for paths in images_of(files).values()]
    beneath = None if raw is None else source_at(raw, None, None, None, selectable=BESIDE)
    above = [_labels_at(file, project) for file in expanded(labels)]
    from ilastik_lazy.tables import open_table
    from ilastik_lazy.viewing.neuroglancer import view as view_images

    rows = None if table is None else open_table(table, trust=options_given().trust)
    # What cannot be read is logged, as nobody waits for an exception.
    logging.basicConfig(format="ilastik-lazy: error: %(message)s")
    with (
        contextlib.suppress(KeyboardInterrupt),
        view_images(
            *sources, raw=beneath, labels=above, table=rows, host=host, port=port, open_browser=not no_browser
        ) as page,
    ):
        click.echo("\n".join(_described(page)))
        wait_for_interrupt()
    click.echo("\nilastik-lazy: no longer shown", err=True)


def _labels_at(file: str, project: str | None) -> ArraySource:
    """Open a label image; a project names the values of those that hold classes."""
    source = source_at(file, None, None, None, selectable=BESIDE)
    return source_at(file, None, None, project, selectable=BESIDE) if source.spec.holds_classes else source


def _described(page: View) -> Iterator[str]:
    for image in page.images:
        spec = image.spec
        kind = "raw image" if image.is_raw else spec.kind or "image"
        shape = "  ".join(f"{dim} {length}" for dim, length in zip(spec.dims, spec.shape, strict=True))
        yield f"{printable(spec.storage.location)}: {kind}, {spec.dtype.name}, {shape}"
    yield f"layers: {', '.join(map(printable, page.layer_names))}"
    yield page.url
    if page.is_local:
        yield f"from another machine: {tunnel(*page.ports)}, then the same address there"
    yield "Ctrl-C ends it"
