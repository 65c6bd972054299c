"""Thresholds of which it is not known what they mean, or that no voxel can reach, such as percent."""

from __future__ import annotations

import math

import numpy as np

from ilastik_lazy.core.spec import COMPUTED, ArraySpec
from ilastik_lazy.errors import ArgumentError, option, remedy

__all__ = ["PROBABILITIES", "check_threshold", "checked_number"]

PROBABILITIES = ("probabilities", "object probabilities")


def checked_number(name: str, value: object) -> float:
    """Return the argument `name` if it is a finite number; else raise `ArgumentError`."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ArgumentError(f"{option(name, value)}: expected a number")


def check_threshold(
    name: str,
    threshold: float,
    spec: ArraySpec,
    drange: tuple[float, float] | None,
    other: str = "",
) -> None:
    """Raise unless the threshold that was passed as the argument `name` has a meaning for an image.

    All whole numbers above 0 would reach a fraction where their range is not known.  Nothing shows whether computed
    numbers still have the range in their attributes: ``probabilities / 255`` keeps the one of 0 to 255.

    Parameters
    ----------
    drange
        Range that stands for 0 to 1, if it is known.
    other
        What else can be done in Python.

    Raises
    ------
    ArgumentError
        It is beyond the probability 1, or beyond the largest number of the dtype; or the range of the values is not
        known.
    """
    where, is_whole = spec.storage.location, spec.dtype.kind in "iu"
    # Numbers in memory count as computed, too: those from 0 to 1 also lie within 0 to 255.
    is_computed = spec.storage.access == COMPUTED
    if is_computed and is_whole and drange == (0.0, 1.0):
        drange = None  # (probabilities * 255).astype("uint8") keeps it
    if is_computed and spec.dtype.kind == "f" and drange not in (None, (0.0, 1.0)):
        raise ArgumentError(
            f"{option(name, threshold)}: {where} was computed, and attrs['drange']={drange} may be "
            "that of its origin: delete attrs['drange'], and pass a threshold on the scale of the values"
        )
    is_map = spec.kind in PROBABILITIES
    if is_map and threshold > 1 and (drange is not None or not is_whole):
        percent = f": {threshold:g} percent are {threshold / 100:g}" if threshold <= 100 else ""
        raise ArgumentError(f"{option(name, threshold)}: {where} holds {spec.kind}, expected 0 to 1{percent}")
    low, high = (0.0, 1.0) if drange is None else drange
    if is_whole and low + threshold * (high - low) > np.iinfo(spec.dtype).max:
        scale = "" if drange is None else f", on a scale where 1 stands for {high:g}"
        raise ArgumentError(f"{option(name, threshold)}: no {spec.dtype} in {where} reaches it{scale}")
    if is_whole and drange is None and 0 < threshold < 1:
        scale = "pass a threshold on the scale of the values"
        advice = remedy(f"set attrs['drange'], such as (0, 255), {other and f'{other}, '}or {scale}", scale)
        raise ArgumentError(f"{option(name, threshold)}: {where} holds {spec.dtype} without a known range: {advice}")
