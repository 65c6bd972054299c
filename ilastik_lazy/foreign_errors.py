"""Errors of other libraries, said in the words of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ilastik_lazy.errors import IlastikLazyError

__all__ = ["translated"]


@contextlib.contextmanager
def translated(
    foreign: tuple[type[BaseException], ...], ours: Callable[[BaseException], IlastikLazyError]
) -> Iterator[None]:
    """Raise what `ours` makes of an error out of `foreign`; errors of this package stay what they are.

    h5py, tifffile and Pillow have no base of their own errors: they raise Python's, which ours derive from, too.

    Examples
    --------
    >>> from ilastik_lazy.errors import CorruptChunkError
    >>> with translated((KeyError,), lambda error: CorruptChunkError(f"no such chunk: {error}")):
    ...     {}[7]
    Traceback (most recent call last):
    ilastik_lazy.errors.CorruptChunkError: no such chunk: 7
    """
    try:
        yield
    except IlastikLazyError:
        raise
    except foreign as error:
        raise ours(error) from error
