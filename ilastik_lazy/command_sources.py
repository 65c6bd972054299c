"""What the commands open, and the options that say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ilastik_lazy.location import Location
    from ilastik_lazy.spec import ArraySource

__all__ = [
    "image_options",
    "location_of",
    "source_at",
    "storage_options",
]

_ENDPOINT = "ilastik_lazy.endpoint"


def storage_options() -> dict[str, str] | None:
    """How objects are reached, as the command line says."""
    endpoint = click.get_current_context().meta.get(_ENDPOINT)
    return {"endpoint_url": endpoint} if endpoint else None


def location_of(file: str, dataset: str | None) -> Location:
    """The location that the command line names."""
    from ilastik_lazy.location import Location
    from ilastik_lazy.object_store import is_url

    return Location.parse(file, dataset, storage_options() if is_url(file) else None)


def source_at(file: str, dataset: str | None, axes: str | None, project: str | None) -> ArraySource:
    """Source of the one image that a command works on."""
    from ilastik_lazy.object_store import is_url
    from ilastik_lazy.sources.stack import open_paths

    source = open_paths(file, dataset, axes, storage_options=storage_options() if is_url(file) else None)
    if project is None:
        return source
    from ilastik_lazy.project import with_classes

    return with_classes(source, project)


def _remember_endpoint(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[_ENDPOINT] = value


def image_options(command: Callable[..., None]) -> Callable[..., None]:
    """What every command that opens an image takes."""
    for option in (
        click.option("--project", metavar="FILE.ilp", help="Project that made the export: names its classes."),
        click.option("--axes", metavar="AXES", help="Axes in storage order, such as zyxc, if the file is wrong."),
        click.option("--dataset", metavar="PATH", help="Internal path, such as volume/data."),
        click.option(
            "--endpoint-url",
            metavar="URL",
            expose_value=False,
            callback=_remember_endpoint,
            help="S3 server of s3:// names, such as http://127.0.0.1:9000 [default: AWS_ENDPOINT_URL, or Amazon].",
        ),
    ):
        command = option(command)
    return command
