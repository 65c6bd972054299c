"""Count the voxels of each class that were drawn in a project."""

from __future__ import annotations

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.labels.blocks import label_blocks, open_labels
from ilastik_lazy.project.record import read_project
from ilastik_lazy.storage.isolation import ask_hdf5

__all__ = ["LabelCount", "label_counts"]

LabelCount = tuple[int, str, tuple[tuple[int, int], ...]]
"""Number of a lane, name of its label set, and pairs of a class and its number of voxels."""

_AXES = "tzyxc"


def label_counts(location: Location, options: OpenOptions) -> tuple[LabelCount, ...]:
    """Count the voxels of each class in all label sets of a project; only blocks with labels are read.

    Raises
    ------
    MetadataError, CorruptChunkError, LimitExceededError
        Labels cannot be read.
    """
    return ask_hdf5(options.trust, location.path, _label_counts, location, options.in_child)


def _label_counts(location: Location, options: OpenOptions) -> tuple[LabelCount, ...]:
    project = read_project(location, options)
    made = []
    for labels in project.label_sets:
        blocks = label_blocks(labels.location, project.stamp, options)
        if not blocks.paths:
            continue
        # The names of the axes make no difference for a count.
        axes = tuple(map(Axis, _AXES[: len(blocks.ends)]))
        source = open_labels(labels.location, project.stamp, axes, blocks.ends, options=options)
        counts = np.zeros(256, np.int64)
        for start, stop in zip(blocks.starts.tolist(), blocks.stops.tolist(), strict=True):
            region: Region = tuple(map(slice, start, stop))
            counts += np.bincount(source.read(region).reshape(-1), minlength=256)
        drawn = tuple((value, int(counts[value])) for value in np.flatnonzero(counts).tolist() if value)
        made.append((labels.lane, labels.name, drawn))
    return tuple(made)
