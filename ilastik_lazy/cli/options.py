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
    "BESIDE",
    "given",
    "image_beside",
    "image_options",
    "kind_option",
    "location_of",
    "memory_given",
    "memory_option",
    "options_given",
    "options_of",
    "remembered",
    "selections_given",
    "sized",
    "source_at",
    "source_roots_option",
    "stack_given",
    "stack_options",
    "storage_options",
    "table_memory_option",
    "trust_option",
    "with_selection",
]

_Command = Callable[..., None]
_AXES = "tzyxc"
BESIDE = "tzyx"
"""Axes that an image shares with another one beside it."""


def stack_given() -> tuple[str | None, Any]:
    """Return the axis along which all files are one image, None if they are not, and their order if it is given."""
    return given("stack"), given("order")


def storage_options() -> dict[str, Any] | None:
    """Return the options for object storage from the command line."""
    return {name: value for name in ("endpoint_url", "region", "profile", "anon") if (value := given(name))} or None


def options_given(axes: str | None = None) -> OpenOptions:
    """Return the options of opening from the command line."""
    from ilastik_lazy.storage.allowed import checked_options

    by_name = None if axes is None or "=" not in axes else dict(each.rpartition("=")[::2] for each in axes.split(","))
    return checked_options(None, given("trust"), given("allow_external") or (), by_name or axes, given("kind"))


def sized(source: ArraySource) -> ArraySource:
    """Return `source` with the voxel size from the command line; as it is if there is none."""
    if (sizes := given("voxel_size")) is None:
        return source
    from ilastik_lazy.core.views.stated import with_voxel_size

    return with_voxel_size(source, sizes)


def memory_given(default: str) -> str:
    """Return the memory limit from the command line."""
    return given("memory") or default


def location_of(file: str, dataset: str | None) -> Location:
    """Return the location named on the command line."""
    from ilastik_lazy.formats.location import Location
    from ilastik_lazy.storage.object_store import is_url

    return Location.parse(file, dataset, storage_options() if is_url(file) else None)


def source_at(
    file: str | list[str],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    *,
    wants_classes: bool = False,
    selectable: str = _AXES,
    takes_kind: bool = True,
) -> ArraySource:
    """Open an image that a command works on, and take the part that ``--select`` names.

    Parameters
    ----------
    file
        What `batch.names.images_of` returns for it: several files, or a pattern, are a stack.
    wants_classes
        Whether a segmentation, by its file name, that is stored as floating-point numbers becomes integers.
    selectable
        Axes that ``--select`` applies to: see `with_selection`.
    takes_kind
        Whether ``--kind`` is about this image.
    """
    from ilastik_lazy.formats.stack import open_paths
    from ilastik_lazy.storage.object_store import is_url

    options = options_given(axes)
    reached = storage_options() if is_url(file if isinstance(file, str) else file[0]) else None
    along, order = stack_given()
    source = open_paths(file, dataset, along, reached, options, order or "natural")
    from ilastik_lazy.core.kinds import with_classes_of_name, with_kind

    if takes_kind and (kind := given("kind")):
        source = with_kind(source, kind)
    elif wants_classes:
        source = with_classes_of_name(source)
    source = sized(source)
    if project is not None:
        from ilastik_lazy.project.classes import with_classes

        source = with_classes(source, project, options)
    return with_selection(source, selectable)


def image_beside(name: str) -> ArraySource:
    """Open an image beside FILE; the options of FILE such as ``--dataset`` are not for it."""
    from ilastik_lazy.formats.stack import open_paths
    from ilastik_lazy.storage.object_store import is_url

    return open_paths(name, storage_options=storage_options() if is_url(name) else None, options=options_given())


def selections_given() -> list[str]:
    """Return the values of ``--select``."""
    return list(given("select") or ())


def with_selection(source: ArraySource, selectable: str = _AXES) -> ArraySource:
    """Return the part of an image that ``--select`` names.

    Parameters
    ----------
    selectable
        Axes that it applies to.  An image beside another one, such as raw data under labels, has other channels: pass
        `BESIDE`, which lacks ``c``.
    """
    from ilastik_lazy.core.views.selected import selected

    return selected(
        source, [part for part in selections_given() if part.lstrip()[:1].lower() not in set(_AXES) - set(selectable)]
    )


def given(option: str) -> Any:
    """Return the value of an option that is not an argument of its command; None if the command lacks the option."""
    return click.get_current_context().meta.get(f"ilastik_lazy.{option}")


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    context.meta[f"ilastik_lazy.{option.name}"] = value


def remembered(*names: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """Return an option that is not an argument of its command, but is read with `given`."""
    return click.option(*names, expose_value=False, callback=_remember, **attributes)


def trust_option(default: Trust) -> Callable[[_Command], _Command]:
    """Return the option ``--trust``, which `options_given` reads."""
    return remembered(
        "--trust",
        type=click.Choice(["untrusted", "local"]),
        default=default if can_limit_children() else "local",
        show_default=True,
        help="untrusted: the HDF5 library opens FILE only in a separate process, since a malicious file can crash it; "
        "not on Windows.",
    )


kind_option = remembered(
    "--kind",
    metavar="KIND",
    help="What the numbers mean, such as segmentation, if neither FILE nor its name shows it.",
)


memory_option = remembered("--memory", metavar="SIZE", help="Maximum memory to use, such as 500MB [default: 2GiB].")
table_memory_option = remembered("--memory", metavar="SIZE", help="Largest table to read, such as 8GB [default: 4GB].")


def options_of(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return one decorator that adds all `options` to a command; ``--help`` lists the last one first."""

    def decorate(command: _Command) -> _Command:
        for option in options:
            command = option(command)
        return command

    return decorate


stack_options = options_of(
    remembered(
        "--order",
        type=click.Choice(["natural", "text"]),
        help="Order of the FILEs in --stack: t2 before t10 (natural), or after it, as in ilastik (text) "
        "[default: natural for a pattern, else as given].",
    ),
    remembered(
        "--stack",
        type=click.Choice(["t", "z", "c"], case_sensitive=False),
        help="Join all FILEs along this axis into one image [default: each FILE is one image].",
    ),
)
"""The options that make one image of several FILEs, which `images_of` and `source_at` read."""


source_roots_option = click.option(
    "--source-root",
    "source_roots",
    metavar="FOLDER",
    multiple=True,
    help="For a project: another folder to search for its images; may be given several times.",
)


_voxel_size_option = remembered(
    "--voxel-size",
    metavar="SIZES",
    help="Voxel size, such as z=2um,y=0.5um,x=0.5um, if FILE does not state it.",
)


_select_option = remembered(
    "--select",
    metavar="AXIS=PART",
    multiple=True,
    help="Part of the image, such as c=nucleus, z=10:40 (40 excluded) or z=5um:20um (both included); may be given "
    "several times.",
)


def image_options(trust: Trust, *, selects: bool = True) -> Callable[[_Command], _Command]:
    """Return the options of every command that opens an image.

    Parameters
    ----------
    trust
        Default of ``--trust``.
    selects
        Whether the command works on a part of the image, named with ``--select``, and with
        the voxel size of ``--voxel-size``.
    """
    return options_of(
        *((_select_option, _voxel_size_option) if selects else ()),
        remembered(
            "--allow-external",
            metavar="FOLDER",
            multiple=True,
            help="Folder outside FILE that its links may point to; may be given several times.",
        ),
        trust_option(trust),
        click.option("--project", metavar="FILE.ilp", help="ilastik project that made FILE; it names the classes."),
        click.option(
            "--axes",
            metavar="AXES",
            help="Axes in storage order, such as zyxc; or for each image, such as raw=czyx,label=zyx "
            "[default: as stated in FILE].",
        ),
        click.option("--dataset", metavar="PATH", help="Path of the image inside FILE, such as volume/data."),
        remembered(
            "--endpoint-url",
            metavar="URL",
            help="Server of s3:// addresses, such as http://127.0.0.1:9000 [default: AWS_ENDPOINT_URL, or Amazon].",
        ),
        remembered(
            "--region",
            metavar="NAME",
            help="Region of s3:// addresses [default: AWS_REGION, or that of the profile].",
        ),
        remembered(
            "--profile",
            metavar="NAME",
            help="AWS profile in ~/.aws that holds the credentials [default: AWS_PROFILE].",
        ),
        remembered("--anon", is_flag=True, help="Read public buckets without credentials."),
    )
