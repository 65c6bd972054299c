"""`plot`: a picture of planes through an image, as a matplotlib figure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from ilastik_lazy.core.kinds import with_classes_of_name
from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import unit_symbol
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.lazy.dask_array import window_behind
from ilastik_lazy.lazy.from_xarray import AnySource, absent_chunks, as_labels, as_source
from ilastik_lazy.viewing.pictures.outlines import contours, require_fitting
from ilastik_lazy.viewing.pictures.pixels import Pixels, read_plane
from ilastik_lazy.viewing.pictures.planes import Layout, indices_at, place_of, planes_of
from ilastik_lazy.viewing.pictures.rendering import Rendering, class_legend, elided, mode_of, rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

_SUPERSCRIPTS = {"2": "²", "3": "³"}

# A contour is seen from where a picture of 7 inches is read, and hides little.
_CONTOUR_INCHES = 1 / 90


def plot(
    image: AnySource,
    labels: AnySource | None = None,
    *,
    plane: str | None = None,
    t: float | str | None = None,
    z: float | str | None = None,
    y: float | str | None = None,
    x: float | str | None = None,
    c: int | str | None = None,
    contrast: tuple[float, float] | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw slices of an image to scale, with class colours and names, contours of labels, and a scale bar.

    A volume is shown as three slices at right angles (xy, zy, xz); a stack that is thin as one.  Classes are added in
    their colours; one channel has a colour bar, a segmentation a legend, and each id a colour of its own.

    Only chunks that the slices touch are read.  Slices with more voxels than the figure has pixels are reduced while
    they are read: images to means, labels to the voxel in the middle.

    Parameters
    ----------
    image
        Path of a file, what `open_dataarray` returned or anything computed from it, or an `ArraySource`.
    labels
        Classes, ids or a mask of the same voxels; drawn as contours.  Classes without names have those of the channels
        of `image`, if these are probabilities.
    plane
        One slice instead of those that are chosen, by its axes to the right and down, such as ``"xy"``.
    t, z, y, x
        Where the slices lie, as in xarray's ``.sel(method="nearest")``: a position in the unit of the coordinate or,
        as a text, in another one (``"12.5 um"``); along an axis without coordinate, the index.  The default is the
        middle, and the first frame.  By index: ``il.plot(image.isel(t=3))``.
    c
        One channel, by name or index.
    contrast
        Values shown black and in full colour.  The default is the range that the file notes, such as 0 to 1 of
        probabilities, or else percentiles 0.2 and 99.8 of what is shown.
    dpi
        Pixels per inch, of which the slices take 7: how fine the picture is, and how much is kept of large slices.

    Returns
    -------
    matplotlib.figure.Figure
        It is made without pyplot, so nothing is shown by itself: a notebook displays it as the result of a cell,
        and ``figure.savefig("picture.png")`` writes it.

    Raises
    ------
    MissingExtraError
        matplotlib is missing: it comes with the extra ``plot``.
    ArgumentError
        There is no such position, channel or plane, or `labels` do not fit `image`.
    CorruptChunkError, SourceError
        A slice cannot be read; nothing is drawn.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    >>> figure = il.plot(prob, z=12.5)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['xy, z = 12.8 µm', 'zy, x = 20 µm', 'xz, y = 16 µm']
    >>> figure = il.plot(prob, plane="xy")
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['nucleus', 'background']
    """
    require_package("matplotlib", "plot", "plot draws with matplotlib")
    from ilastik_lazy.viewing.pictures.figure import draw

    source = with_classes_of_name(as_source(image))
    spec = source.spec
    given = {"t": t, "z": z, "y": y, "x": x, "c": c}
    indices = indices_at(spec, {dim: wanted for dim, wanted in given.items() if wanted is not None})
    mode = mode_of(spec, indices)
    if "c" in spec.dims and mode in ("labels", "values"):
        indices.setdefault("c", 0)
    layout = Layout.of(spec, planes_of(spec, indices, plane), _positive(dpi))
    over = None if labels is None else as_labels(labels)
    if over is not None:
        require_fitting(over.spec, spec)
    contrast = _ordered(contrast)  # before anything is read
    method: Literal["mean", "nearest"] = "nearest" if mode == "labels" else "mean"
    pixels = [read_plane(source, each, layout.steps(each), method) for each in layout.planes]
    rendering = rendered(pixels, spec, mode, indices.get("c", 0), contrast)
    if rendering.bar is not None and (quantity := _quantity_of(image)):
        rendering = replace(rendering, bar=replace(rendering.bar, label=elided(quantity)))
    if over is not None:
        rendering = _outlined(rendering, over, layout, _class_names(image, spec))
    notes = [layout.rulers.note, _reduction(layout, method), _never_written(source)]
    places = [_place(spec, dim, indices[dim]) for dim in ("t", "c") if dim in indices and layout.lengths[dim] > 1]
    title = ", ".join([_name_of(spec), *_places_taken(image), *places])
    return draw(layout, spec, rendering, title, [note for note in notes if note])


def _quantity_of(image: AnySource) -> str:
    """Return the name of values that have a unit of their own, such as those of `paint`, with this unit; else ''."""
    if not isinstance(image, xr.DataArray) or not image.attrs.get("units"):
        return ""
    base, *power = str(image.attrs["units"]).split("^")
    unit = unit_symbol(base) + "".join(_SUPERSCRIPTS.get(text, f"^{text}") for text in power)
    return f"{image.attrs.get('long_name') or image.name or 'value'} [{unit}]"


def _positive(dpi: float) -> float:
    if not 0 < dpi <= 2400:
        raise ArgumentError(f"{option('dpi', dpi)}: expected a number from 1 to 2400")
    return dpi


def _ordered(contrast: tuple[float, float] | None) -> tuple[float, float] | None:
    if contrast is None:
        return None
    try:
        low, high = map(float, contrast)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"contrast={contrast!r}: expected two numbers, the smaller one first") from error
    if not (np.isfinite((low, high)).all() and low < high):
        raise ArgumentError(f"{option('contrast', *contrast)}: expected two numbers, the smaller one first")
    return low, high


def _class_names(image: AnySource, spec: ArraySpec) -> ArraySpec | None:
    """Return a spec with the names and colours of all classes, if the channels of `image` are the classes."""
    count = spec.channels
    is_of_classes = spec.kind == "probabilities" or (spec.kind is None and spec.dtype.kind == "f")
    if isinstance(image, xr.DataArray):
        # Channels that were chosen or turned round have other numbers than the classes.
        behind = window_behind(image.variable)
        is_of_classes &= behind is not None and behind.source.spec.channel_names == spec.channel_names
    return spec if is_of_classes and 1 < count == len(spec.channel_names) else None


def _named_as(names: ArraySpec | None, labels: ArraySpec, planes: Sequence[Pixels]) -> ArraySpec:
    """Name classes that have no names as the channels of the image, if there are enough of them."""
    if names is None or labels.channel_names or not labels.holds_classes:
        return labels
    if max(pixels.max() for pixels in planes) > len(names.channel_names):
        return labels
    return replace(labels, channel_names=names.channel_names, channel_colors=names.channel_colors)


def _outlined(rendering: Rendering, labels: ArraySource, layout: Layout, names: ArraySpec | None) -> Rendering:
    """Add the contours of `labels` in each plane, and the names of the classes; `names` are those of the image."""
    drawn = []
    for plane in layout.planes:
        at = {dim: 0 if dim == "c" else plane.at.get(dim, 0) for dim in labels.spec.dims if dim not in plane.name}
        pixels = read_plane(labels, replace(plane, at=at), layout.steps(plane), "nearest")[0]
        # About as fine as the figure is, so that lines are equally wide along both axes.
        rooms = [size / n for size, n in zip(layout.pixels(plane), pixels.shape, strict=True)]
        times, width = [max(1, round(room)) for room in rooms], _CONTOUR_INCHES * layout.dpi
        widths = [max(1, round(width * n / room)) for n, room in zip(times, rooms, strict=True)]
        drawn.append((pixels, times, widths))
    spec = _named_as(names, labels.spec, [pixels for pixels, *_ in drawn])
    overlays, seen = zip(*(contours(pixels, spec, *sizes) for pixels, *sizes in drawn), strict=True)
    outlines = tuple(entry for entry in class_legend(seen, spec) if entry not in rendering.legend)
    return replace(rendering, overlays=overlays, outlines=outlines)


def _reduction(layout: Layout, method: str) -> str:
    down, across = max(map(layout.steps, layout.planes))
    if max(down, across) == 1:
        return ""
    return f"each pixel is {'the mean' if method == 'mean' else 'the middle one'} of {down} x {across} voxels"


def _never_written(source: ArraySource) -> str:
    absent = absent_chunks(source)
    return f"{counted(absent, 'chunk')} of the file were never written: drawn as the fill value" if absent else ""


def _name_of(spec: ArraySpec) -> str:
    """Return the name of the file with the internal path, or of what was computed."""
    location, folder = spec.storage.location, os.path.dirname(spec.storage.path)
    return elided(location[len(folder) :].lstrip("/") if folder and location.startswith(folder) else location, 80)


def _place(spec: ArraySpec, dim: str, index: int) -> str:
    is_named = dim == "c" and index < len(spec.channel_names)
    return elided(spec.channel_names[index], 40) if is_named else place_of(spec, dim, index)


def _places_taken(image: AnySource) -> list[str]:
    """Say where a DataArray was cut before: xarray keeps the position as a coordinate without a dimension."""
    if not isinstance(image, xr.DataArray):
        return []
    taken = [image.coords[dim] for dim in "tzyx" if dim in image.coords and not image.coords[dim].ndim]
    units = [unit_symbol(str(each.attrs.get("units", ""))) for each in taken]
    return [f"{each.name} = {each.item():.6g} {unit}".rstrip() for each, unit in zip(taken, units, strict=True)]
