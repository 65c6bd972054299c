"""Determine the axes of label blocks if the project does not state them.

Since 1.4.0b20 each block names its axes.  In older projects they follow from the version, the workflow and
the image (``BackwardsCompatibleLabelSerialBlockSlot`` and ``_get_output_axis_order`` in ilastik).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from ilastik_lazy.core.axes import Axis, axis_names
from ilastik_lazy.errors import MetadataError

__all__ = ["LabelledImage", "Order", "internal_order", "label_order"]

Order = tuple[str, ...]

_PIXEL_ORDERS = ["yxc", "xyc"] + [
    "".join(letters) + "c" for length in (3, 4) for letters in itertools.permutations("tzyx", length)
]
_COUNTING_ORDERS = ["xyc", "xzc", "yxc", "yzc", "zxc", "zyc"]
_FROM_PIXELS = "Object Classification (from pixel classification)"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """What is known about the image that labels were drawn on."""

    axes: tuple[Axis, ...] = ()
    """In the order of the file; empty if neither the project nor the file states them."""

    shape: tuple[int, ...] | None = None
    """None if the project is too old to record it, and the image is not available."""

    @property
    def sizes(self) -> Mapping[str, int | None]:
        """Length of each axis, None if unknown; all of ``tzyx`` if no axis is known."""
        if not self.axes:
            return dict.fromkeys("tzyx")
        return dict(zip(axis_names(self.axes), self.shape or (None,) * len(self.axes), strict=True))


def internal_order(sizes: Mapping[str, int | None], applet: str, workflow: str) -> Order:
    """Return the axis order in which a workflow works: the first of the shortest with all axes longer than 1.

    Examples
    --------
    >>> "".join(internal_order({"c": 1, "y": 20, "x": 30}, "PixelClassification", "Pixel Classification"))
    'yxc'
    >>> "".join(internal_order({"y": 20, "x": 30}, "Counting", "Cell Density Counting"))
    'xyc'
    """
    if workflow.startswith("Object Classification"):
        return _input_order(sizes)
    needed = {name for name, length in sizes.items() if length != 1 and name != "c"}
    orders = _COUNTING_ORDERS if applet == "Counting" else _PIXEL_ORDERS
    fitting = [tuple(order) for order in orders if needed <= set(order)]
    return min(fitting, key=len, default=_input_order(sizes))


def _input_order(sizes: Mapping[str, int | None]) -> Order:
    return tuple(sizes) if "c" in sizes else (*sizes, "c")


def _candidates(image: LabelledImage, applet: str, workflow: str, version: str) -> Iterator[Order]:
    """Yield the orders that blocks may have, the most likely first."""
    sizes = image.sizes
    given, internal = _input_order(sizes), internal_order(sizes, applet, workflow)
    rule = _rule_of(applet, workflow, version)
    if not image.axes:
        yield from (tuple("yxc"), tuple("zyxc"), tuple("tyxc"), tuple("tzyxc"))
    elif rule == "txyzc":
        yield tuple("txyzc")
    yield from (given, internal) if rule == "input" else (internal, given)
    # If lengths are unknown, t or z may be missing because their length is 1.
    if image.shape is None:
        for absent in ("z", "t", "tz"):
            shorter = {name: length for name, length in sizes.items() if name not in absent}
            yield internal_order(shorter, applet, workflow)


def _rule_of(applet: str, workflow: str, version: str) -> str:
    try:
        parsed = Version(version)
    except InvalidVersion:
        return "internal"
    if applet == "Counting":
        return "internal"
    if workflow == _FROM_PIXELS and Version("1.3.3") <= parsed < Version("1.3.3.post2"):
        return "txyzc"
    if parsed < Version("1.3.1") or Version("1.3.3.post2") <= parsed <= Version("1.4.0b7"):
        return "input"
    return "internal"


def _fits(order: Order, ends: Sequence[int], image: LabelledImage) -> bool:
    """Whether blocks that reach to `ends` lie inside the image, with none of its axes missing."""
    sizes = image.sizes
    if len(order) != len(ends):
        return False
    for name, end in zip(order, ends, strict=True):
        length = 1 if name == "c" else sizes.get(name, 1)
        if length is not None and end > length:
            return False
    return all(name in order or length in (None, 1) for name, length in sizes.items() if name != "c")


def label_order(
    image: LabelledImage,
    ends: Sequence[int],
    tagged: Order | None,
    *,
    applet: str,
    workflow: str,
    version: str,
) -> tuple[Order, bool]:
    """Determine the axes of a lane's label blocks, and whether others are equally likely.

    Parameters
    ----------
    image
        The image that the labels were drawn on.
    ends
        How far the blocks reach along each of their axes; () without blocks.
    tagged
        The axes that the blocks name, if they name any.

    Raises
    ------
    MetadataError
        The blocks do not lie inside the image with any order.

    Examples
    --------
    >>> image = LabelledImage(tuple(map(Axis, "tyxc")), (5, 33, 77, 1))
    >>> words = {"applet": "PixelClassification", "version": "1.3.3.post1"}
    >>> order, _ = label_order(image, (1, 25, 25, 1, 1), None, workflow="Pixel Classification", **words)
    >>> "".join(order)
    'txyzc'
    """
    if not ends:
        return internal_order(image.sizes, applet, workflow), False
    if tagged is not None:
        if not _fits(tagged, ends, image):
            raise MetadataError(_misfit(image, ends, f"their axes {''.join(tagged)}"))
        return tagged, False
    candidates = dict.fromkeys(_candidates(image, applet, workflow, version))
    fitting = [order for order in candidates if _fits(order, ends, image)]
    # Before 1.4.0b20 some workflows used this order for any image.
    if not fitting and _fits(tuple("txyzc"), ends, image):
        fitting = [tuple("txyzc")]
    if not fitting:
        raise MetadataError(_misfit(image, ends, "any order of its axes"))
    return fitting[0], len({_essence(order, image) for order in fitting}) > 1 or not image.axes


def _essence(order: Order, image: LabelledImage) -> Order:
    """Return `order` without axes of length 1, whose position makes no difference."""
    return tuple(name for name in order if name != "c" and image.sizes.get(name, 1) != 1)


def _misfit(image: LabelledImage, ends: Sequence[int], how: str) -> str:
    names = "".join(axis_names(image.axes)) or "unknown"
    return f"label blocks reach to {tuple(ends)}, outside the image (axes {names}, shape {image.shape}) with {how}"
