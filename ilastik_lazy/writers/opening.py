"""Open what a function is to write: a path with the options of `open_dataarray`, or what is open already."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.options import Limits, OpenOptions, Trust
from ilastik_lazy.core.spec import ArraySource, Kind
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.storage.allowed import Folders, checked_options
from ilastik_lazy.storage.object_store import is_url

__all__ = ["Opening", "open_any", "with_kind_and_classes"]


class Opening(TypedDict, total=False):
    """How a source is opened: keyword arguments, as of `open_dataarray`."""

    axes: str | None
    project: str | os.PathLike[str] | None
    kind: Kind | None
    limits: Limits | None
    trust: Trust
    allow_external: Folders


def open_any(
    source: AnySource,
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    axes: str | None = None,
    project: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> ArraySource:
    """Open a path; `project` and `kind` also hold for what is open already, `axes` for an array without names.

    Raises
    ------
    ArgumentError
        `axes` or `internal_path` is given for what is open already.
    """
    options = checked_options(limits, trust, allow_external, axes)
    if isinstance(source, str | os.PathLike):
        at = storage_options if is_url(source) else None
        found = open_paths(source, internal_path, storage_options=at, options=options)
    elif internal_path is not None:
        raise ArgumentError(
            f"{option('internal_path')} is for a path, and the source is open already: pass it to open_dataarray"
        )
    else:
        found = as_source(source, storage_options, options)
    return with_kind_and_classes(found, project, kind, options)


def with_kind_and_classes(
    source: ArraySource, project: str | os.PathLike[str] | None, kind: Kind | None, options: OpenOptions
) -> ArraySource:
    """Give a source the kind and the classes that a caller states."""
    if kind is not None:
        source = with_kind(source, kind)
    if project is None:
        return source
    from ilastik_lazy.project.classes import with_classes

    return with_classes(source, project, options)
