"""The command that serves images to viewers."""

from __future__ import annotations

import contextlib
import getpass
import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ilastik_lazy.cli.options import BESIDE, image_options, kind_option, source_at, stack_options
from ilastik_lazy.cli.running import Command, wait_for_interrupt
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import printable

if TYPE_CHECKING:
    from ilastik_lazy.core.spec import ArraySpec
    from ilastik_lazy.serving import Server
    from ilastik_lazy.serving.pyramid import Pyramid

__all__ = ["host_option", "serve", "tunnel"]

host_option = click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 for all interfaces.",
)


@click.command(cls=Command, short_help="Serve images to viewers, without converting.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@image_options("local")
@kind_option
@stack_options
@click.option(
    "--labels", metavar="FILE", multiple=True, help="Label image of the first FILE; may be given several times."
)
@host_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on [default: a free one].")
def serve(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    labels: tuple[str, ...],
    host: str,
    port: int,
) -> None:
    """Serve the image in each FILE as OME-Zarr over HTTP, until Ctrl-C.

    Viewers and other programs open the addresses that are printed. Voxels are read from FILE when they are needed.
    A pattern in quotes stands for many images, or, with --stack, for one.

    \b
    ilastik-lazy serve brain_Probabilities.h5 --project brain.ilp
    ilastik-lazy serve 'frames/t*.h5' --stack t
    """
    from ilastik_lazy.cli.batch.names import expanded, images_of

    sources = [source_at(paths, dataset, axes, project) for paths in images_of(files).values()]
    beneath = [source_at(file, dataset, None, project, selectable=BESIDE) for file in expanded(labels)]
    from ilastik_lazy.serving import serve as serve_images

    # What cannot be read is logged, as nobody waits for an exception.
    logging.basicConfig(format="ilastik-lazy: error: %(message)s")
    with contextlib.suppress(KeyboardInterrupt), serve_images(*sources, labels=beneath, host=host, port=port) as server:
        click.echo("\n".join(_described(server)))
        wait_for_interrupt()
    click.echo("\nilastik-lazy: no longer served", err=True)


def tunnel(*ports: int) -> str:
    """Return the command that brings ports of this machine to another one."""
    forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
    return f"ssh {forwards} {getpass.getuser()}@{socket.gethostname()}"


def _described(server: Server) -> Iterator[str]:
    for image, url, older in zip(server.images, server.urls, server.older_urls, strict=True):
        yield _summary(image.pyramid)
        yield f"  {url}"
        yield f"  {older}  (OME-Zarr 0.4, for older programs)"
        for name, pyramid in image.labels.items():
            yield f"  labels/{name}: {_summary(pyramid)}"
    if server.is_local:
        yield f"from another machine: {tunnel(server.port)}, then the same address there"
    yield "Ctrl-C ends it"


def _summary(pyramid: Pyramid) -> str:
    spec: ArraySpec = pyramid.plan.spec
    shape = "  ".join(f"{dim} {length}" for dim, length in zip(spec.dims, spec.shape, strict=True))
    chunks = "gzip chunks are sent as they are" if pyramid.plan.verbatim else "chunks are decoded here"
    levels = counted(len(pyramid.plan.levels), "level")
    return f"{printable(spec.storage.location)}: {spec.kind or 'image'}, {spec.dtype.name}, {shape}; {levels}, {chunks}"
