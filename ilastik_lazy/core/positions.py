"""Derive the step and origin of an axis from its positions."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["names_of", "step_and_origin"]


def step_and_origin(positions: np.ndarray[Any, Any]) -> tuple[float | None, float] | None:
    """Return the distance between neighbouring `positions`, and the first of them; None if they do not rise evenly.

    The distance is None if there are fewer than two positions.

    Examples
    --------
    >>> step_and_origin(np.array([2.0, 2.5, 3.0])), step_and_origin(np.array([7])), step_and_origin(np.array([0, 1, 4]))
    ((0.5, 2.0), (None, 7.0), None)
    """
    rounding = float(np.finfo(positions.dtype).eps) if positions.dtype.kind == "f" else 0.0
    positions = positions.astype(np.float64)
    if not np.isfinite(positions).all():
        return None
    if len(positions) < 2:
        return None, float(positions[0]) if len(positions) else 0.0
    # The first difference gives most positions back bit for bit; the mean of all is nearer where they were rounded.
    first, count = float(positions[1] - positions[0]), np.arange(len(positions))
    if 0 < first < np.inf and np.array_equal(positions[0] + first * count, positions):
        return first, float(positions[0])
    step = float((positions[-1] - positions[0]) / (len(positions) - 1))
    off = float(np.abs(positions - (positions[0] + step * count)).max())
    if not step > 0 or off > max(1e-4 * step, 2 * rounding * float(np.abs(positions).max())):
        return None
    return step, float(positions[0])


def names_of(values: np.ndarray[Any, Any]) -> tuple[str, ...] | None:
    """Return the names of channels, from coordinates that are texts or numbers; None for others.

    >>> names_of(np.array([405, 488, 561]))
    ('405', '488', '561')
    """
    if values.dtype.kind == "S":
        return tuple(value.decode("utf-8", "replace") for value in values.tolist())
    if values.dtype.kind not in "iufUTO":
        return None
    found = values.tolist()
    return tuple(map(str, found)) if all(isinstance(value, str | int | float) for value in found) else None
