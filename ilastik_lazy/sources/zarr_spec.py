"""What is known of a Zarr array unread: axes, names, colours and kind, from the array and from the image it is part of.

Where an image lies in space is taken from ``multiscales`` alone: the ``axistags`` that ilastik writes
beside each level repeat the resolution of the finest one.
"""

from __future__ import annotations

import json
import os
import typing
import warnings
from dataclasses import dataclass

from ilastik_lazy.axes import Axis, axes_of, axis_names, parse_axis_names, parse_axistags
from ilastik_lazy.errors import MetadataError, MetadataWarning
from ilastik_lazy.kinds import WHOLE_NUMBERS, kind_from_name
from ilastik_lazy.ome_metadata import Multiscale
from ilastik_lazy.sources.attributes import drange_from
from ilastik_lazy.sources.zarr_layout import ArrayLayout
from ilastik_lazy.sources.zarr_store import Node
from ilastik_lazy.spec import ArraySpec, Kind, Storage

__all__ = ["Home", "array_spec", "is_label_group"]


def is_label_group(inside: str, multiscale: Multiscale) -> bool:
    """Whether the group at the path `inside` holds labels: it says so, or lies in a group ``labels``."""
    return multiscale.is_labels or os.path.basename(os.path.dirname(inside)) == "labels"


@dataclass(frozen=True, slots=True)
class Home:
    """The multiscales that list an array."""

    group: str
    """Folder of the group."""
    multiscale: Multiscale
    level: int


def array_spec(
    node: Node, layout: ArrayLayout, home: Home | None, name: str, storage: Storage, axes: str | None
) -> ArraySpec:
    """Spec of one array.

    Parameters
    ----------
    home
        The multiscales that list it, if any do.
    axes
        Names of the axes where the caller knows better than the store.

    Raises
    ------
    MetadataError
        The axes do not fit the array.
    """
    found, guessed = _axes_in(node, layout, home, storage.location, axes)
    kind = _kind_of(node, layout, home, storage.path, found)
    names, colors = _classes_of(node, layout, home, kind, found)
    return ArraySpec(
        name=name,
        shape=layout.shape,
        dtype=layout.dtype,
        axes=found,
        chunks=layout.chunks,
        storage=storage,
        axes_guessed=guessed,
        channel_names=names,
        channel_colors=colors,
        kind=kind,
        drange=drange_from(node.attributes.get("drange"), storage.location),
        display_mode=mode if isinstance(mode := node.attributes.get("display_mode"), str) else "",
    )


def _axes_in(
    node: Node, layout: ArrayLayout, home: Home | None, where: str, axes: str | None
) -> tuple[tuple[Axis, ...], bool]:
    """The axes, and whether they are a guess."""
    ndim = len(layout.shape)
    tagged = _tagged_axes(node, ndim)
    if home is None:
        labels = layout.names or _texts(node.attributes.get("_ARRAY_DIMENSIONS")) or axis_names(tagged)
        try:
            found, guessed = axes_of(layout.shape, names=axes, dimension_labels=labels)
        except MetadataError as error:
            raise MetadataError(f"{where}: {error}") from error
        if guessed:
            warnings.warn(
                f"{where} names no axes: {''.join(axis_names(found))} is guessed from its shape {layout.shape}; "
                "pass axes= if that is wrong",
                MetadataWarning,
                stacklevel=2,
            )
        return found, guessed
    unset = {axis.name for axis in tagged if axis.scale is None}
    stored = home.multiscale.axes_of_level(home.level, unset)
    if axes is None and len(stored) != ndim:
        raise MetadataError(
            f"{where} has shape {layout.shape}, and multiscales name the axes {''.join(axis_names(stored))}: "
            "pass axes= with one letter of 'tzyxc' a dimension"
        )
    if axes is None:
        return stored, False
    pairs = zip(parse_axis_names(axes, ndim), [*stored, *[None] * ndim][:ndim], strict=True)
    return tuple(axis if axis and axis.name == name else Axis(name) for name, axis in pairs), False


def _tagged_axes(node: Node, ndim: int) -> tuple[Axis, ...]:
    """Axes in ilastik's ``axistags``: names, and which have no resolution; the numbers are the finest's."""
    text = node.attributes.get("axistags")
    if not isinstance(text, str):
        return ()
    try:
        json.loads(text)  # vigra's broken texts are worth a warning only where axes depend on them
        return parse_axistags(text, ndim, node.path) or ()
    except (ValueError, RecursionError):
        return ()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _kind_of(node: Node, layout: ArrayLayout, home: Home | None, store: str, axes: tuple[Axis, ...]) -> Kind | None:
    """What the numbers mean: as ilastik_lazy noted, as ``labels`` say, or by the store's name."""
    is_whole = layout.dtype.kind in "iu"
    noted = node.attributes.get("ilastik_kind")
    if noted in typing.get_args(Kind) and (noted not in WHOLE_NUMBERS or is_whole):
        return typing.cast("Kind", noted)
    if home is not None and is_label_group(home.group, home.multiscale):
        return "labels" if is_whole else None
    names = axis_names(axes)
    return kind_from_name(store, layout.dtype, layout.shape[names.index("c")] if "c" in names else 1)


def _classes_of(
    node: Node, layout: ArrayLayout, home: Home | None, kind: Kind | None, axes: tuple[Axis, ...]
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the channels; of label images, of their values."""
    names = home.multiscale.channel_names if home is not None else ()
    colors = home.multiscale.channel_colors if home is not None else ()
    if kind in WHOLE_NUMBERS:
        if home is not None and not home.multiscale.is_labels:
            names, colors = (), ()  # omero speaks of channels
        meanings, values = node.attributes.get("flag_meanings"), node.attributes.get("flag_values")
        if not names and isinstance(meanings, str) and values == list(range(1, len(meanings.split()) + 1)):
            names = tuple(meanings.split())
        return names, colors or _noted_colors(node)
    channels = layout.shape[axis_names(axes).index("c")] if "c" in axis_names(axes) else 0
    return names if len(names) == channels else (), colors if len(colors) == channels else ()


def _noted_colors(node: Node) -> tuple[tuple[int, int, int], ...]:
    """The ``class_colors`` that ilastik_lazy notes, such as ``#ffc800``."""
    try:
        made = tuple(bytes.fromhex(text.removeprefix("#")) for text in _texts(node.attributes.get("class_colors")))
    except ValueError:
        return ()
    return tuple((c[0], c[1], c[2]) for c in made) if all(len(c) == 3 for c in made) else ()
