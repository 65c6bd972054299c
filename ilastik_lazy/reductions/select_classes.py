"""Some classes of a segmentation, by their names."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from ilastik_lazy.core.kinds import with_classes_of_name
from ilastik_lazy.core.views.picked import with_classes_alone
from ilastik_lazy.core.views.selected import class_numbers
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source

__all__ = ["select_classes"]


def select_classes(segmentation: AnySource, names: str | Sequence[str]) -> xr.DataArray:
    """Keep some classes of a segmentation, lazily: the mask of a class by its name.

    Parameters
    ----------
    segmentation
        Image of classes whose names are known, such as one that was opened with its project: a path, what
        `open_dataarray` returned, or an `ArraySource`.
    names
        Name of one class, or of several.

    Returns
    -------
    xarray.DataArray
        uint8 (uint16 for more than 255 classes): 1 where the first of the classes is, 2 where the second is, 0
        elsewhere.  Names and colours of these classes are in ``attrs``.  A dim ``c`` of length 1 is left out.

    Raises
    ------
    ArgumentError
        It is no image of classes, or no class has that name.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    >>> nucleus = il.select_classes(segmentation, "nucleus")
    >>> nucleus.dims, int(nucleus.sum())
    (('z', 'y', 'x'), 46473)
    """
    source = with_classes_of_name(as_source(segmentation))
    spec = source.spec
    if not spec.holds_classes:
        raise ArgumentError(
            f"{spec.storage.location} is no image of classes, but {spec.kind or 'of an unknown kind'}: "
            "classify() makes one of probabilities, and kind='segmentation' states that it is one"
        )
    wanted: list[object] = list(names) if isinstance(names, Sequence) and not isinstance(names, str) else [names]
    given = [each for each in wanted if isinstance(each, str)]
    if not given or given != wanted:
        raise ArgumentError(f"names={names!r}: expected the name of a class, or a list of names")
    made = with_classes_alone(source, class_numbers(spec, given))
    classes = to_dataarray(made, "auto")
    if not isinstance(segmentation, xr.DataArray):
        return classes
    kept = {name: each for name, each in segmentation.coords.items() if set(each.dims) <= set(classes.dims)}
    return classes.assign_coords(kept)
