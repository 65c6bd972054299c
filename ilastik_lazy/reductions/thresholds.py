"""Thresholds that no voxel can reach, such as percent in place of fractions."""

from __future__ import annotations

import numpy as np

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, option, remedy

__all__ = ["check_threshold"]

_FRACTIONS = ("probabilities", "object probabilities")


def check_threshold(
    name: str, threshold: float, spec: ArraySpec, drange: tuple[float, float] | None, *, of_classes: bool = False
) -> None:
    """Raise unless voxels of an image can reach the threshold that was passed as the argument `name`.

    Parameters
    ----------
    of_classes
        The image is a map of classes, whatever its kind.

    Raises
    ------
    ArgumentError
        It is beyond the probability 1, or beyond the largest number of the dtype; or it is a fraction, and the range
        of probabilities that are whole numbers is not known.
    """
    where, is_whole = spec.storage.location, spec.dtype.kind in "iu"
    is_map = spec.kind in _FRACTIONS
    if is_map and threshold > 1 and (drange is not None or not is_whole):
        percent = f": {threshold:g} percent are {threshold / 100:g}" if threshold <= 100 else ""
        raise ArgumentError(f"{option(name, threshold)}: {where} holds {spec.kind}, expected 0 to 1{percent}")
    low, high = (0.0, 1.0) if drange is None else drange
    if is_whole and low + threshold * (high - low) > np.iinfo(spec.dtype).max:
        scale = "" if drange is None else f", on a scale where 1 stands for {high:g}"
        raise ArgumentError(f"{option(name, threshold)}: no {spec.dtype} in {where} reaches it{scale}")
    if (is_map or of_classes) and is_whole and drange is None and 0 < threshold < 1:
        raise ArgumentError(
            f"{option(name, threshold)}: {where} holds {spec.dtype} without a known range: "
            + remedy("set attrs['drange'], such as (0, 255), or ")
            + "pass a threshold on the scale of the values"
        )
