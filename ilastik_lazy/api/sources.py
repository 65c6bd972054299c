"""The sources of the images that a caller names, with what the caller states about them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ilastik_lazy.core.axes import parse_axis_names
from ilastik_lazy.core.options import Axes, OpenOptions, is_called
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.formats import format_of, list_images, open_sources
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.named_image import require_images
from ilastik_lazy.lazy.dataset import variable_names
from ilastik_lazy.project.stated import Stated

__all__ = ["check_arguments", "places_in_tree", "require_known", "require_named", "sources_of"]

_MOST_VARIABLES = 200


def sources_of(
    path: str | os.PathLike[str],
    internal_path: str | None,
    stated: Stated,
    drop_variables: str | Iterable[str] | None,
    storage_options: Mapping[str, Any] | None,
    options: OpenOptions,
) -> dict[str, ArraySource]:
    """The images that become the variables of `open_dataset`, by their names."""
    location = Location.parse(path, internal_path, storage_options)
    inside = [location.internal_path] if location.internal_path else list_images(location, options)
    require_images(inside, location.path)
    if location.internal_path is None:
        require_named(options, inside, location.path)
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    names = {name: path for name, path in variable_names(inside).items() if name not in dropped}
    if len(names) > _MOST_VARIABLES:
        raise ArgumentError(
            f"{location.path} holds {len(names)} images, such as {inside[0]}: name one with {option('internal_path')}"
        )
    sources = open_sources(location, list(names.values()), options)
    return dict(zip(names, stated.views(sources, options), strict=True))


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
