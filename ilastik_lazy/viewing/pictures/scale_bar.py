"""A bar of a round length, such as 20 µm, drawn on a picture."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from ilastik_lazy.core.units import converted, unit_symbol

__all__ = ["add_scale_bar", "length_text", "round_length"]

_UNITS = ("picometer", "nanometer", "micrometer", "millimeter", "meter")


def round_length(most: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above `most`.

    >>> [round_length(most) for most in (9.7, 0.23, 1000)]
    [5.0, 0.2, 1000.0]
    """
    power = math.floor(math.log10(most) + 1e-9)
    digit = most / 10.0**power
    leading = next((n for n in (5, 2) if digit >= n * (1 - 1e-9)), 1)
    return float(f"{leading}e{power}")


def length_text(length: float, unit: str) -> str:
    """Write a length in the metric unit that makes it a short number.

    >>> length_text(5000, "micrometer"), length_text(0.5, "micrometer"), length_text(2, "inch")
    ('5 mm', '500 nm', '2 in')
    """
    for name in _UNITS:
        value = converted(length, unit, name)
        if value is not None and 0.999 <= value < 999.5:
            return f"{value:.3g} {unit_symbol(name)}"
    return f"{length:g} {unit_symbol(unit)}"


def add_scale_bar(axes: Axes, unit: str) -> None:
    """Draw a bar in the lower right corner of `axes`, whose positions are in `unit`."""
    left, right = axes.get_xlim()
    width = right - left
    length = round_length(width / 4)
    end = right - width / 20
    # White with a dark edge is seen on bright and dark pixels.
    edge = [withStroke(linewidth=4.5, foreground="black", alpha=0.7)]
    where = axes.get_xaxis_transform()  # positions across, a fraction of the height down
    axes.plot(
        [end - length, end], [0.05, 0.05], color="white", linewidth=3, solid_capstyle="butt", transform=where,
        path_effects=edge, label="scale bar",
    )  # fmt: skip
    axes.annotate(
        length_text(length, unit), (end - length / 2, 0.05), (0, 4), xycoords=where, textcoords="offset points",
        ha="center", va="bottom", color="white", fontsize="small",
        path_effects=[withStroke(linewidth=2, foreground="black", alpha=0.7)],
    )  # fmt: skip
