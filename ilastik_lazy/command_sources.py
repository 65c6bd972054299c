"""What the commands open, and print of it; xarray is imported for projects only."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ilastik_lazy.text import printable

if TYPE_CHECKING:
    from ilastik_lazy.limits import Limits
    from ilastik_lazy.location import Location
    from ilastik_lazy.spec import ArraySource

__all__ = [
    "image_options",
    "is_project",
    "location_of",
    "print_images",
    "print_project",
    "source_at",
    "sources_in",
    "storage_options",
]

_ENDPOINT = "ilastik_lazy.endpoint"


def print_images(path: str, sources: list[ArraySource]) -> None:
    """Print what a person asks of each image of a file."""
    from ilastik_lazy.sizes import human_bytes
    from ilastik_lazy.terminal import describe

    size = f"  ({human_bytes(os.path.getsize(path))} on disk)" if os.path.isfile(path) else ""
    click.echo(f"{click.style(printable(path), bold=True)}{size}")
    for source in sources:
        click.echo(f"  {click.style(printable(_inside(source, path) or source.spec.name), bold=True)}")
        for label, text in describe(source.spec):
            click.echo(f"    {label:8} {printable(text)}")


def is_project(file: str) -> bool:
    """Whether the name is that of a project."""
    return file.lower().endswith(".ilp")


def print_project(path: str, limits: Limits) -> None:
    """Print lanes, roles and classes of a project, and where its images are."""
    from ilastik_lazy.errors import MissingSourceWarning
    from ilastik_lazy.project_tree import open_project
    from ilastik_lazy.terminal import describe_project

    with warnings.catch_warnings():
        # What is missing stands in the table, lane by lane.
        warnings.simplefilter("ignore", MissingSourceWarning)
        tree = open_project(path, chunks=None, limits=limits)
    click.echo(click.style(printable(path), bold=True))
    for label, text in describe_project(tree):
        click.echo(f"  {label:10} {printable(text)}")


def storage_options() -> dict[str, str] | None:
    """How objects are reached, as the command line says."""
    endpoint = click.get_current_context().meta.get(_ENDPOINT)
    return {"endpoint_url": endpoint} if endpoint else None


def location_of(file: str, dataset: str | None) -> Location:
    """The location that the command line names."""
    from ilastik_lazy.location import Location
    from ilastik_lazy.object_store import is_url

    return Location.parse(file, dataset, storage_options() if is_url(file) else None)


def _inside(source: ArraySource, path: str) -> str:
    return source.spec.storage.location.removeprefix(path).lstrip("/")


def sources_in(
    file: str, dataset: str | None, axes: str | None, project: str | None, limits: Limits
) -> list[ArraySource]:
    """Sources of all images of a file, or of the one that was named; no xarray is needed for these."""
    from ilastik_lazy.sources import open_sources

    location = location_of(file, dataset)
    paths = [location.internal_path] if location.internal_path else None
    sources = open_sources(location, paths, axes=axes, limits=limits)
    if project is None:
        return sources
    from ilastik_lazy.project import with_classes

    return [with_classes(source, project, limits) for source in sources]


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
