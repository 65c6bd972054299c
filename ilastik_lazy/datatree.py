"""Open all images of a file as a tree: `open_datatree`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

from ilastik_lazy.core.axes import parse_axis_names
from ilastik_lazy.core.limits import Limits, Trust
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError
from ilastik_lazy.formats import format_of, open_sources
from ilastik_lazy.formats.location import Location
from ilastik_lazy.lazy.dataset import Chunks, chunked, moved, to_dataset
from ilastik_lazy.storage.allowed import Folders, granted

__all__ = ["open_datatree"]

# The name that to_ome_zarr gives to the array of each level.
_VARIABLE = "image"


def open_datatree(
    path: str | os.PathLike[str],
    *,
    chunks: Chunks = "auto",
    axes: str | None = None,
    order: str | None = None,
    source_roots: Sequence[str | os.PathLike[str]] = (),
    storage_options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> xr.DataTree:
    """Open every image of a file, and every level of a pyramid, as lazy nodes of one tree.

    Parameters
    ----------
    path
        A multiscale OME-Zarr, a project (see `open_project`), or any file that `open_dataset` opens.
    chunks, axes, order, storage_options, limits, trust, allow_external
        As of `open_dataarray`; `axes` are those of every image.
    source_roots
        Folders outside its own in which a project's images may be looked for.

    Returns
    -------
    xarray.DataTree
        Each image is the variable ``image`` of a node of its own, with coordinates of its own.  The levels
        of a pyramid are ``/scale0``, ``/scale1``, ...; those of its label images ``/labels/<name>/scale0``, ....
        Of other files, each image has the node that its internal path names.

    Examples
    --------
    >>> import tempfile, pathlib, ilastik_lazy as il
    >>> from ilastik_lazy.datatree import open_datatree
    >>> from ilastik_lazy.demo import sample
    >>> tree = open_datatree(sample("probabilities"))
    >>> list(tree.children), dict(tree["exported_data"].sizes)
    (['exported_data'], {'z': 40, 'y': 128, 'x': 160, 'c': 2})
    """
    for names in (axes, order):
        if names is not None:
            parse_axis_names(names)
    location = Location.parse(path, storage_options=storage_options)
    limits = granted(limits, trust, allow_external)
    if location.suffix == ".ilp" and location.internal_path is None and not location.is_remote:
        from ilastik_lazy.project.tree import open_project

        if axes is not None or order is not None:
            raise ArgumentError("axes= and order= are for images: a project tells the axes of each of its own")
        return open_project(location.path, source_roots=source_roots, chunks=chunks, limits=limits)
    module = format_of(location, limits).load()
    inside = {location.internal_path: location.internal_path} if location.internal_path else None
    # A format whose images belong together says how; of all others each image is a node.
    arrange: Callable[[Location, Limits], dict[str, str]] | None = getattr(module, "tree", None)
    places = inside or (arrange(location, limits) if arrange else {p: p for p in module.images(location, limits)})
    if not places:
        raise DatasetNotFoundError(f"{location.path} holds no image: no numeric dataset with 2 to 5 dimensions")
    places = _without_nesting(places)
    sources = open_sources(location, list(places.values()), axes=axes, limits=limits)
    nodes = {place: _dataset(source, chunks, order) for place, source in zip(places, sources, strict=True)}
    return xr.DataTree.from_dict(nodes)


def _dataset(source: ArraySource, chunks: Chunks, order: str | None) -> xr.Dataset:
    sources = {_VARIABLE: source}
    dataset = chunked(to_dataset(sources), sources, chunks)
    return dataset if order is None else moved(dataset, parse_axis_names(order))


def _without_nesting(places: dict[str, str]) -> dict[str, str]:
    """`places`, flat where one lies inside another: a tree hands the coordinates of a node down to those below."""
    above = {place.rsplit("/", k)[0] for place in places for k in range(1, place.count("/") + 1)}
    if above.isdisjoint(places):
        return places
    return {place.replace("/", "_"): internal_path for place, internal_path in places.items()}
