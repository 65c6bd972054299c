"""Translate errors of other libraries, and the absence of one, to errors of this package."""

from __future__ import annotations

import contextlib
import errno
import importlib
import re
from collections.abc import Callable, Iterator

import numpy as np

from ilastik_lazy.errors import IlastikLazyError, MemoryLimitError, MissingExtraError, SourceIOError

__all__ = ["machines_fault", "require_package", "require_room", "translated"]

# Errors about disks, network and rights, never about the contents of a file.
_OF_THE_SYSTEM = (
    errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENXIO, errno.ENODEV,
    errno.ETIMEDOUT, errno.EINTR, errno.ENOBUFS,
)  # fmt: skip
_ERRNO = re.compile(r"\berrno = (\d+)")
# For metadata, and what a decoder needs beside the pixels.
_ROOM = 32 * 2**20
# libhdf5 holds a chunk before and after a filter, and where it becomes larger than it thought, a third time.
_TIMES = 4


def require_package(name: str, extra: str, need: str) -> None:
    """Raise unless the package `name` can be imported; `need` says what needs it.

    Raises
    ------
    MissingExtraError
        It is missing; the message names the `extra` of this package that brings it.
    """
    try:
        importlib.import_module(name)
    except ImportError as missing:
        raise MissingExtraError(f"{need}: pip install 'ilastik_lazy[{extra}]'") from missing


def require_room(nbytes: int) -> None:
    """Raise `MemoryError` unless there is memory for decoding something of `nbytes`.

    libhdf5, blosc, LZ4 and libdeflate report too little memory as damage.
    """
    np.empty(_ROOM + _TIMES * nbytes, np.uint8)


def machines_fault(error: BaseException, what: str, nbytes: int = 0) -> IlastikLazyError | None:
    """Return what the machine lacked when `what` could not be read; None if the error is about `what` itself.

    Parameters
    ----------
    nbytes
        Size of what was to be decoded.
    """
    text = ascii(str(error))[1:160].rstrip("'\"")
    found = _ERRNO.search(str(error))
    number = getattr(error, "errno", None) or (int(found[1]) if found else None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM or not _has_room(nbytes):
        return MemoryLimitError(f"there is not enough memory to read {what} ({text or type(error).__name__})")
    return SourceIOError(f"cannot read {what}: {text}") if number in _OF_THE_SYSTEM else None


def _has_room(nbytes: int) -> bool:
    try:
        require_room(nbytes)
    except MemoryError:
        return False
    return True


@contextlib.contextmanager
def translated(
    foreign: tuple[type[BaseException], ...],
    ours: Callable[[BaseException], IlastikLazyError],
    what: str,
    nbytes: int = 0,
) -> Iterator[None]:
    """Raise what `ours` makes of an error out of `foreign`, unless the machine is at fault (see `machines_fault`).

    h5py, tifffile and Pillow have no base of their own errors: they raise Python's, which ours derive from, too.
    Errors of this package stay what they are.

    Examples
    --------
    >>> from ilastik_lazy.errors import CorruptChunkError
    >>> with translated((KeyError,), lambda error: CorruptChunkError(f"no such chunk: {error}"), "a.h5"):
    ...     {}[7]
    Traceback (most recent call last):
    ilastik_lazy.errors.CorruptChunkError: no such chunk: 7
    """
    caught: tuple[type[BaseException], ...] = (MemoryError, *foreign)
    try:
        yield
    except IlastikLazyError:
        raise
    except caught as error:
        raise machines_fault(error, what, nbytes) or ours(error) from error
