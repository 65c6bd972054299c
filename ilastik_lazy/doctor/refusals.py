"""Why a file does not open, who uses it, and what to do."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable

from ilastik_lazy.doctor.finding import Finding, Severity
from ilastik_lazy.errors import (
    CorruptChunkError,
    CorruptFileError,
    DatasetNotFoundError,
    FileBusyError,
    IlastikLazyError,
    LimitExceededError,
    MetadataError,
    MissingExtraError,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
    UnfinishedWriteError,
    UnknownFormatError,
    UnsafeFileError,
    UnsupportedFilterError,
    folder_option,
    option,
    remedy,
)
from ilastik_lazy.storage.holders import holders_of
from ilastik_lazy.storage.stores import LOCK, PLAN, Store

__all__ = ["advice_in", "refusal", "remedy_of", "unfinished_beside"]


def refusal(error: IlastikLazyError, path: str) -> Finding:
    """Describe an error that ended the opening or the reading of the file at `path`."""
    if isinstance(error, FileBusyError):
        return _busy(error, path)
    if isinstance(error, UnfinishedWriteError):
        return unfinished_beside(path) or _unclosed(error, path)
    kinds = (kind for kind in _WHY if isinstance(error, kind))
    why = _WHY[next(kinds, IlastikLazyError)]
    return Finding("cannot-open", "error", str(error), why, remedy_of(error), error=type(error).__name__)


_WHY: dict[type[IlastikLazyError], str] = {
    SourceNotFoundError: "there is nothing to open",
    SourceChangedError: "values of two versions would be mixed",
    SourceIOError: "the system does not let it be read",
    CorruptChunkError: "a part of the file is missing or damaged",
    CorruptFileError: "a part of the file is missing or damaged",
    DatasetNotFoundError: "there is no such image in it, or more than one",
    UnsupportedFilterError: "there is no decoder for it here",
    UnknownFormatError: "no format recognises it",
    MetadataError: "what the file states of the image cannot be right, or describes no image",
    LimitExceededError: "no file of ilastik needs so much, and it could exhaust the memory",
    UnsafeFileError: "a file that leads elsewhere can be made to read what is not its own",
    MissingExtraError: "an optional package reads it",
    IlastikLazyError: "it cannot be used as it is",
}


def remedy_of(error: IlastikLazyError) -> str:
    """Return what to do about an error: what its message advises comes first, then what its class allows."""
    if advice := advice_in(str(error)):
        return advice
    kinds = (kind for kind in _REMEDIES if isinstance(error, kind))
    return _REMEDIES[next(kinds, IlastikLazyError)]()


def advice_in(text: str) -> str:
    """Spell out the advice that a message gives; empty if it gives none.

    Each of these words stands in messages only where it helps.
    """
    if (folder := folder_option("allow_external")) in text:
        return f"if you trust the folder that it leads to, pass {folder}"
    if (folder := folder_option("source_roots")) in text:
        return f"pass {folder}, with the folder that holds the image"
    if option("axes") in text:
        return (
            f"if you know the axes, pass {option('axes')} with one letter of tzyxc for each dimension, in storage order"
        )
    if "save the project" in text:
        return "open the project in a recent ilastik, and save it again"
    if "was it copied" in text:
        return _AGAIN
    if "holds no image" in text:
        return "name another file: an image is an array of numbers with 2 to 5 dimensions"
    if option("internal_path") in text:
        return f"name an image that the file holds: {option('internal_path')}; ilastik-lazy info lists them"
    return ""


_AGAIN = (
    "copy it again, and compare checksums (sha256sum) of both; if the original does not open either, export it again"
)

_REMEDIES: dict[type[IlastikLazyError], Callable[[], str]] = {
    SourceNotFoundError: lambda: "correct the name, or mount the disk that it is on",
    SourceChangedError: lambda: "wait until the other program is done, and try again",
    CorruptChunkError: lambda: _AGAIN,
    CorruptFileError: lambda: _AGAIN,
    DatasetNotFoundError: lambda: f"name an image that the file holds: {option('internal_path')}",
    SourceIOError: lambda: "check its permissions, the disk and the network",
    UnsupportedFilterError: lambda: "write it with another compression; from ilastik, as 'compressed hdf5' or 'hdf5'",
    UnknownFormatError: lambda: (
        "name an image, a table or a project; a folder of images is a pattern, such as 'folder/*.tif'"
    ),
    MetadataError: lambda: "write it again with the program that made it; or name another image, if it holds one",
    LimitExceededError: lambda: (
        "if you trust it, raise the limit that the message names: "
        + remedy("limits=il.Limits(...)", "in Python, il.open_dataarray has limits for that")
    ),
    UnsafeFileError: lambda: "do not open it, unless you know who made it; let them write it without such references",
    MissingExtraError: lambda: "install the extra that the message names",
    IlastikLazyError: lambda: "do what the message says",
}


def _busy(error: FileBusyError, path: str) -> Finding:
    holders = holders_of(path)
    by = f"; {' and '.join(holders)} hold{'s' if len(holders) == 1 else ''} the lock" if holders else ""
    return Finding(
        "in-use",
        "error",
        f"{error}{by}",
        "HDF5 lets nobody read a file while it is written, since half of a change is a damaged file",
        "close the file there (in ilastik: close the project), or wait until the export ends",
        error=type(error).__name__,
    )


def _unclosed(error: IlastikLazyError, path: str) -> Finding:
    holders = holders_of(path)
    is_written = f"; it is being written by {' and '.join(holders)}" if holders else ""
    return Finding(
        "unfinished",
        "error",
        f"{error}{is_written}",
        "its last changes may be missing",
        "wait until the export ends"
        if holders
        else f"export it again; or, if the export had ended, reset the mark with h5clear -s {shlex.quote(path)}",
        error=type(error).__name__,
    )


def unfinished_beside(path: str) -> Finding | None:
    """Find a conversion at a path, or beside an image there, that was stopped or is still running."""
    from ilastik_lazy.writers.ome_zarr.commit.states import is_begun
    from ilastik_lazy.writers.ome_zarr.commit.target import open_store

    if not os.path.isdir(path):
        return None
    place = open_store(path, None)
    if is_begun(place.names() or ()):
        return _conversion(place, path, "error")
    beside = place.beside()
    return _conversion(beside, path, "warning") if beside is not None and beside.names() else None


def _conversion(store: Store, path: str, severity: Severity) -> Finding:
    """Describe the conversion in `store`, which is an error at the path itself, and a warning beside an image there."""
    error = "UnfinishedWriteError" if severity == "error" else ""
    if holders := holders_of(os.path.join(store.place, *LOCK.split("/"))):
        return Finding(
            "in-use",
            severity,
            f"a conversion to {path} is running: {' and '.join(holders)}",
            "what is read there is the image before it, or none",
            "wait until it has ended",
            error=error,
        )
    source, replaces = _source_in(store.get(PLAN)), severity == "warning"
    if source == "a computation":
        how = "run the program that began it once more, with " + option("resume", True)
    else:
        how = "continue it, with the options that it was begun with: " + remedy(
            f"il.to_ome_zarr({source!r}, {path!r}, resume=True{', overwrite=True' if replaces else ''})",
            f"ilastik-lazy convert {shlex.quote(source)} {shlex.quote(path)} --resume"
            + (" --overwrite" if replaces else ""),
        )
    return Finding(
        "unfinished",
        severity,
        f"a conversion to {path} was stopped, or runs on another machine"
        + (": it is to replace the image that is there" if replaces else ""),
        "what is read there is the image before it, or none",
        how,
        error=error,
    )


def _source_in(plan: bytes | None) -> str:
    """Return the source that a plan names."""
    try:
        found = json.loads(plan or b"null")
    except ValueError:
        return "SOURCE"
    source = found.get("source") if isinstance(found, dict) else None
    return source if isinstance(source, str) else "SOURCE"
