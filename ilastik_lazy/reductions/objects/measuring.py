"""`measure_objects`: a table of the objects of a label image, in one pass over the data."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ilastik_lazy.core.options import OpenOptions, Trust
from ilastik_lazy.core.parallel import Progress, threads_for
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import converted
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.window import transposed
from ilastik_lazy.errors import ArgumentError, option, remedy
from ilastik_lazy.lazy.frames import Frames, frames_of
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.project.classes import with_classes
from ilastik_lazy.reductions.objects.columns import (
    DEFAULT_PROPERTIES,
    PROPERTIES,
    by_channel,
    columns_of,
    units_of,
    unknown_property,
    wanted_for,
)  # fmt: skip
from ilastik_lazy.reductions.objects.crops import OF_WHOLE_OBJECTS, check_whole_objects, whole_object_columns
from ilastik_lazy.reductions.objects.labelling import ObjectsSource
from ilastik_lazy.reductions.objects.measuring_pass import Image, Measure, measured_labels, measured_objects
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes, Space
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.storage.allowed import checked_options
from ilastik_lazy.warning import warn

__all__ = ["measure_objects"]

Array = np.ndarray[Any, Any]


@shows_progress("measuring", 3)
def measure_objects(
    labels: AnySource,
    intensity: AnySource | None = None,
    *,
    properties: Sequence[str] = DEFAULT_PROPERTIES,
    project: str | os.PathLike[str] | None = None,
    trust: Trust = "local",
    workers: int | None = None,
    progress: Progress | bool | None = None,
) -> pd.DataFrame:
    """Measure the objects of a label image, block by block.

    The image is read once, and memory grows only with the number of objects.  The objects of
    `label_objects` are measured as they are found, and no label image is made.

    Parameters
    ----------
    labels
        What `label_objects` returned, or any label image: whole numbers; values below 1 are background.  In a
        segmentation each class is one object, with a warning; pass ``label_objects(segmentation, classes="nucleus")``
        for its parts.
    intensity
        Image of the same voxels along t, z, y and x, perhaps with channels, each of which gets its own columns.  If
        both have positions, these must agree within half a voxel.
    properties
        Names as in `skimage.measure.regionprops`: ``num_pixels``, ``area``, ``bbox``, ``area_bbox``, ``extent``,
        ``centroid``, ``equivalent_diameter_area``, ``inertia_tensor_eigvals``, ``axis_major_length``,
        ``axis_minor_length``, and in two dimensions ``eccentricity`` and ``orientation``; for intensities
        ``intensity_mean``, ``intensity_std``, ``intensity_min``, ``intensity_max``, ``intensity_sum``, and
        ``centroid_weighted``.  In addition, ``touches_border``: whether the object lies at a border of the image.

        In a second pass, which reads each object as a whole and needs scikit-image (extra ``shapes``): ``perimeter``
        (in two dimensions), ``euler_number``, ``intensity_median``, ``area_convex``, ``solidity``,
        ``feret_diameter_max``.
        In a volume the last three are NaN for an object whose voxels lie in one plane, such as a single voxel.
        Memory then also holds the boxes around the largest objects, one for each thread.
    project
        Project whose classes name the channels of `intensity`.
    trust
        ``"untrusted"``: the HDF5 library sees `project`, and images that are given by their paths, in another process
        only; see `open_dataarray`.
    workers
        Number of threads; by default one for each processor.  The result does not depend on it.
    progress
        True shows a progress bar; a function is called now and then from this thread, and an exception in it ends
        the work.

    Returns
    -------
    pandas.DataFrame
        A row for each object, in the order of frames and labels: ``timestep`` (of a time series: the number of the
        frame, from 0, in the image as it was opened, also where a part of it was labelled or is measured),
        ``channel`` (where `labels` have several), ``label``, and the columns of the properties.  Columns for axes
        end in their letters (``centroid_z``, ``bbox_x_max``), those of several channels in the names of channels, or in
        their numbers from 0 where names are missing or not unique.
        Where the image has positions with units, lengths, areas, volumes and centroids are physical, and
        ``attrs["units"]`` has the unit of each such column; ``centroid`` is a position in the coordinates of the
        image.  ``bbox`` and ``num_pixels`` count voxels, and ``bbox_..._max`` is exclusive.  An object with NaN
        among its intensities has NaN in all their columns, as in numpy and scikit-image.

    Raises
    ------
    ArgumentError
        A property is not known, or needs an image; the images differ in size or lie at other positions; or whole
        numbers in `intensity` are beyond 2**53, so that float64 would round them.

    Warns
    -----
    MetadataWarning
        `labels` holds classes, or is a mask: their parts are not told apart.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> nuclei = il.open_dataarray(sample("probabilities"), project=sample("project")).sel(c="nucleus")
    >>> table = il.measure_objects(il.label_objects(nuclei, min_size=20), sample("raw"))
    >>> table[["label", "num_pixels", "intensity_mean"]].round(1).head(2)
       label  num_pixels  intensity_mean
    0      1        1121           141.1
    1      2         765           119.1
    """
    assert not isinstance(progress, bool)
    options = checked_options(trust=trust)
    source = as_source(labels, options=options)
    shown, _ = frames_of(labels if isinstance(labels, xr.DataArray) else source)
    axes = ObjectAxes.of(source.spec)
    image, channels = _image(intensity, source.spec, project, options)
    space = Space.of([source.spec.axes[axis] for axis in axes.space], [source.spec.shape[axis] for axis in axes.space])
    names = [properties] if isinstance(properties, str) else list(properties)
    known = [*PROPERTIES, *OF_WHOLE_OBJECTS]
    if unknown := [name for name in names if name not in known]:
        raise unknown_property(unknown[0], known)
    of_whole = [name for name in names if name in OF_WHOLE_OBJECTS]
    check_whole_objects(of_whole, space, image is not None)
    chosen, wanted = wanted_for([name for name in names if name not in OF_WHOLE_OBJECTS], space.ndim, image is not None)
    measure = Measure(axes, source.spec.dims, wanted, image)
    made = _objects_behind(source)
    is_mask = source.spec.dtype.kind == "b"
    if is_mask or source.spec.holds_classes:
        held = "is a mask, so it" if is_mask else "holds classes, so each"
        what = "label_objects(mask)" if is_mask else remedy("label_objects(segmentation, classes=...)", "--class")
        warn(f"{source.spec.storage.location} {held} is measured as one object: pass {what} for its parts")
    if made is not None:
        objects = measured_objects(made, measure, threads_for(workers), progress)
    else:
        objects = measured_labels(source, measure, threads_for(workers), progress)
    frames, ids, sums = objects
    columns, units = columns_of(sums, space, channels, chosen)
    if of_whole:
        found = whole_object_columns(source, axes, image, space, of_whole, objects, threads_for(workers))
        for name, values in found.items():
            more = by_channel(name, values, channels if name == "intensity_median" else [""])
            columns |= more
            units |= units_of(more, OF_WHOLE_OBJECTS[name], space)
    table = pd.DataFrame(_keys(source.spec, frames, ids, shown) | columns)
    if units:
        table.attrs["units"] = units
    return table


def _objects_behind(source: ArraySource) -> ObjectsSource | None:
    """Return the source that `label_objects` made, if `source` shows all of it under the same names of axes."""
    dims = source.spec.dims
    while isinstance(source, DescribedSource):
        source = source.source
    return source if isinstance(source, ObjectsSource) and source.spec.dims == dims else None


def _image(
    intensity: AnySource | None, labels: ArraySpec, project: str | os.PathLike[str] | None, options: OpenOptions
) -> tuple[Image | None, list[str]]:
    """Return the intensities beside labels, and the names of their channels."""
    if intensity is None:
        return None, []
    source = as_source(intensity, options=options)
    if project is not None:
        source = with_classes(source, project, options)
    spec = source.spec
    if spec.dtype.kind not in "biuf":
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers can be measured")
    sizes = {name: length for name, length in zip(labels.dims, labels.shape, strict=True) if name != "c"}
    others = dict(zip(spec.dims, spec.shape, strict=True))
    channels = others.pop("c", 0)
    if others != sizes:
        raise ArgumentError(
            f"{spec.storage.location} has the sizes {others}, and {labels.storage.location} has {sizes}: "
            f"{option('intensity')} must show the same voxels as the labels"
        )
    _require_same_place(labels, spec)
    if "c" in spec.dims and not channels:
        raise ArgumentError(f"{spec.storage.location} has no channels: there is nothing to measure in it")
    order = [spec.dims.index(name) for name in (*sizes, *("c" for _ in range("c" in spec.dims)))]
    names = [""]
    if channels > 1:
        is_named = len(set(spec.channel_names)) == len(spec.channel_names) == channels
        names = list(spec.channel_names if is_named else map(str, range(channels)))
    return Image(transposed(source, order), channels), names


def _require_same_place(labels: ArraySpec, image: ArraySpec) -> None:
    """Raise if two images of one size are other parts, or have other steps, as far as both have positions."""
    lengths = dict(zip(labels.dims, labels.shape, strict=True))
    for axis, other in itertools.product(labels.axes, image.axes):
        if axis.name != other.name or not lengths[axis.name]:
            continue
        mine, its = axis.positions(lengths[axis.name]), other.positions(lengths[axis.name])
        factor, later = converted(1.0, other.unit, axis.unit), _time_between(axis.since, other.since, axis.unit)
        if mine is None or its is None or factor is None or later is None:
            continue
        its = its * factor + later
        if not axis.since and axis.is_placed != other.is_placed and 0.0 in (axis.translation, other.translation):
            # One of the files says nothing of its place: most exports do not.
            mine, its = mine - mine[0], its - its[0]
        # Some programs count from the border of the first voxel, and not from its centre.
        if np.abs(mine - its)[[0, -1]].max() > 0.501 * float(axis.scale or 1):
            here, there = (f"{each[0]:.6g} to {each[-1]:.6g} {axis.unit}".rstrip() for each in (mine, its))
            what = remedy(
                f"pass the same part of both; if it is the same, .drop_vars({axis.name!r}) from one",
                "pass the image that FILE was made of",
            )
            raise ArgumentError(
                f"{image.storage.location} lies at {there} along {axis.name}, and {labels.storage.location} at "
                f"{here}: {what}"
            )


def _time_between(date: str, later: str, unit: str) -> float | None:
    """Return the time from one date that positions are counted from to another, in `unit`; None if it is not known."""
    if date == later:
        return 0.0
    if not (date and later and unit):
        return None
    try:
        passed = pd.to_datetime(later, utc=True) - pd.to_datetime(date, utc=True)
        return passed.total_seconds() / pd.Timedelta(f"1 {unit}").total_seconds()
    except ValueError:  # no date that pandas knows, or no unit of time
        return None


def _keys(spec: ArraySpec, frames: Array, ids: Array, shown: Frames | None) -> dict[str, Array]:
    """Make the columns that identify the object of a row.

    Parameters
    ----------
    shown
        Numbers of the frames of the opened image, where it was cropped along t.
    """
    keys: dict[str, Array] = {}
    if shown is not None and "t" not in spec.dims:
        keys["timestep"] = np.full(len(ids), shown)
    lengths = {name: length for name, length in zip(spec.dims, spec.shape, strict=True) if name in "tc"}
    if lengths:
        at = dict(zip(lengths, np.unravel_index(frames, tuple(lengths.values())), strict=True))
        if "t" in at:
            keys["timestep"] = at["t"] if shown is None else shown[at["t"]]
        if lengths.get("c", 1) > 1:
            keys["channel"] = at["c"]
    return keys | {"label": ids.astype(np.int64) if not ids.size or ids.max() < 2**63 else ids}
