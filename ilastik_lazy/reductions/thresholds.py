"""On which scale a threshold is meant."""

from __future__ import annotations

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, option, remedy

__all__ = ["require_scale"]


def require_scale(
    spec: ArraySpec, drange: tuple[float, float] | None, name: str, threshold: float, other: str = ""
) -> None:
    """Raise if a threshold between 0 and 1 is for whole numbers whose range is not known: all above 0 would reach it.

    Parameters
    ----------
    drange
        Range that stands for 0 to 1, if it is known.
    name
        Argument that has the threshold.
    other
        What else can be done in Python.

    Raises
    ------
    ArgumentError
        It is so.
    """
    if spec.dtype.kind in "iu" and drange is None and 0 < threshold < 1:
        scale = "pass a threshold on the scale of the values"
        advice = remedy(f"set attrs['drange'], such as (0, 255), {other and f'{other}, '}or {scale}", scale)
        raise ArgumentError(
            f"{option(name, threshold)}: {spec.storage.location} holds {spec.dtype} without a known range: {advice}"
        )
