"""Whether an export is that of an image of a project, as far as names and sizes show.

A project does not record what it exported.  Its lanes state names and sizes of their images; an export has the name
``{nickname}_{result_type}`` unless its user changed it, and is never larger than its image.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ilastik_lazy.core.kinds import nickname_of
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import IlastikLazyError
from ilastik_lazy.project.inputs import Lane, RecordedInput, open_input
from ilastik_lazy.project.path_text import names_of, split_paths, splits
from ilastik_lazy.project.paths import Roots

__all__ = ["foreign_image"]

_MOST_SHOWN = 3
_MOST_OPENED = 8
_SPACE_AND_TIME = "tzyx"

_Sizes = dict[str, float]
"""Lengths along space and time; an axis of length 1 is as good as none, and an unknown length is infinite."""


def foreign_image(specs: Sequence[ArraySpec], lanes: Sequence[Lane], project: str, options: OpenOptions) -> str:
    """Say why none of `specs` is the export of an image of `project`; return an empty text if one may be.

    An export is foreign if it is too large to be a part of any image, or differs from all of them in name and in
    size.  Another name alone does not count: projects process many images of one size in a batch.
    """
    inputs = [each for lane in lanes for each in lane.inputs]
    if not inputs or any(not spec.storage.path or spec.axes_guessed for spec in specs):
        return ""
    nickname = _words(nickname_of(specs[0].storage.path))
    names = [os.path.splitext(os.path.basename(project))[0], *(name for each in inputs for name in _names_of(each))]
    is_named = not nickname or any(_is_in(name, nickname) or _is_in(nickname, name) for name in map(_words, names))
    # What has the right name need not be compared with the image itself.
    known = [
        _sizes_of(each, project, options, opens=not is_named and n < _MOST_OPENED) for n, each in enumerate(inputs)
    ]
    for spec in specs:
        own = _sizes(spec.dims, spec.shape)
        if any(_is_all_of(own, whole) or (is_named and _is_part_of(own, whole)) for whole in known):
            return ""
    shown = dict.fromkeys(
        f"{(each.nickname or each.role)[:40]!a} ({_shown(sizes)})" for each, sizes in zip(inputs, known, strict=True)
    )
    more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    return (
        f"no image of {project} has its {'size' if is_named else 'name or size'}: it has {_shown(own)}, "
        f"and the project has {', '.join(list(shown)[:_MOST_SHOWN])}{more}"
    )


def _sizes(dims: Iterable[str], shape: Iterable[float]) -> _Sizes:
    return {axis: n for axis, n in zip(dims, shape, strict=True) if n != 1 and axis in _SPACE_AND_TIME}


def _sizes_of(recorded: RecordedInput, project: str, options: OpenOptions, *, opens: bool) -> _Sizes:
    """Return the sizes that a project recorded; old projects recorded none, and their images are opened if `opens`."""
    if recorded.axes is not None and recorded.shape is not None:
        return _sizes((axis.name for axis in recorded.axes), recorded.shape)
    try:
        if opens:
            own = replace(options, axes=None, axes_by_name=(), kind="")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                spec = open_input(project, recorded, Roots.of(project, ()), own).spec
            if not spec.axes_guessed:
                return _sizes(spec.dims, spec.shape)
    except IlastikLazyError:
        pass  # it lies elsewhere, or cannot be read: its size remains unknown
    names = _SPACE_AND_TIME if recorded.axes is None else [axis.name for axis in recorded.axes]
    return _sizes(names, [math.inf] * len(names))


def _is_all_of(own: _Sizes, whole: _Sizes) -> bool:
    return own.keys() <= whole.keys() and all(n in (own.get(axis, 1), math.inf) for axis, n in whole.items())


def _is_part_of(own: _Sizes, whole: _Sizes) -> bool:
    return all(n <= whole.get(axis, 1) for axis, n in own.items())


def _shown(sizes: _Sizes) -> str:
    axes = [axis for axis in _SPACE_AND_TIME if axis in sizes]
    if axes and all(sizes[axis] == math.inf for axis in axes):
        return f"{''.join(axes)} of unknown size"
    shown = [f"{axis} {sizes[axis]}".replace("inf", "of unknown length") for axis in axes]
    return ", ".join(shown) or "one voxel"


def _names_of(recorded: RecordedInput) -> list[str]:
    """Return the names that ilastik, or its user, may call an export by: the nickname, and those of the files."""
    files = [splits(part)[0][0] for part in split_paths(recorded.file_path or "")]
    return [recorded.nickname, *(os.path.splitext(names[-1])[0] for file in files if (names := names_of(file)))]


def _words(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.casefold()))


def _is_in(words: str, others: str) -> bool:
    return bool(words) and f" {words} " in f" {others} "
