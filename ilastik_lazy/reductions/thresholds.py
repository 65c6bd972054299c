"""Whether it is known on which scale a threshold is meant."""

from __future__ import annotations

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, option, remedy

__all__ = ["require_scale"]


def require_scale(
    spec: ArraySpec, drange: tuple[float, float] | None, name: str, threshold: float, other: str = ""
) -> None:
    """Raise if it is not known what a threshold means for the values of an image.

    All whole numbers above 0 would reach it where their range is not known.  Of numbers that were computed, nobody
    knows whether they still have the range in their attributes: ``probabilities / 255`` keeps the one of 0 to 255.

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
        It is not known.
    """
    if spec.is_inherited and spec.dtype.kind == "f" and drange not in (None, (0.0, 1.0)):
        raise ArgumentError(
            f"{option(name, threshold)}: {spec.storage.location} was computed, and attrs['drange']={drange} may be "
            "that of its origin: delete attrs['drange'], and pass a threshold on the scale of the values"
        )
    if spec.dtype.kind in "iu" and drange is None and 0 < threshold < 1:
        scale = "pass a threshold on the scale of the values"
        advice = remedy(f"set attrs['drange'], such as (0, 255), {other and f'{other}, '}or {scale}", scale)
        raise ArgumentError(
            f"{option(name, threshold)}: {spec.storage.location} holds {spec.dtype} without a known range: {advice}"
        )
