"""Open what a function is to write: a path with the options of `open_dataarray`, or what is open already."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypedDict, TypeVar

from ilastik_lazy.core.options import Axes, Limits, Trust
from ilastik_lazy.core.spec import ArraySource, Kind
from ilastik_lazy.core.views.stated import VoxelSizes
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.project.stated import Stated
from ilastik_lazy.storage.allowed import Folders, checked_options
from ilastik_lazy.storage.object_store import is_url

__all__ = ["Opening", "open_any", "takes_opening"]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Opening(TypedDict, total=False):
    """How a source is opened: keyword arguments, as of `open_dataarray`."""

    axes: Axes | None
    project: str | os.PathLike[str] | None
    kind: Kind | None
    voxel_size: VoxelSizes | None
    limits: Limits | None
    trust: Trust
    allow_external: Folders


def takes_opening(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Let `function`, whose last parameters are those of `Opening`, refuse unknown keywords by its own name."""
    own = inspect.signature(function).parameters
    names = [*(name for name, each in own.items() if each.kind is not each.VAR_KEYWORD), *Opening.__annotations__]
    called = function.__name__.removesuffix("_image")  # `verify_image` is `verify` to callers

    @functools.wraps(function)
    def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        for unknown in kwargs.keys() - set(names):
            similar = difflib.get_close_matches(unknown, names, 1)
            hint = f". Did you mean {similar[0]!r}?" if similar else ""
            raise TypeError(f"{called}() got an unexpected keyword argument {unknown!r}{hint}")
        return function(*args, **kwargs)

    return checked


def open_any(
    source: AnySource,
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    axes: Axes | None = None,
    project: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    voxel_size: VoxelSizes | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> ArraySource:
    """Open a path, or describe what is open already by `project`, `kind` and `voxel_size`, and an array by `axes`.

    Raises
    ------
    ArgumentError
        `axes` or `internal_path` is given for what is open already.
    """
    stated = Stated(kind, project, voxel_size)
    options = checked_options(limits, trust, allow_external, axes, kind)
    if isinstance(source, str | os.PathLike):
        at = storage_options if is_url(source) else None
        found = open_paths(source, internal_path, storage_options=at, options=options)
    elif internal_path is not None:
        raise ArgumentError(
            f"{option('internal_path')} is for a path, and the source is open already: pass it to open_dataarray"
        )
    else:
        found = as_source(source, storage_options, options)
    return stated.view(found, options)
