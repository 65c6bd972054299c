"""Resolve the paths in a project on this machine, and refuse those that must not be followed.

A path in a project is data from whoever made the file.  It is followed only if it stays below the project's
folder, or below a folder that the caller named.  Projects and images move between machines, so a file that is not
where the path leads is searched for below the named folders (not below the project's own): the longest end of the
path that exists there is used.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ilastik_lazy.errors import (
    IlastikLazyError,
    LimitExceededError,
    SourceNotFoundError,
    UnknownFormatError,
    UnsafePathError,
    folder_option,
    option,
    remedy,
)
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.path_text import (
    CONTAINERS,
    DRIVE,
    WILDCARD,
    common_end,
    end_of,
    first_wildcard,
    is_url,
    last_start,
    names_of,
    path_of_url,
    split_paths,
    splits,
)
from ilastik_lazy.storage.allowed import Folders, is_below, named_folders

__all__ = ["Roots", "ambiguous_paths", "resolve"]

_MOST_PATHS = 1000
_VERBATIM = re.compile(r"//[?.]/(UNC/)?", re.IGNORECASE)  # "\\?\" of Windows before long names
_MOST_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders that images may be opened from."""

    project: str
    """Folder of the project, symbolic links resolved."""

    named: tuple[str, ...] = ()
    """Folders that the caller named, as spelled and with symbolic links resolved."""

    @classmethod
    def of(cls, project: str, source_roots: Folders) -> Roots:
        """Check the folders that the caller named.

        Raises
        ------
        ArgumentError
            One of them is not a folder.
        """
        named: dict[str, None] = {}
        for folder in named_folders(source_roots, "source_roots"):
            named |= {os.path.realpath(folder): None, folder: None}
        return cls(os.path.dirname(os.path.realpath(project)), tuple(named))


def resolve(text: str, roots: Roots) -> tuple[Location, ...]:
    """Find the file and the dataset that a path in a project stands for; several for a stack.

    Parameters
    ----------
    text
        The path as stored: relative to the project or absolute, followed by the internal path.
    roots
        Folders that may hold files.  Paths with ``..``, ``~``, globs or lists need one of `Roots.named`.  A file that
        is not where the path leads is searched for below `Roots.named`.

    Raises
    ------
    UnsafePathError
        The path leads out of these folders; nothing there was opened or listed.
    LimitExceededError
        It lists more than 1000 files.
    SourceNotFoundError
        There is no such file, or several folders have one.
    UnknownFormatError
        It is a pattern of datasets in one file.
    """
    shown = ascii(text[:80])
    if "\0" in text:
        raise UnsafePathError(f"the path {shown} contains a NUL byte, which no file name can contain")
    if not text.strip():
        raise SourceNotFoundError("the project names no file: choose the image again in ilastik")
    parts = split_paths(text)
    if len(parts) > _MOST_PATHS:
        raise LimitExceededError(f"the path {shown}... lists {len(parts)} files, more than {_MOST_PATHS}")
    found = {part: _expanded(part, roots, is_listed=len(parts) > 1) for part in parts}
    for problem in _taken_for_another(found, roots).values():
        raise SourceNotFoundError(problem)
    return tuple(location for part in parts for location in found[part])


def ambiguous_paths(texts: Iterable[str], roots: Roots) -> dict[str, str]:
    """Find paths of one project that lead to the file of another path, and return a message for each.

    ``exp1/img.h5`` and ``exp2/img.h5`` are two images; in a folder that holds only one ``img.h5``, both lead to it.
    """
    found: dict[str, list[Location]] = {}
    for text in dict.fromkeys(texts):
        try:
            resolve(text, roots)
            parts = split_paths(text)
            found |= {part: _expanded(part, roots, is_listed=len(parts) > 1) for part in parts}
        except IlastikLazyError:
            continue  # reported when the image is opened
    wrong = _taken_for_another(found, roots)
    return {text: wrong[part] for text in dict.fromkeys(texts) for part in split_paths(text) if part in wrong}


def _taken_for_another(found: Mapping[str, Sequence[Location]], roots: Roots) -> dict[str, str]:
    """Return a message for each part of a path whose file matches another part equally well or better."""
    by_file: dict[str, list[str]] = {}
    for part, locations in found.items():
        for path in {location.path for location in locations}:
            by_file.setdefault(path, []).append(part)
    wrong = {}
    for path, parts in by_file.items():
        for part in parts:
            if other := next((each for each in parts if _fits_better(each, part, path, roots)), None):
                wrong[part] = (
                    f"{part[:80]!a} was not found, and {path} seems to be {other[:80]!a}, another image of the "
                    f"project: pass {folder_option('source_roots')}, with a folder above both"
                )
    return wrong


def _fits_better(other: str, part: str, path: str, roots: Roots) -> bool:
    """Whether the file at `path`, found for both, matches `other` equally well or better."""
    names, others = (names_of(splits(each)[0][0]) for each in (part, other))
    if WILDCARD.search(part) or WILDCARD.search(other):
        names, others = names[:-1], others[:-1]
    count = min(len(names), len(others))
    if names[len(names) - count :] == others[len(others) - count :] or _is_in_place(part, roots):
        return False
    return _is_in_place(other, roots) or common_end(others, path) >= common_end(names, path)


def _is_in_place(part: str, roots: Roots) -> bool:
    """Whether the file exists exactly where the path leads."""
    real = _inside(*_place(splits(part)[0][0], roots)) if not is_url(part) else None
    return real is not None and os.path.exists(real)


def _expanded(part: str, roots: Roots, *, is_listed: bool) -> list[Location]:
    """Find the file that `part` names, or all files that match it as a pattern; never none."""
    shown = ascii(part[:80])
    if is_listed and not roots.named:
        raise UnsafePathError(f"{shown} is in a list of files: {_hint()}")
    if is_url(part):
        part = path_of_url(part)
    part = _VERBATIM.sub(lambda found: "//" if found[1] else "", part) if part.startswith("//") else part
    is_out = False
    for external, internal in splits(part):
        path, within = _place(external, roots)
        if (real := _inside(path, within)) is not None:
            if _is_there(real, shown):
                return [Location(real, internal)]
        else:
            is_out = True
            if os.path.isabs(path) and is_below(os.path.normpath(path), within):
                raise UnsafePathError(f"{shown} is a link out of the allowed folders: {_hint()}")
    for start in range(last_start(part) + 1):
        for external, internal in splits(part):
            if end := end_of(external, start):
                places = [_inside(os.path.join(root, end), roots.named) for root in roots.named]
                if found := [real for real in dict.fromkeys(places) if real and _is_there(real, shown)]:
                    return [Location(_only(found, shown), internal)]
    if WILDCARD.search(part):
        return _matches(part, roots)
    if is_out:
        raise UnsafePathError(f"{shown} leads out of the project's folder{_searched(part, roots)}: {_hint()}")
    raise SourceNotFoundError(
        f"no such file: {shown}, searched for in {roots.project}{_searched(part, roots)}: put it there, "
        f"or pass {folder_option('source_roots')}, with the folder that the path starts from"
    )


def _hint() -> str:
    return f"pass {folder_option('source_roots')}, with the folder that holds it"


def _searched(part: str, roots: Roots) -> str:
    """Say where else a file was searched for, and under which names; empty without named folders."""
    if not roots.named:
        return ""
    external = splits(part)[0][0]
    first, last = end_of(external, 0), end_of(external, last_start(part))
    names = ascii(first[-80:]) if first == last else f"{first[-80:]!a} down to {last[-80:]!a}"
    folders = list(dict.fromkeys(map(os.path.realpath, roots.named)))
    return f", and nothing from {names} exists below {_listed(folders)}" if first else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(name.encode("utf-8", "replace").decode() for name in names[:_MOST_SHOWN]) + more


def _only(found: Sequence[str], shown: str) -> str:
    """Return the only file that matches."""
    if len(found) > 1:
        raise SourceNotFoundError(
            f"{shown} may be any of {len(found)}: {_listed(found)}; "
            f"pass {folder_option('source_roots')}, with one of the folders"
        )
    return found[0]


def _matches(pattern: str, roots: Roots) -> list[Location]:
    """Find the files that match a glob, sorted as text, as ilastik does."""
    shown = ascii(pattern[:80])
    if not roots.named:
        raise UnsafePathError(f"{shown} is a pattern of file names: {_hint()}")
    if ".." in pattern.split("/"):
        raise UnsafePathError(f"{shown} is a pattern that contains '..': open the files themselves")
    external, internal = splits(pattern)[0]
    if (first := WILDCARD.search(external)) is None:
        what_now = remedy("open the file with open_dataset()", "name the file itself")
        raise UnknownFormatError(f"{shown} is a stack of datasets in one file: {what_now}")
    path, _ = _place(external, roots)
    # The folder before the first wildcard must be allowed before anything is listed.
    fixed = os.path.dirname(path[: len(path) - len(external) + first.start()])
    if _inside(fixed, roots.named) is not None and (found := _globbed(path[len(fixed) :], fixed, roots, shown)):
        return [Location(name, internal) for name in found]
    for start in range(last_start(external[: first.start()] + "*") + 1):
        found_in = {}
        for root in dict.fromkeys(map(os.path.realpath, roots.named)):
            end = end_of(external, start)
            fixed = os.path.dirname(os.path.join(root, end[: first_wildcard(end)]))
            if _inside(fixed, roots.named) is not None and (found := _globbed(end, root, roots, shown)):
                found_in[root] = found
        if found_in:
            _only(list(found_in), shown)
            return [Location(name, internal) for found in found_in.values() for name in found]
    if os.path.isabs(path) and not is_below(path, roots.named):
        where = f"the folders in {option('source_roots')}{_searched(pattern, roots)}"
        raise UnsafePathError(f"{shown} leads out of {where}: {_hint()}")
    raise SourceNotFoundError(f"no file matches {shown}{_searched(pattern, roots)}")


def _globbed(pattern: str, folder: str, roots: Roots, shown: str) -> list[str]:
    """Find matching files below `folder`, without those behind links that lead out."""
    listed = sorted(itertools.islice(glob.iglob(pattern.lstrip("/"), root_dir=folder), _MOST_PATHS + 1))
    if len(listed) > _MOST_PATHS:
        raise LimitExceededError(f"{shown} matches more than {_MOST_PATHS} files")
    found = [inside for name in listed if (inside := _inside(os.path.join(folder, name), roots.named)) is not None]
    # A pattern such as "*" means images, not the folders beside them.
    return [name for name in found if os.path.isfile(name) or CONTAINERS.search(name)]


def _place(external: str, roots: Roots) -> tuple[str, tuple[str, ...]]:
    """Return where a path leads, and the folders that it must stay below."""
    expanded = os.path.expanduser(external) if external.startswith("~") and roots.named else external
    if expanded.startswith("~") or (DRIVE.match(expanded) and not os.path.isabs(expanded)):
        return expanded, roots.named
    own = os.path.join(roots.project, expanded)
    # `os.path.join` returns an absolute path unchanged.
    return own, roots.named if ".." in expanded.split("/") else (roots.project, *roots.named)


def _is_there(real: str, shown: str) -> bool:
    if os.path.isfile(real) or os.path.isdir(real):
        return True
    if os.path.exists(real):
        raise UnsafePathError(f"{shown} is neither a file nor a folder")
    return False


def _inside(path: str, within: Sequence[str]) -> str | None:
    """Resolve symbolic links; None unless `path` lies below one of the folders before and after."""
    if not os.path.isabs(path) or not is_below(os.path.normpath(path), within):
        return None
    real = os.path.realpath(path)
    return real if is_below(real, within) else None
