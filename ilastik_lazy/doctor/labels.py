"""Label images of an OME-Zarr that viewers do not find."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.writers.ome_zarr.commit.label_list import labels_below

__all__ = ["unlisted_labels"]


def unlisted_labels(path: str) -> Iterator[Finding]:
    """Find label images below the image at `path` that its list of labels lacks."""
    found = labels_below(path) if os.path.isdir(path) else None
    if found is None or not found[2]:
        return
    version, listed, others = found
    names = [*listed, *others]
    attributes = {"labels": names} if version == "0.4" else {"ome": {"version": version, "labels": names}}
    yield Finding(
        "labels",
        "warning",
        f"the list of label images lacks {', '.join(others)}",
        "napari and other viewers show only label images that are in the list",
        f"in Python, zarr.open_group({os.path.join(path, 'labels')!r}).attrs.update({attributes})",
    )
