"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

from ilastik_lazy.errors import ArgumentError

__all__ = ["human_bytes", "parse_size"]


def human_bytes(count: float) -> str:
    """A size as people write it, in powers of ten.

    >>> human_bytes(512_000), human_bytes(33e9)
    ('512 kB', '33 GB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("the last unit always fits")


def parse_size(size: str | int, what: str) -> int:
    """Bytes of a text such as ``"2GB"`` or ``"512MiB"``; `what` names the argument in the error.

    Raises
    ------
    ArgumentError
        The text is no size.
    """
    from dask.utils import parse_bytes

    try:
        count = int(parse_bytes(size))
    except ValueError as error:
        raise ArgumentError(f"{what}={size!r}: expected a size such as '2GB'") from error
    if count < 0:
        raise ArgumentError(f"{what}={size!r}: expected a positive size")
    return count
