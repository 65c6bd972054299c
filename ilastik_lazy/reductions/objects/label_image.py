"""`label_objects`: number what is connected, lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.core.options import OpenOptions, Trust
from ilastik_lazy.core.spec import COMPUTED, ArraySource, ArraySpec
from ilastik_lazy.core.views.window import one_channel
from ilastik_lazy.errors import ArgumentError, option, remedy
from ilastik_lazy.lazy.attributes import drange_of
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.project.thresholding import thresholding_settings
from ilastik_lazy.reductions.objects.labelling import ObjectsSource
from ilastik_lazy.reductions.objects.masks import ByClass, ByThreshold, smoothed
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes, large_block
from ilastik_lazy.reductions.thresholds import check_threshold, checked_number
from ilastik_lazy.storage.allowed import checked_options

__all__ = ["label_objects"]


def label_objects(
    image: AnySource,
    *,
    threshold: float = 0.5,
    core: float | None = None,
    smooth: float | Mapping[str, float] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    connectivity: int = 1,
    project: str | os.PathLike[str] | None = None,
    classes: object = None,
    trust: Trust = "local",
) -> xr.DataArray:
    """Number the connected objects of an image, lazily, as ilastik's thresholding does.

    Nothing is read before the result is computed.  Then a first pass over the whole image finds the objects, whose
    numbers do not depend on the blocks; it runs once, and its result is kept for all blocks.  A second pass labels
    each block that is wanted.  `measure_objects` needs no second pass.

    Parameters
    ----------
    image
        One class of a probability map, such as ``prob.sel(c="nucleus")``, a mask, or a class image with `classes`.
        Frames and channels are labelled separately: in a whole map, each class has its own objects.
    threshold
        Minimum value of an object's voxels.  If ``image.attrs["drange"]`` is known, it is on a scale from 0 to 1 over
        that range; otherwise it is on the scale of the values, such as 128 for half of uint8.  A fraction is refused
        for whole numbers whose range is not known.  NaN belongs to no object.
    core
        Hysteresis: an object is kept if it contains a core, which is a connected group of voxels of at least this
        value, and not smaller or larger than `min_size` and `max_size` allow.
    smooth
        Sigma in voxels of a Gaussian before the threshold, along all axes of space, or by axis: ``{"y": 1, "x": 1}``.
        Its kernel reaches 2 sigma to each side, and the image is reflected at its borders.
    min_size, max_size
        Minimum and maximum number of voxels of an object that is kept, both included.
    connectivity
        Along how many axes at once two voxels of one object may be neighbours: 1 takes faces, 2 edges too, ....
    project
        Take all settings from the thresholding applet of this project; `image` has all channels then.
    classes
        Names or numbers of classes whose voxels are objects, in place of `threshold`.  If two of them touch, they
        are one object.
    trust
        ``"untrusted"``: the HDF5 library sees `project`, and `image` if that is a path, in another process only; see
        `open_dataarray`.

    Returns
    -------
    xarray.DataArray
        uint32, in the dims of `image`.  Each frame has its objects numbered from 1 in raster order of their first
        voxels, equal to `scipy.ndimage.label`; 0 is background.

    Raises
    ------
    ArgumentError
        Settings that exclude each other, or that make no sense for this image, such as a threshold in percent.
    MissingExtraError
        scipy is missing: it comes with the extra ``objects``.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> nuclei = il.open_dataarray(sample("probabilities"), project=sample("project")).sel(c="nucleus")
    >>> labels = il.label_objects(nuclei, min_size=20)
    >>> int(labels.max())
    42
    """
    require_package("scipy", "objects", "label_objects needs scipy")
    named = {"core": core, "smooth": smooth, "min_size": min_size, "max_size": max_size, "classes": classes}
    given = [name for name, value in named.items() if value is not None]
    options = checked_options(trust=trust)
    whole = as_source(image, options=options)
    drange = drange_of(image) if isinstance(image, xr.DataArray) else whole.spec.drange
    if project is not None:
        if given:
            raise ArgumentError(f"{option('project')} has settings of its own: pass it without {option(given[0])}")
        made = _by_project(whole, drange, project, connectivity, options)
    else:
        if classes is not None and (alone := [name for name in given if name in ("core", "smooth")]):
            raise ArgumentError(f"{option(alone[0])} is for values, and {option('classes')} for classes: pass one")
        threshold = checked_number("threshold", threshold)
        core = None if core is None else checked_number("core", core)
        if core is not None and core < threshold:
            raise ArgumentError(f"{option('core', core)}: expected at least {option('threshold', threshold)}")
        bounds = _size("min_size", min_size), _size("max_size", max_size)
        if min_size is not None and max_size is not None and max_size < min_size:
            raise ArgumentError(f"{option('max_size', max_size)}: expected at least {option('min_size', min_size)}")
        if classes is None and not whole.spec.is_label_image:
            _check_thresholds(whole.spec, drange, threshold, core)
        source = smoothed(whole, smooth)
        rule = _rule(source.spec, drange, threshold, classes)
        core_rule = None if core is None else ByThreshold.of(source.spec.dtype, drange, core)
        made = _objects(source, rule, connectivity, bounds, core_rule)
    labels = to_dataarray(made, "auto").rename("objects")
    if isinstance(image, xr.DataArray):
        labels = labels.assign_coords({name: each for name, each in image.coords.items() if not each.dims})
    return labels


def _by_project(
    whole: ArraySource,
    drange: tuple[float, float] | None,
    project: str | os.PathLike[str],
    connectivity: int,
    options: OpenOptions,
) -> ObjectsSource:
    """Apply the settings of a project's thresholding applet."""
    settings = thresholding_settings(project, options.trust)
    if settings.method not in ("simple", "two levels"):
        raise ArgumentError(
            f"{os.fspath(project)} separates objects by {settings.method}, which is not done here: "
            f"pass {option('threshold')}, {option('core')} and {option('smooth')} in place of {option('project')}"
        )
    channels = whole.spec.channels
    wanted = {settings.channel} | ({settings.core_channel} if settings.core is not None else set())
    if channels > 1 and max(wanted) >= channels:
        raise ArgumentError(
            f"{os.fspath(project)} thresholds channel {max(wanted)} (counted from 0), and "
            f"{whole.spec.storage.location} has {channels}: pass the map with all its channels"
        )
    if channels <= 1 and len(wanted) > 1:
        raise ArgumentError(
            f"{os.fspath(project)} thresholds the channels {sorted(wanted)}: pass the map with all its channels"
        )
    _check_thresholds(whole.spec, drange, settings.threshold, settings.core)
    smooth = settings.smoothing(dict(zip(whole.spec.dims, whole.spec.shape, strict=True)))
    source = smoothed(_channel(whole, settings.channel), smooth)
    core_source = core_rule = None
    if settings.core is not None:
        core_rule = ByThreshold.of(source.spec.dtype, drange, settings.core)
        if len(wanted) > 1:
            core_source = smoothed(_channel(whole, settings.core_channel), smooth)
            # Where the cores are another class, objects are voxels of either class.
            both = [to_dataarray(_channel(whole, channel)).chunk("auto").astype(np.float32) for channel in wanted]
            source = smoothed(as_source(both[0] + both[1]), smooth)
            core_rule = ByThreshold.of(core_source.spec.dtype, drange, settings.core)
    rule = _rule(source.spec, drange, settings.threshold, None)
    return _objects(source, rule, connectivity, (settings.min_size, settings.max_size), core_rule, core_source)


def _channel(source: ArraySource, number: int) -> ArraySource:
    """Select one channel of a map with several."""
    return source if source.spec.channels <= 1 else one_channel(source, number)


def _objects(
    source: ArraySource,
    rule: ByThreshold | ByClass,
    connectivity: int,
    bounds: tuple[int | None, int | None],
    core_rule: ByThreshold | None = None,
    core_source: ArraySource | None = None,
) -> ObjectsSource:
    near = _connectivity(connectivity, ObjectAxes.of(source.spec))
    return ObjectsSource(_spec_of_labels(source.spec), source, rule, near, *bounds, core_rule, core_source)


def _check_thresholds(
    spec: ArraySpec, drange: tuple[float, float] | None, threshold: float, core: float | None
) -> None:
    for name, value in (("threshold", threshold), ("core", core)):
        if value is not None:
            check_threshold(name, value, spec, drange, other=remedy("pass a mask as .astype(bool)"))


def _rule(
    spec: ArraySpec, drange: tuple[float, float] | None, threshold: float, classes: object
) -> ByThreshold | ByClass:
    if classes is not None:
        return ByClass.of(spec, classes)
    if spec.is_label_image:
        raise ArgumentError(
            f"{spec.storage.location} holds {spec.kind}, whose values have no order: name those that are objects "
            f"with {option('classes')}"
        )
    return ByThreshold.of(spec.dtype, drange, threshold)


def _size(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0:
        return int(value)
    raise ArgumentError(f"{option(name, value)}: expected a whole number of voxels from 0 on")


def _connectivity(value: object, axes: ObjectAxes) -> int:
    most = len(axes.space)
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and 1 <= value <= most:
        return int(value)
    raise ArgumentError(f"{option('connectivity', value)}: expected 1 to {most}, as the image has {most} axes of space")


def _spec_of_labels(spec: ArraySpec) -> ArraySpec:
    storage = replace(spec.storage, layout="chunked", compression="computed", access=COMPUTED, order=(), buffers=4)
    return replace(
        spec,
        name="objects",
        dtype=np.dtype(np.uint32),
        chunks=large_block(spec),
        storage=storage,
        channel_names=(),
        channel_colors=(),
        kind="object identities",
        may_hold_ids=False,
        drange=None,
        display_mode="random-colortable",
        packing=None,
        is_inherited=False,
    )
