"""Labels over an image: whether they belong to its voxels, and their contours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, option, remedy
from ilastik_lazy.viewing.pictures.pixels import Pixels
from ilastik_lazy.viewing.pictures.rendering import in_label_colors

__all__ = ["contours", "require_fitting"]

# Rec. 709: how light red, green and blue are to the eye.
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def require_fitting(labels: ArraySpec, image: ArraySpec) -> None:
    """Raise unless `labels` are those of the voxels of `image`.

    Raises
    ------
    ArgumentError
        They have other lengths or positions.
    """
    where = f"{option('labels')}{remedy('', ' ')}{labels.storage.location}"
    own, other = (
        {axis.name: (length, axis) for axis, length in zip(spec.axes, spec.shape, strict=True)}
        for spec in (labels, image)
    )
    channels = own.pop("c", (1, None))[0]
    if channels != 1:
        raise ArgumentError(f"{where} has {channels} channels: pass one of them{remedy(', such as .isel(c=0)')}")
    for dim in "tzyx":
        length, expected = (found[dim][0] if dim in found else 1 for found in (own, other))
        if length != expected:
            raise ArgumentError(f"{where} has {length} voxels along {dim} and the image {expected}: pass labels of it")
        if dim in own and dim in other:
            (_, axis), (_, beside) = own[dim], other[dim]
            is_known = axis.scale is not None and beside.scale is not None and axis.unit == beside.unit
            if is_known and abs(axis.translation - beside.translation) > (beside.scale or 1) / 2:
                raise ArgumentError(
                    f"{where} begins at {axis.translation:g} along {dim} and the image at {beside.translation:g}: "
                    "pass labels of it"
                )


def contours(pixels: Pixels, spec: ArraySpec, times: Sequence[int], widths: Sequence[int]) -> tuple[Pixels, Pixels]:
    """Draw the borders between labels in their colours: RGBA, uint8, transparent elsewhere.

    A border lies inside the label with the smaller number, or inside the one that is not background.  Beside the
    colour is an edge, black or white, so that the border is seen on a ground of the same colour.

    Parameters
    ----------
    times
        How many pixels of the result one of `pixels` becomes (down, across).
    widths
        Widths of the coloured line (down, across), in pixels of the result; the edge is half as wide.

    Returns
    -------
    The picture, and the labels whose colours are in it.
    """
    fine = pixels.repeat(times[0], 0).repeat(times[1], 1)
    values, ranks = np.unique(fine, return_inverse=True)
    ranks = ranks.reshape(fine.shape)
    ranks[fine == 0] = len(values)  # background has no border of its own
    line = _near_a_greater_one(ranks, widths)
    both = _near_a_greater_one(ranks, [width + max(1, width // 2) for width in widths])
    colors = in_label_colors(fine, spec)
    is_light = colors @ np.array(_LUMINANCE) > 127
    shown = np.where(line[..., np.newaxis], colors, np.where(is_light, 0, 255)[..., np.newaxis])
    picture = np.dstack([shown, np.where(both, 255, 0)]).astype(np.uint8)
    return picture, np.unique(fine[line])


def _near_a_greater_one(ranks: Pixels, widths: Sequence[int]) -> Pixels:
    """Whether a pixel with a greater rank lies within `widths` (down, across), straight along an axis."""
    found = np.zeros(ranks.shape, bool)
    for axis, width in enumerate(widths):
        for distance in range(1, width + 1):
            near, far = ([slice(None), slice(None)] for _ in range(2))
            near[axis], far[axis] = slice(None, -distance), slice(distance, None)
            one, other = ranks[tuple(near)], ranks[tuple(far)]
            found[tuple(near)] |= one < other
            found[tuple(far)] |= other < one
    return found
