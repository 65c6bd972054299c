"""Links out of a file or folder: followed only to files below folders that the caller named.

Files are untrusted.  HDF5 would read pixels from ``/etc/passwd`` if a file says so, and follow its links anywhere;
symbolic links in a folder of N5 or Zarr also lead anywhere.  Here they may lead only below the
`external_roots` of `OpenOptions`, which are none by default.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from ilastik_lazy.core.axes import parse_axis_names
from ilastik_lazy.core.options import Axes, Limits, OpenOptions, Trust
from ilastik_lazy.errors import ArgumentError, SourceIOError, UnsafePathError, folder_option, option
from ilastik_lazy.storage.system import can_limit_children

__all__ = ["Folders", "check_links", "checked_options", "is_below", "named_folders"]

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def checked_options(
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
    axes: Axes | Sequence[str] | None = None,
    kind: str | None = None,
) -> OpenOptions:
    """Check the arguments of a caller, and return them as one value.

    Raises
    ------
    ArgumentError
        `trust` has an unknown value or needs limits that this system lacks, a root is not a folder, or a list or
        dict of `axes` has an unknown name.
    """
    if trust not in ("local", "untrusted"):
        raise ArgumentError(f"{option('trust', trust)}: expected 'local' or 'untrusted'")
    if trust == "untrusted" and not can_limit_children():
        raise ArgumentError(
            f"{option('trust', trust)} reads a file in a process with little memory and time, and Windows sets no such "
            f"limits here: read it on Linux, as in WSL, or pass {option('trust', 'local')} if you know who made it"
        )
    if limits is not None and not isinstance(limits, Limits):
        raise ArgumentError(f"limits={limits!r}: expected ilastik_lazy.Limits(...)")
    roots = tuple(dict.fromkeys(map(os.path.realpath, named_folders(allow_external, "allow_external"))))
    if isinstance(axes, Mapping):
        by_name = tuple((str(name).strip("/"), "".join(parse_axis_names(each))) for name, each in axes.items())
        return OpenOptions(None, limits or Limits(), trust, roots, by_name, kind or "")
    # A list of names as one text, which a child process also takes.
    names = axes if axes is None or isinstance(axes, str) else "".join(parse_axis_names(axes))
    return OpenOptions(names, limits or Limits(), trust, roots, (), kind or "")


def named_folders(given: Folders, argument: str) -> list[str]:
    """Return absolute paths of the folders that a caller passed as `argument`; raise if one is not a folder."""
    parts = [given] if isinstance(given, str | os.PathLike) else given
    if not isinstance(parts, Iterable) or not all(isinstance(part, str | os.PathLike) for part in parts):
        raise ArgumentError(f"{option(argument, given)}: expected a folder, or a list of folders")
    folders = [os.path.abspath(os.path.expanduser(os.fsdecode(part))) for part in parts]
    for folder in folders:
        if not os.path.isdir(folder):
            raise ArgumentError(f"{option(argument)} names {folder!a}, which is not a folder")
    return folders


def is_below(path: str, folders: Sequence[str]) -> bool:
    """Return whether `path` is one of `folders` or lies in one; both must be free of symbolic links."""
    # On Windows capitals do not matter, and either slash may stand; elsewhere `normcase` changes nothing.
    path = os.path.normcase(path)
    named = map(os.path.normcase, folders)
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in named)


def check_links(path: str, folder: str, roots: Sequence[str] = (), known: set[str] | None = None) -> None:
    """Check the symbolic links between `folder` and `path`.

    Checking one part of the path takes 2 us, and `realpath` of all of it 30 us: only links are resolved.

    Parameters
    ----------
    path
        A file or folder that may be missing; only `path` itself is checked if it does not lie in `folder`.
    folder
        The folder that the caller opened, through links or not.
    roots
        Folders outside `folder`, without symbolic links, that links may lead to.
    known
        Paths that were checked already; the parts of this path are added.

    Raises
    ------
    UnsafePathError
        A link leads elsewhere, whether or not its target exists.
    SourceIOError
        The target of a link is missing, as when a disk is not mounted: it does not count as a chunk that was never
        written.
    """
    part, known = path, set() if known is None else known
    while part not in known:
        if os.path.islink(part):
            _check_link(part, folder, roots)
        known.add(part)
        part = os.path.dirname(part)
        if len(part) <= len(folder):
            break


def _check_link(link: str, folder: str, roots: Sequence[str]) -> None:
    real = os.path.realpath(link)
    if not is_below(real, (os.path.realpath(folder), *roots)):
        where = f", which lies in none of {[*roots]!a}"[:150] if roots else ""
        raise UnsafePathError(
            f"{link} is a symbolic link out of {folder}, to {ascii(real)[:120]}{where}: "
            f"copy the data, or pass {folder_option('allow_external')} with a folder that you trust"
        )
    if not os.path.exists(real):
        raise SourceIOError(f"{link} is a link to nothing ({ascii(real)[:120]}): is a disk missing, or was it moved?")
