"""Translate errors of other libraries, and missing packages, into errors of this package."""

from __future__ import annotations

import contextlib
import errno
import importlib
import re
from collections.abc import Callable, Iterator

import numpy as np

from ilastik_lazy.errors import IlastikLazyError, MemoryLimitError, MissingExtraError, SourceIOError

__all__ = ["machines_fault", "require_package", "require_room", "translated"]

# Errors of disks, networks and permissions, never of the contents of a file.
_OF_THE_SYSTEM = (
    errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENXIO, errno.ENODEV,
    errno.ETIMEDOUT, errno.EINTR, errno.ENOBUFS,
)  # fmt: skip
_ERRNO = re.compile(r"\berrno = (\d+)")
# Memory for metadata and decoders, beside the pixels.
_ROOM = 32 * 2**20
# libhdf5 holds a chunk before and after a filter, and a third time if it becomes larger than expected.
_TIMES = 4


def require_package(name: str, extra: str, need: str) -> None:
    """Raise unless the package `name` can be imported; `need` says what needs it.

    Raises
    ------
    MissingExtraError
        It is missing; the message names the `extra` of this package to install.
    """
    try:
        importlib.import_module(name)
    except ImportError as missing:
        raise MissingExtraError(f"{need}: pip install 'ilastik_lazy[{extra}]'") from missing


def require_room(nbytes: int) -> None:
    """Raise `MemoryError` unless there is enough memory to decode `nbytes`.

    libhdf5, blosc, LZ4 and libdeflate report too little memory as damaged data.
    """
    np.empty(_ROOM + _TIMES * nbytes, np.uint8)


def machines_fault(error: BaseException, what: str, nbytes: int = 0) -> IlastikLazyError | None:
    """Return an error if the machine caused the failure to read `what`; None if `what` itself did.

    Parameters
    ----------
    nbytes
        Size of the decoded data.
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
    """Convert errors of the types `foreign` with `ours`, unless the machine is at fault (see `machines_fault`).

    h5py, tifffile and Pillow raise built-in errors, from which errors of this package also derive; the latter are not
    converted.

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
