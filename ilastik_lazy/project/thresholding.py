"""What the thresholding applet of a project is set to: which voxels of a probability map are objects.

Object classification and tracking from prediction maps have this applet.  Its group is ``ThresholdTwoLevels``;
`thresholdTwoLevelsSerializer.py` of ilastik names the members.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ilastik_lazy.core.options import Trust
from ilastik_lazy.errors import ArgumentError, MetadataError, option
from ilastik_lazy.formats.hdf5.file import open_hdf5
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.fields import group_in, number_values, where_of
from ilastik_lazy.storage.isolation import ask_hdf5

__all__ = ["Method", "ThresholdSettings", "thresholding_settings"]

Method = Literal["simple", "two levels", "graph cut", "identity preserving"]

_APPLET = "ThresholdTwoLevels"
_METHODS: tuple[Method, ...] = ("simple", "two levels", "graph cut", "identity preserving")
_WITH_CORES = ("two levels", "identity preserving")
_SMALLEST_SIGMA = 0.1
# A kernel of 4,000 voxels: more than any image of nuclei has across, and memory stays small.
_LARGEST_SIGMA = 1000.0
_MOST_CHANNELS = 10_000
_MOST_VOXELS = 2**62

# Members, and the values that ilastik takes where an old version did not store one; None where it has no such value.
_DEFAULTS: dict[str, float | None] = {
    "CurOperator": 0, "Channel": 0, "CoreChannel": None, "MinSize": 10, "MaxSize": 1_000_000,
    "LowThreshold": None, "HighThreshold": None, "SingleThreshold": None,
    "SmootherSigma/z": 1.0, "SmootherSigma/y": 1.0, "SmootherSigma/x": 1.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """Settings of the thresholding applet, in the words of `label_objects`."""

    threshold: float
    """Least value of a voxel of an object, on the scale from 0 to 1."""

    core: float | None
    """Least value of a voxel of a core; None where the method needs no cores."""

    smooth: Mapping[str, float]
    """Sigma of the Gaussian along ``z``, ``y`` and ``x``, in voxels, as stored: see `smoothing`."""

    min_size: int
    """Least number of voxels of an object, and of a core."""

    max_size: int
    """Largest number of voxels of an object, and of a core."""

    channel: int
    """Channel of the map that is thresholded, counted from 0."""

    core_channel: int
    """Channel of the cores; if it is another one than `channel`, `threshold` applies to the sum of the two."""

    method: Method
    """``simple``, ``two levels`` (hysteresis), ``graph cut``, or ``identity preserving`` (watershed from the cores)."""

    def smoothing(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Return the sigmas that ilastik applies to an image of these `sizes`; none if it does not smooth.

        It leaves out axes of length 1.  It smooths along no axis at all if one of the others has a sigma below 0.1.

        Examples
        --------
        >>> settings = ThresholdSettings(0.5, None, {"z": 0.0, "y": 1.0, "x": 2.0}, 10, 1000, 0, 0, "simple")
        >>> settings.smoothing({"t": 3, "z": 1, "y": 50, "x": 60})
        {'y': 1.0, 'x': 2.0}
        >>> settings.smoothing({"z": 20, "y": 50, "x": 60})
        {}
        """
        sigmas = {axis: sigma for axis, sigma in self.smooth.items() if sizes.get(axis, 1) > 1}
        return {} if any(sigma < _SMALLEST_SIGMA for sigma in sigmas.values()) else sigmas


def thresholding_settings(project: str | os.PathLike[str], trust: Trust = "local") -> ThresholdSettings:
    """Read what the thresholding applet of a project is set to.

    Parameters
    ----------
    project
        Path of the project (``.ilp``).
    trust
        ``untrusted``: the HDF5 library sees the file in another process only.

    Raises
    ------
    ArgumentError
        The project has no thresholding applet.
    MetadataError
        A setting is missing, has the wrong type, or has a value that makes no sense.
    ExternalReferenceError
        A setting lies in another file.

    Examples
    --------
    >>> import h5py, pathlib, tempfile
    >>> project = pathlib.Path(tempfile.mkdtemp()) / "cells.ilp"
    >>> with h5py.File(project, "w") as file:
    ...     file["ThresholdTwoLevels/LowThreshold"], file["ThresholdTwoLevels/MinSize"] = 0.4, 50
    >>> settings = thresholding_settings(project)
    >>> settings.method, settings.threshold, settings.core, settings.min_size
    ('simple', 0.4, None, 50)
    """
    path = Location.parse(project).path
    return _settings(path, ask_hdf5(trust, path, _stored_numbers, path))


def _stored_numbers(path: str) -> dict[str, int | float]:
    """The members of the applet that are there, by their names below its group."""
    with open_hdf5(path) as file:
        applet = group_in(file, _APPLET)
        if applet is None:
            raise ArgumentError(
                f"{path} has no thresholding settings ({_APPLET}): pass a project of object classification or "
                f"tracking from prediction maps, or leave out {option('project')}, and pass {option('threshold')}"
            )
        found: dict[str, int | float] = {}
        for name in _DEFAULTS:
            folder, _, member = name.rpartition("/")
            group = group_in(applet, folder) if folder else applet
            stored = None if group is None else number_values(group, member)
            if group is None or stored is None:
                continue
            if isinstance(stored, list) and len(stored) == 1:
                stored = stored[0]
            if isinstance(stored, bool) or not isinstance(stored, int | float):
                raise MetadataError(f"{where_of(group, member)} is not a single number: {str(stored)[:40]}")
            found[name] = stored
        return found


def _settings(path: str, stored: Mapping[str, int | float]) -> ThresholdSettings:
    """Check each number of `stored`: it may come from a malicious file."""

    def number(name: str, least: float, most: float) -> float:
        value = stored.get(name, _DEFAULTS[name])
        where = f"{path}: '/{_APPLET}/{name}'"
        if value is None:
            raise MetadataError(f"{where} is missing: open the project in ilastik, set the threshold, and save it")
        if not least <= value <= most:  # also refuses NaN
            raise MetadataError(f"{where} is {value}: expected a number from {least} to {most}")
        return value

    def whole(name: str, most: int) -> int:
        value = number(name, 0, most)
        if value != math.floor(value):
            raise MetadataError(f"{path}: '/{_APPLET}/{name}' is {value}: expected a whole number")
        return int(value)

    method = _METHODS[whole("CurOperator", len(_METHODS) - 1)]
    # Up to 1.2 the simple method had a threshold of its own, which ilastik still prefers.
    low = "SingleThreshold" if method == "simple" and "SingleThreshold" in stored else "LowThreshold"
    channel = whole("Channel", _MOST_CHANNELS)
    return ThresholdSettings(
        threshold=number(low, -1e6, 1e6),
        core=number("HighThreshold", -1e6, 1e6) if method in _WITH_CORES else None,
        smooth={axis: number(f"SmootherSigma/{axis}", 0.0, _LARGEST_SIGMA) for axis in "zyx"},
        min_size=whole("MinSize", _MOST_VOXELS),
        max_size=whole("MaxSize", _MOST_VOXELS),
        channel=channel,
        core_channel=whole("CoreChannel", _MOST_CHANNELS) if "CoreChannel" in stored else channel,
        method=method,
    )
