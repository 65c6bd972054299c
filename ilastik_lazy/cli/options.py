"""Options shared by the commands, and the sources that they select."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ilastik_lazy.storage.system import can_limit_children

if TYPE_CHECKING:
    from ilastik_lazy.core.options import OpenOptions, Trust
    from ilastik_lazy.core.spec import ArraySource
    from ilastik_lazy.formats.location import Location

__all__ = [
    "image_options",
    "kind_given",
    "kind_option",
    "location_of",
    "memory_given",
    "memory_option",
    "options_given",
    "source_at",
    "source_roots_option",
    "storage_options",
    "trust_option",
]

_Command = Callable[..., None]


def storage_options() -> dict[str, str] | None:
    """Return the options for object storage from the command line."""
    endpoint = _given("endpoint_url")
    return {"endpoint_url": endpoint} if endpoint else None


def options_given(axes: str | None = None) -> OpenOptions:
    """Return the options of opening from the command line."""
    from ilastik_lazy.storage.allowed import checked_options

    return checked_options(None, _given("trust"), _given("allow_external") or (), axes)


def kind_given() -> Any:
    """Return the kind that the command line states, None if it states none."""
    return _given("kind")


def memory_given(default: str) -> str:
    """Return the memory limit from the command line."""
    return _given("memory") or default


def location_of(file: str, dataset: str | None) -> Location:
    """Return the location named on the command line."""
    from ilastik_lazy.formats.location import Location
    from ilastik_lazy.storage.object_store import is_url

    return Location.parse(file, dataset, storage_options() if is_url(file) else None)


def source_at(
    file: str,
    dataset: str | None,
    axes: str | None,
    project: str | None,
    *,
    wants_classes: bool = False,
    takes_kind: bool = True,
) -> ArraySource:
    """Open the one image that a command works on.

    Parameters
    ----------
    wants_classes
        Whether a segmentation, by its file name, that is stored as floating-point numbers becomes integers.
    takes_kind
        Whether ``--kind`` is about this image.
    """
    from ilastik_lazy.formats.stack import open_paths
    from ilastik_lazy.storage.object_store import is_url

    options = options_given(axes)
    source = open_paths(file, dataset, storage_options=storage_options() if is_url(file) else None, options=options)
    from ilastik_lazy.core.kinds import with_classes_of_name, with_kind

    if takes_kind and (kind := kind_given()):
        source = with_kind(source, kind)
    elif wants_classes:
        source = with_classes_of_name(source)
    if project is None:
        return source
    from ilastik_lazy.project.classes import with_classes

    return with_classes(source, project, options)


def _given(option: str) -> Any:
    """Return the value of an option that is not an argument of its command; None if the command lacks the option."""
    return click.get_current_context().meta.get(f"ilastik_lazy.{option}")


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    context.meta[f"ilastik_lazy.{option.name}"] = value


def _remembered(*names: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """Return an option that is not an argument of its command, but is read with `_given`."""
    return click.option(*names, expose_value=False, callback=_remember, **attributes)


def trust_option(default: Trust) -> Callable[[_Command], _Command]:
    """Return the option ``--trust``, which `options_given` reads."""
    return _remembered(
        "--trust",
        type=click.Choice(["untrusted", "local"]),
        default=default if can_limit_children() else "local",
        show_default=True,
        help="untrusted: the HDF5 library opens FILE only in a separate process, since a malicious file can crash it; "
        "not on Windows.",
    )


kind_option = _remembered(
    "--kind",
    metavar="KIND",
    help="What the numbers mean, such as segmentation, if neither FILE nor its name shows it.",
)


memory_option = _remembered(
    "--memory",
    metavar="SIZE",
    help="Most memory to use, such as 2GB.",
)

source_roots_option = click.option(
    "--source-root",
    "source_roots",
    metavar="FOLDER",
    multiple=True,
    help="For a project: folder that may hold its images, besides its own; may be given several times.",
)


def image_options(trust: Trust) -> Callable[[_Command], _Command]:
    """Return the options of every command that opens an image; `trust` is the default of ``--trust``."""

    def decorate(command: _Command) -> _Command:
        for option in (
            _remembered(
                "--allow-external",
                metavar="FOLDER",
                multiple=True,
                help="Folder that links and references out of FILE may lead to; may be given several times.",
            ),
            trust_option(trust),
            click.option("--project", metavar="FILE.ilp", help="Project that made the export: names its classes."),
            click.option(
                "--axes",
                metavar="AXES",
                help="Axes in storage order, such as zyxc, if the file does not name them or names them wrongly.",
            ),
            click.option("--dataset", metavar="PATH", help="Internal path, such as volume/data."),
            _remembered(
                "--endpoint-url",
                metavar="URL",
                help="S3 server of s3:// names, such as http://127.0.0.1:9000 [default: AWS_ENDPOINT_URL, or Amazon].",
            ),
        ):
            command = option(command)
        return command

    return decorate
