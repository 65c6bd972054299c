"""Label images of an OME-Zarr that viewers do not find."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.errors import remedy
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
    code = f"zarr.open_group({os.path.join(path, 'labels')!r}).attrs.update({attributes})"
    yield Finding(
        "labels",
        "warning",
        f"the list of label images lacks {', '.join(others)}",
        "napari and other viewers show only label images that are in the list",
        "add them to the list: " + remedy(code, f"python -c {shlex.quote(f'import zarr; {code}')}"),
    )
