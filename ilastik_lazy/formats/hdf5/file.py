"""Open and walk HDF5 files with h5py safely: locks, links, listings.

Nothing that points out of the file is followed, and no handle outlives its ``with`` block, so
that ilastik can always reopen its own project for writing.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, NamedTuple

import h5py

from ilastik_lazy.core.library_errors import translated
from ilastik_lazy.core.options import Limits
from ilastik_lazy.errors import (
    CorruptChunkError,
    CorruptFileError,
    ExternalReferenceError,
    FileBusyError,
    IlastikLazyError,
    LimitExceededError,
    LockingWarning,
    MetadataError,
    UnsafePathError,
    folder_option,
    option,
)
from ilastik_lazy.formats.hdf5.attributes import coordinates_of, is_matlab_text, is_scale
from ilastik_lazy.formats.hdf5.superblock import check_superblock
from ilastik_lazy.formats.named_image import no_such_image
from ilastik_lazy.warning import warn

__all__ = [
    "H5PY_ERRORS",
    "DatasetEntry",
    "LinkedFile",
    "dataset_at",
    "image_entries",
    "is_from_h5py",
    "key_of",
    "link_of",
    "names_in",
    "object_at",
    "open_hdf5",
    "reading_chunks",
]

_MOST_SOFT_LINKS = 16

# What h5py raises when libhdf5 finds a file damaged; there is no common base.
H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, SystemError)


def _open(path: str, **options: Any) -> h5py.File:
    return h5py.File(path, "r", **options)


def _open_with_lock(path: str) -> h5py.File:
    """Open with a lock; without one where the file system has none, or a handle without one is open."""
    try:
        return _open(path)
    except OSError as error:
        text = str(error)
        if error.errno in (errno.EAGAIN, errno.EACCES) and "lock" in text:
            raise FileBusyError(
                f"{path} is open for writing in another program (ilastik?): close it there, or wait until it is done"
            ) from error
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, 524) and "lock" in text:
            warn(f"{path} lies on a file system without locks: opened without one", LockingWarning)
            return _open(path, locking=False)
        if "file locking flag values don't match" in text:
            return _open(path, locking=False)
        raise


@contextlib.contextmanager
def open_hdf5(path: str) -> Iterator[h5py.File]:
    """Open a file for reading; errors that h5py raises inside the block become ours, and no others do.

    Raises
    ------
    CorruptFileError, UnfinishedWriteError, FileBusyError, SourceIOError
    """
    check_superblock(path)
    with _reading(path, "cannot be opened: it seems to be truncated or damaged"):
        file = _open_with_lock(path)
    with file, _reading(path, "is damaged"):
        yield file


def _reading(path: str, what_else: str) -> contextlib.AbstractContextManager[None]:
    """Translate errors while metadata are read; `what_else` describes the file if the machine is not at fault."""
    return translated(H5PY_ERRORS, lambda e: _damage(e, CorruptFileError, f"{path} {what_else} ({_one_line(e)})"), path)


def reading_chunks(what: str, nbytes: int) -> contextlib.AbstractContextManager[None]:
    """Translate errors of libhdf5 while `what` is read, in chunks of `nbytes`, to `CorruptChunkError`."""
    return translated(
        H5PY_ERRORS, lambda e: _damage(e, CorruptChunkError, f"{what} cannot be read ({e})"), what, nbytes
    )


def _damage(error: BaseException, kind: type[IlastikLazyError], message: str) -> IlastikLazyError:
    """Return the error to raise for one of h5py; raise `error` itself if it is a bug in this package."""
    if not is_from_h5py(error):
        raise error
    return kind(message)


def is_from_h5py(error: BaseException) -> bool:
    """Whether h5py raised `error`, and not this package, which h5py may have called back.

    Only the traceback distinguishes them: h5py raises Python's own errors, as a bug does.
    """
    modules = [frame.f_globals.get("__name__", "").split(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    return [name for name in modules if name in ("h5py", "ilastik_lazy")][-1:] == ["h5py"]


def _one_line(error: BaseException) -> str:
    return ascii(str(error))[1:160].rstrip("'\"")


def dataset_at(file: h5py.File, internal_path: str, *, refuse_external: bool = True) -> h5py.Dataset:
    """Walk to the dataset at `internal_path` link by link.

    Without `refuse_external`, the caller checks data that lie in other files (`external`).

    Raises
    ------
    ExternalReferenceError
        A link on the way leads to another file, or the data lie in one.  Nothing was followed.
    DatasetNotFoundError, MetadataError, UnsafePathError
    """
    found = object_at(file, internal_path)
    if isinstance(found, LinkedFile):
        raise ExternalReferenceError(
            f"{file.filename}: {internal_path!a} is a link into another file, {found.path!a}, which is not followed: "
            f"open that file, or pass {folder_option('allow_external')} with a folder that you trust"
        )
    if isinstance(found, h5py.Datatype):
        raise MetadataError(f"{file.filename}: {internal_path!a} is a named type, not a dataset")
    if not isinstance(found, h5py.Dataset):
        inside = ", ".join(ascii(name) for name in names_in(found)[:8]) or "nothing"
        raise MetadataError(f"{file.filename}: {internal_path!a} is a group, not a dataset; it holds {inside}")
    if refuse_external:
        _refuse_external_data(file, found, internal_path)
    return found


class LinkedFile(NamedTuple):
    """Where a link into another file leads, as it is written there."""

    path: str
    internal_path: str


def object_at(file: h5py.File, internal_path: str) -> h5py.Dataset | h5py.Group | h5py.Datatype | LinkedFile:
    """Walk to `internal_path` link by link; a link into another file ends the walk."""
    where = f"{file.filename}: {internal_path!a}"
    parts, node, hops = deque(internal_path.split("/")), file["/"], 0
    while parts:
        name = parts.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            raise UnsafePathError(f"{where} holds '..': write the path without it")
        link = link_of(node, name) if isinstance(node, h5py.Group) else None
        if link is None:
            held = [ascii(entry.path) for entry in image_entries(file, Limits())]
            raise no_such_image(f"dataset {internal_path!a}", file.filename, held)
        if isinstance(link, h5py.ExternalLink):
            return LinkedFile(link.filename, "/".join((link.path, *parts)))
        if isinstance(link, h5py.SoftLink):
            hops += 1
            if hops > _MOST_SOFT_LINKS:
                raise UnsafePathError(f"{where} runs through more than {_MOST_SOFT_LINKS} soft links")
            parts.extendleft(reversed(link.path.split("/")))
            if link.path.startswith("/"):
                node = file["/"]
            continue
        node = node[key_of(name)]
    return node


def names_in(group: h5py.Group) -> list[str]:
    """Return the names of the members as text: bytes that are not UTF-8 become surrogates."""
    return [name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name for name in group]


def key_of(name: str) -> str | bytes:
    """Return the key that h5py expects for a name from `names_in`."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape")


def link_of(group: h5py.Group, name: str) -> h5py.HardLink | h5py.SoftLink | h5py.ExternalLink | None:
    """Return the link called `name`, which is not followed; None where there is none.

    `Group.get(name, getlink=True)` fails on names that are not UTF-8.
    """
    links, key = group.id.links, name.encode("utf-8", "surrogateescape")
    if not links.exists(key):
        return None
    kind = links.get_info(key).type
    if kind == h5py.h5l.TYPE_HARD:
        return h5py.HardLink()
    if kind == h5py.h5l.TYPE_SOFT:
        return h5py.SoftLink(links.get_val(key).decode("utf-8", "surrogateescape"))
    if kind == h5py.h5l.TYPE_EXTERNAL:
        return h5py.ExternalLink(*(part.decode("utf-8", "surrogateescape") for part in links.get_val(key)))
    raise ExternalReferenceError(f"{group.file.filename}: {name!a} is a link of an unknown kind, which is not followed")


def _refuse_external_data(file: h5py.File, dataset: h5py.Dataset, internal_path: str) -> None:
    where = f"{file.filename}: {internal_path!a}"
    if dataset.external:
        raise ExternalReferenceError(
            f"{where} keeps its data in another file, {dataset.external[0][0]!a}, which is not followed: "
            f"pass {folder_option('allow_external')} with a folder that you trust"
        )
    if not dataset.is_virtual:
        return
    for part in dataset.virtual_sources():
        if part.file_name != ".":
            raise ExternalReferenceError(
                f"{where} is made of data in another file, {part.file_name!a}, which is not followed: "
                f"pass {folder_option('allow_external')} with a folder that you trust"
            )
        source = object_at(file, part.dset_name)
        if not isinstance(source, h5py.Dataset) or source.is_virtual or source.external:
            raise ExternalReferenceError(f"{where} is made of {part.dset_name!a}, which is not a plain dataset itself")


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """An array of a file that may be an image."""

    path: str
    shape: tuple[int, ...]
    dtype: str


def image_entries(file: h5py.File, limits: Limits) -> list[DatasetEntry]:
    """List numeric datasets with 2 to 5 dimensions that are not coordinates of others, in the order of their paths.

    Hard links only: `visititems` follows no other, and visits each object once.

    Raises
    ------
    LimitExceededError
        The file has more members, or deeper groups, than `limits` allow.
    """
    entries: list[DatasetEntry] = []
    coordinates: set[str] = set()
    visited = 0

    def visit(name: str | bytes, node: h5py.Group | h5py.Dataset) -> str | None:
        nonlocal visited
        visited += 1
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        if visited > limits.members:
            return f"more than {limits.members} members"
        if name.count("/") > limits.depth:
            return f"groups nested more than {limits.depth} deep"
        if isinstance(node, h5py.Dataset) and 2 <= node.ndim <= 5 and node.dtype.kind in "biuf":
            coordinates.update(coordinates_of(node))
            if not is_scale(node) and not is_matlab_text(node):
                entries.append(DatasetEntry(name, node.shape, str(node.dtype)))
        return None

    if (trouble := file.visititems(visit)) is not None:
        raise LimitExceededError(f"{file.filename} has {trouble}: name the dataset with {option('internal_path')}")
    # Arrays that claim to be coordinates of one another are all listed.
    entries = [entry for entry in entries if entry.path not in coordinates] or entries
    return sorted(entries, key=lambda entry: entry.path)
