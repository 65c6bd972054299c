"""Open images: `open_dataarray`, `open_dataset`, `open_datatree`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from ilastik_lazy.api.sources import check_arguments, places_in_tree, require_known, sources_of
from ilastik_lazy.core.axes import parse_axis_names
from ilastik_lazy.core.options import Axes, Limits, Trust
from ilastik_lazy.core.size_text import parse_size
from ilastik_lazy.core.spec import ArraySource, Kind
from ilastik_lazy.core.views.cache import CachedSource
from ilastik_lazy.core.views.stated import VoxelSizes
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.formats import open_sources
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.patterns import StackOrder
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.dataset import Chunks, chunked, moved, to_dataset, variable_name
from ilastik_lazy.project.stated import Stated
from ilastik_lazy.storage.allowed import Folders, checked_options

__all__ = ["open_dataarray", "open_dataset", "open_datatree"]

# The name that to_ome_zarr gives to the array of each level.
_VARIABLE = "image"


def open_dataarray(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    internal_path: str | None = None,
    *,
    axes: Axes | None = None,
    project: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    voxel_size: VoxelSizes | None = None,
    squeeze: bool = False,
    chunks: Chunks = "auto",
    order: str | None = None,
    cache: str | int | None = None,
    stack_along: str | None = None,
    stack_order: StackOrder = "natural",
    storage_options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> xr.DataArray:
    """Open one ilastik image as a lazy, labelled array; only metadata is read.

    Parameters
    ----------
    path
        File, with or without an internal path after it: ``"brain.h5"``, ``"brain.h5/volume/data"``.
        A pattern such as ``"slices/*.png"`` or ``"brain.h5/t*"``, or a list of files, is a stack.
        Zarr may lie behind a network: ``"s3://bucket/brain.zarr"``, ``"https://host/brain.zarr"``.
    internal_path
        Path of the dataset in the file.  Without one, ``exported_data`` or the only image is taken.
    axes
        Names of the axes in storage order, such as ``"zyxc"``, if the file does not name them or
        names them wrongly; or those of each image, by its name or a pattern: ``{"raw": "czyx", "label*": "zyx"}``.
    project
        The ``.ilp`` file that made the export: its class names become the coordinate ``c``, their colours
        ``class_color``; for a segmentation, ``attrs["flag_meanings"]`` and ``attrs["flag_colors"]``.
    kind
        What the numbers mean (``attrs["ilastik_kind"]``), where neither the file nor its name says so: for
        instance ``"segmentation"``, whose pyramid must not be made by averaging.  Classes and ids that are stored as
        floating-point numbers become uint32.
    voxel_size
        Steps along axes where the file does not state them or states them wrongly: ``"z=2um,y=0.5um,x=0.5um"``, or a
        dict ``{"z": "2um", "y": 0.5}``, in which a number has the unit that the file states, or none.
    squeeze
        Drop the single channel of images of classes and ids; by default, dims and shape are those of the file.
    chunks
        Blocks of the dask array: ``"auto"`` groups storage chunks into blocks of 4 to 8 MiB (for images on servers,
        128 MiB divided by the number of cores); ``{}`` takes the storage chunks; a dict, int or tuple works as in
        xarray; None uses no dask at all.
    order
        Move the dims into this order, for instance ``"tczyx"``; without it they stay as stored.
    cache
        Memory for decoded chunks, such as ``"500MB"``, for viewers: scrolling through planes decodes each
        chunk once.  None keeps nothing.
    stack_along
        Axis along which the files of a stack follow one another: ``t``, ``z`` or ``c``.  Without it, ilastik's
        rule: ``z`` for pictures, else the first of t, z, c that the files lack.
    stack_order
        Order of the images that fit a pattern: ``natural`` is that of the numbers in their names, ``t2`` before
        ``t10``; ``text`` is ilastik's own for its stacks.  A list keeps its order.
    storage_options
        How to reach the server of a URL, such as ``{"endpoint_url": "http://127.0.0.1:9000", "anon": True}``;
        whatever is left out is taken from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...).
    limits
        Sizes beyond which a file is refused: an `ilastik_lazy.Limits`.
    trust
        ``"untrusted"`` for files from strangers: the HDF5 library, which malicious files can crash or hang,
        opens them in a separate process only (about 0.2 s more to open).
    allow_external
        Folders whose files HDF5 may refer to by external links, external storage and virtual datasets, and N5
        and Zarr by symbolic links that lead out of their own folder.

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
        The axes are guessed from the shape (``attrs["axes_guessed"]``), metadata were ignored, or no image of
        `project` has the name or the size of this one.

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
    check_arguments(axes, order)
    options = checked_options(limits, trust, allow_external, axes, kind)
    stated = Stated(kind, project, voxel_size, squeeze)
    source = open_paths(path, internal_path, stack_along, storage_options, options, stack_order)
    if options.axes_by_name and isinstance(path, str | os.PathLike):
        require_known(options, source)
    source = stated.view(source, options)
    if cache is not None:
        source = CachedSource(source, parse_size(cache, "cache"))
    name = variable_name(source.spec.name.rsplit("/", 1)[-1])
    return _as_dataset({name: source}, chunks, order)[name]


def open_dataset(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    internal_path: str | None = None,
    axes: Axes | None = None,
    project: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    voxel_size: VoxelSizes | None = None,
    squeeze: bool = False,
    chunks: Chunks = "auto",
    order: str | None = None,
    drop_variables: str | Iterable[str] | None = None,
    stack_along: str | None = None,
    stack_order: StackOrder = "natural",
    storage_options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> xr.Dataset:
    """Open every image of a file as the lazy variables of one Dataset.

    The parameters are those of `open_dataarray`; `kind`, `voxel_size` and `squeeze` apply to every image, and
    `drop_variables` names images to leave out.
    A list of files and a pattern of files, such as ``"frames/t*.h5"``, give a stack for each of the images, which must
    have the same names in all files; a pattern inside files, such as ``"brain.h5/t*"``, gives the images that fit it.
    A variable has the name of the last part of its image's path, or of the whole path, with ``_`` for ``/``,
    where two images would share a name; ``image_x`` replaces ``x``, and likewise for the other axes.
    If two images differ in the length or the positions of a dimension, the dimension of the later image gets the
    image's name as a suffix: ``c_raw``, or ``c_raw_`` if an image is already called ``c_raw``.
    Errors and warnings are those of `open_dataarray`.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> dict(il.open_dataset(sample("probabilities")).sizes)
    {'z': 40, 'y': 128, 'x': 160, 'c': 2}
    """
    check_arguments(axes, order)
    options = checked_options(limits, trust, allow_external, axes, kind)
    stated = Stated(kind, project, voxel_size, squeeze)
    sources = sources_of(
        path, internal_path, stated, drop_variables, storage_options, options, stack_along, stack_order
    )
    return _as_dataset(sources, chunks, order)


def open_datatree(
    path: str | os.PathLike[str],
    *,
    chunks: Chunks = "auto",
    axes: Axes | None = None,
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
        A pyramid (OME-Zarr, Imaris, BigDataViewer), a project (``.ilp``), or any other file that `open_dataset` opens.
    source_roots
        Folders outside its own in which to look for a project's images.
    chunks, axes, order, storage_options, limits, trust, allow_external
        See `open_dataarray`; they apply to every image.  A project takes no `axes` and `order`.

    Returns
    -------
    xarray.DataTree
        Each image is the variable ``image`` of its own node, with its own coordinates.  The levels of a pyramid
        are ``/scale0``, ``/scale1``, ...; those of its label images ``/labels/<name>/scale0``, ....
        A project has ``/lane0000/Raw Data`` and, with the variable ``labels``, ``/lane0000/labels``; its settings and
        classes are attributes of the root.  In other files, each image has the node that its internal path names.

    Raises
    ------
    SourceNotFoundError, MetadataError, ExternalReferenceError, UnsafePathError
        See `open_dataarray`.

    Warns
    -----
    MissingSourceWarning
        Images of a project cannot be opened: their nodes have the reason in ``attrs["problem"]``.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> tree = il.open_datatree(sample("probabilities"))
    >>> list(tree.children), dict(tree["exported_data"].sizes)
    (['exported_data'], {'z': 40, 'y': 128, 'x': 160, 'c': 2})
    """
    check_arguments(axes, order)
    location = Location.parse(path, storage_options=storage_options)
    options = checked_options(limits, trust, allow_external, axes)
    if location.suffix == ".ilp" and location.internal_path is None and not location.is_remote:
        from ilastik_lazy.project.tree import open_project

        if axes is not None or order is not None:
            what = f"{option('axes')} and order="
            raise ArgumentError(f"{what} are for images: a project states the axes of each of its images")
        return open_project(location.path, source_roots=source_roots, chunks=chunks, options=options)
    places = places_in_tree(location, options)
    sources = open_sources(location, list(places.values()), options)
    nodes = {
        place: _as_dataset({_VARIABLE: source}, chunks, order) for place, source in zip(places, sources, strict=True)
    }
    return xr.DataTree.from_dict(nodes)


def _as_dataset(sources: Mapping[str, ArraySource], chunks: Chunks, order: str | None) -> xr.Dataset:
    dataset = chunked(to_dataset(sources), sources, chunks)
    return dataset if order is None else moved(dataset, parse_axis_names(order))
