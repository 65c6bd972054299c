"""Open images: `open_dataarray`, `open_dataset`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from ilastik_lazy.core.axes import parse_axis_names
from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.limits import Limits, Trust
from ilastik_lazy.core.sizes import parse_size
from ilastik_lazy.core.spec import ArraySource, Kind
from ilastik_lazy.core.views.cache import CachedSource
from ilastik_lazy.core.views.unpacked import packed_again
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError
from ilastik_lazy.formats import list_images, open_sources
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.dataset import Chunks, chunked, moved, to_dataset, variable_name
from ilastik_lazy.storage.allowed import Folders, granted

__all__ = ["lazy_dataset", "open_dataarray", "open_dataset"]

_MOST_VARIABLES = 200


def open_dataarray(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    internal_path: str | None = None,
    *,
    axes: str | None = None,
    project: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    chunks: Chunks = "auto",
    order: str | None = None,
    cache: str | int | None = None,
    stack_along: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> xr.DataArray:
    """Open one ilastik image as a lazy, labelled array; only metadata are read.

    Parameters
    ----------
    path
        File, with or without an internal path behind it: ``"brain.h5"``, ``"brain.h5/volume/data"``.
        A pattern such as ``"slices/*.png"``, or a list of files, is a stack.  Zarr may lie behind a network:
        ``"s3://bucket/brain.zarr"``, ``"https://host/brain.zarr"``.
    internal_path
        Path of the dataset in the file.  Without one, ``exported_data`` or the only image is taken.
    axes
        Names of the axes in storage order, such as ``"zyxc"``, where the file does not tell or is wrong.
    project
        The ``.ilp`` that made the export: its class names become the coordinate ``c``.
    kind
        What the numbers mean, where neither the file nor its name tells (``attrs["ilastik_kind"]``): such as
        ``"segmentation"``, whose pyramid must not be made by means.
    chunks
        Blocks of the dask array: ``"auto"`` groups storage chunks into blocks of 4 to 8 MiB, ``{}``
        takes the storage chunks, a dict, int or tuple is as in xarray, None gives no dask at all.
    order
        Move the dims into this order, for instance ``"tczyx"``; without it they stay as stored.
    cache
        Memory for decoded chunks, such as ``"500MB"``, for viewers: scrolling through planes decodes each
        chunk once.  None keeps nothing.
    stack_along
        Axis along which the files of a stack follow one another: ``t``, ``z`` or ``c``.  Without it, ilastik's
        rule: ``z`` for pictures, else the first of t, z, c that the files lack.
    storage_options
        How the server of a URL is reached, as in ``{"endpoint_url": "http://127.0.0.1:9000", "anon": True}``;
        what is left out is taken from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...).
    limits
        Sizes beyond which a file is refused: an `ilastik_lazy.core.limits.Limits`.
    trust
        ``"untrusted"`` for files from strangers: the HDF5 library, which malicious files crash or hang, sees
        them in a process of its own only (0.1 s more to open).
    allow_external
        Folders whose files may be referred to by external links, external storage and virtual datasets of HDF5,
        and by symbolic links that lead out of a folder of N5 or Zarr.

    Returns
    -------
    xarray.DataArray
        Dims out of ``t, z, y, x, c``.  Coordinates are positions of voxel centres, ``origin + index * step``
        with ``units`` such as ``"micrometer"``; a dimension whose step is not known has none.

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    DatasetNotFoundError
        There is no such dataset, or several and none was named.
    MetadataError
        The axes in the file cannot be right; pass `axes`.
    ExternalReferenceError
        The data lie in another file, which `allow_external` does not cover.
    UnsafePathError
        A symbolic link leads out of a folder of N5 or Zarr, to what `allow_external` does not cover.

    Warns
    -----
    MetadataWarning
        The axes are guessed from the shape (``attrs["axes_guessed"]``), or metadata were ignored.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    >>> prob.dims, prob.coords["c"].values.tolist()
    (('z', 'y', 'x', 'c'), ['nucleus', 'background'])
    >>> round(float(prob.sel(c="nucleus").mean()), 3)
    0.057
    """
    _check_arguments(axes, order)
    limits = granted(limits, trust, allow_external)
    source = open_paths(path, internal_path, axes, stack_along, storage_options, limits)
    source = _described(source, project, kind, limits)
    if cache is not None:
        source = CachedSource(source, parse_size(cache, "cache"))
    name = variable_name(source.spec.name.rsplit("/", 1)[-1])
    return _finished({name: source}, chunks, order)[name]


def open_dataset(
    path: str | os.PathLike[str],
    *,
    internal_path: str | None = None,
    axes: str | None = None,
    project: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    chunks: Chunks = "auto",
    order: str | None = None,
    drop_variables: str | Iterable[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> xr.Dataset:
    """Open every image of a file as the lazy variables of one Dataset.

    The parameters are those of `open_dataarray`, `kind` that of every image; `drop_variables` names images to
    leave out.
    A variable is called by the last part of the path of its image; by the whole path, with ``_`` for ``/``, where
    two would have one name; and ``image_x`` instead of ``x`` or another axis.
    Where two images differ in the length or the positions of a dimension, the later one's
    dimension is called after it, such as ``c_raw`` (``c_raw_`` where an image has this name).

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> dict(il.open_dataset(sample("probabilities")).sizes)
    {'z': 40, 'y': 128, 'x': 160, 'c': 2}
    """
    _check_arguments(axes, order)
    location = Location.parse(path, internal_path, storage_options)
    limits = granted(limits, trust, allow_external)
    sources = _all_sources(location, axes, project, kind, drop_variables, limits)
    return _finished(sources, chunks, order)


def lazy_dataset(
    path: str | os.PathLike[str],
    internal_path: str | None,
    axes: str | None,
    project: str | os.PathLike[str] | None,
    drop_variables: str | Iterable[str] | None,
    storage_options: Mapping[str, Any] | None,
    kind: Kind | None,
    limits: Limits,
    mask_and_scale: bool | Mapping[str, bool] | None = None,
) -> xr.Dataset:
    """What xarray's ``engine="ilastik"`` gets, before xarray itself makes dask arrays of it."""
    _check_arguments(axes, None)
    location = Location.parse(path, internal_path, storage_options)
    sources = _all_sources(location, axes, project, kind, drop_variables, limits)
    for name, source in sources.items():
        wanted = mask_and_scale.get(name, True) if isinstance(mask_and_scale, Mapping) else mask_and_scale
        sources[name] = packed_again(source) if wanted is False else source
    return to_dataset(sources)


def _check_arguments(axes: str | None, order: str | None) -> None:
    """What is wrong with the call shall not be blamed on the file."""
    for names in (axes, order):
        if names is not None:
            parse_axis_names(names)


def _described(
    source: ArraySource, project: str | os.PathLike[str] | None, kind: Kind | None, limits: Limits
) -> ArraySource:
    if kind is not None:
        source = with_kind(source, kind)
    if project is None:
        return source
    from ilastik_lazy.project.classes import with_classes

    return with_classes(source, project, limits)


def _all_sources(
    location: Location,
    axes: str | None,
    project: str | os.PathLike[str] | None,
    kind: Kind | None,
    drop_variables: str | Iterable[str] | None,
    limits: Limits,
) -> dict[str, ArraySource]:
    if location.internal_path is not None:
        inside = [location.internal_path]
    elif not (inside := list_images(location, limits=limits)):
        raise DatasetNotFoundError(f"{location.path} holds no image: no numeric dataset with 2 to 5 dimensions")
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    names = {name: path for name, path in _variable_names(inside).items() if name not in dropped}
    if len(names) > _MOST_VARIABLES:
        raise ArgumentError(
            f"{location.path} holds {len(names)} images, such as {inside[0]}: name one with internal_path="
        )
    sources = open_sources(location, list(names.values()), axes=axes, limits=limits)
    return {name: _described(source, project, kind, limits) for name, source in zip(names, sources, strict=True)}


def _variable_names(paths: list[str]) -> dict[str, str]:
    """The last part of each path; the whole path, with ``_`` for ``/``, where that is not unique.

    >>> _variable_names(["x", "vol/x", "raw"])
    {'image_x': 'x', 'vol_x': 'vol/x', 'raw': 'raw'}
    """
    last = [path.rsplit("/", 1)[-1] for path in paths]
    names = [
        variable_name(name if last.count(name) == 1 else path.replace("/", "_"))
        for name, path in zip(last, paths, strict=True)
    ]
    if len(set(names)) < len(names):
        # "a/b" beside "a_b": only the paths themselves are sure to differ.
        names = [variable_name(path) for path in paths]
    made: dict[str, str] = {}
    for name, path in zip(names, paths, strict=True):
        # "image_x" beside "x".
        while name in made or (name != path and name in paths):
            name += "_"
        made[name] = path
    return made


def _finished(sources: Mapping[str, ArraySource], chunks: Chunks, order: str | None) -> xr.Dataset:
    dataset = chunked(to_dataset(sources), sources, chunks)
    return dataset if order is None else moved(dataset, parse_axis_names(order))
