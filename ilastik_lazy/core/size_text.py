"""Numbers with their unit or noun, as people write and read them: bytes, seconds, counts."""

from __future__ import annotations

from ilastik_lazy.errors import ArgumentError, option

__all__ = ["counted", "human_bytes", "human_seconds", "parse_size"]


def human_bytes(count: float) -> str:
    """Write a size for people, in powers of ten.

    >>> human_bytes(512_000), human_bytes(33e9)
    ('512 kB', '33 GB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("the last unit always fits")


def human_seconds(seconds: float) -> str:
    """Write a time for people, to about two digits.

    >>> human_seconds(0.0312), human_seconds(0.42), human_seconds(75), human_seconds(4000)
    ('31 ms', '0.4 s', '1 min 15 s', '1 h 6 min')
    """
    if seconds < 0.0995:
        return f"{max(1, round(1000 * seconds))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def parse_size(size: str | float, what: str) -> int:
    """Parse bytes such as ``"2GB"``, ``"512MiB"`` or a number; `what` names the argument in the error.

    Raises
    ------
    ArgumentError
        It is not a size.
    """
    try:
        if not isinstance(size, str | bytes | bool) or (isinstance(size, str) and size.isdecimal()):
            count = int(size)  # also numpy's numbers, which must not be imported for `--help`
        elif isinstance(size, str) and any(map(str.isdigit, size)):
            from dask.utils import parse_bytes

            count = int(parse_bytes(size))
        else:
            raise ValueError(size)  # dask takes "" for 1, and "GB" for 1 GB
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"{option(what, size)}: expected a size such as '2GB', or a number of bytes") from error
    if count < 0:
        raise ArgumentError(f"{option(what, size)}: expected a positive size")
    return count


def counted(count: int, what: str) -> str:
    """Write a number and its noun, in the plural unless it is one.

    >>> counted(1, "row"), counted(20_000, "row")
    ('1 row', '20,000 rows')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"
