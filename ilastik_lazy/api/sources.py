"""The sources of the images that a caller names, with what the caller states about them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ilastik_lazy.core.axes import parse_axis_names
from ilastik_lazy.core.options import Axes, OpenOptions, is_called
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError, option
from ilastik_lazy.formats import format_of, list_images, open_sources
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.named_image import require_images
from ilastik_lazy.formats.patterns import StackOrder, files_of, images_named
from ilastik_lazy.formats.stack import open_stacks
from ilastik_lazy.lazy.dataset import variable_names
from ilastik_lazy.project.stated import Stated

__all__ = ["check_arguments", "places_in_tree", "require_known", "require_named", "sources_of"]

_MOST_VARIABLES = 200


def sources_of(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    internal_path: str | None,
    stated: Stated,
    drop_variables: str | Iterable[str] | None,
    storage_options: Mapping[str, Any] | None,
    options: OpenOptions,
    along: str | None = None,
    order: StackOrder = "natural",
) -> dict[str, ArraySource]:
    """The images that become the variables of `open_dataset`, by their names; those of several files are stacks."""
    files, named, is_stack = files_of(path, internal_path, storage_options, order)
    if along is not None and not is_stack:
        raise ArgumentError(f"{option('stack_along', along)} is for several files: pass a pattern, or a list of files")
    held = [images_named(file, named, options) for file in files]
    inside, where = held[0], files[0].path
    require_images(inside, where)
    if named is None:
        require_named(options, inside, where)
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    kept = [{name: path for name, path in variable_names(images).items() if name not in dropped} for images in held]
    names, held = kept[0], [list(each.values()) for each in kept]
    _require_same_images(files, held)
    if len(names) > _MOST_VARIABLES:
        raise ArgumentError(
            f"{where} holds {len(names)} images, such as {inside[0]}: name one with {option('internal_path')}"
        )
    wanted = list(names.values())
    if is_stack:
        # A single image may be called after its file.
        each = [wanted if set(wanted) <= set(images) else images for images in held]
        sources = open_stacks(files, each, along, options)
    else:
        sources = open_sources(files[0], wanted, options)
    return dict(zip(names, stated.views(sources, options), strict=True))


def _require_same_images(files: Sequence[Location], held: Sequence[Sequence[str]]) -> None:
    """Raise `DatasetNotFoundError` unless all files hold images of the same paths, or one image each."""
    for file, images in zip(files, held, strict=True):
        lacking = [name for name in held[0] if name not in images]
        more = [name for name in images if name not in held[0]]
        if (lacking or more) and not len(images) == len(held[0]) == 1:
            without, other = (file, files[0]) if lacking else (files[0], file)
            raise DatasetNotFoundError(
                f"{without.path} has no image {(lacking or more)[0]!r}, which {other.path} has: files of a stack must "
                f"hold images of the same names; pass {option('internal_path')} with one, or a pattern, that all have"
            )


def require_named(options: OpenOptions, inside: Collection[str], where: str) -> None:
    """Raise `ArgumentError` if `axes` names an image that is not among those `inside` a file."""
    for name, _ in options.axes_by_name:
        if not any(is_called(path, name) for path in inside):
            held = ", ".join(list(inside)[:8])
            raise ArgumentError(f"{option('axes')} names an image {name!r}, which is not in {where}; it holds {held}")


def require_known(options: OpenOptions, source: ArraySource) -> None:
    """Raise `ArgumentError` if `axes` names an image that is not in the file of `source`; a stack is not looked at."""
    where = source.spec.storage.path
    if where and all(not is_called(source.spec.name, name) for name, _ in options.axes_by_name):
        require_named(options, list_images(Location.parse(where), options), where)


def check_arguments(axes: Axes | None, order: str | None = None) -> None:
    """Check names of axes before a file is opened, so that a bad call is not reported as a bad file."""
    given = axes.values() if isinstance(axes, Mapping) else (axes,)
    for names in (*given, order):
        if names is not None:
            parse_axis_names(names)


def places_in_tree(location: Location, options: OpenOptions) -> dict[str, str]:
    """Internal paths of the images at `location`, by their nodes."""
    if location.internal_path:
        return {location.internal_path: location.internal_path}
    places = format_of(location, options).tree(location, options)
    require_images(places, location.path)
    require_named(options, [*places.values()], location.path)
    above = {place.rsplit("/", k)[0] for place in places for k in range(1, place.count("/") + 1)}
    if above.isdisjoint(places):
        return places
    # A node hands its coordinates down to the nodes below it, so that none may lie inside another.
    return {place.replace("/", "_"): internal_path for place, internal_path in places.items()}
