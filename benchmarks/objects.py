"""Objects: how long does a table of them take, beside decoding alone and beside others?

Memory is measured by `memory_bars.py`: here the tissue is made in the same process, and needs more.
"""

from __future__ import annotations

import os
from typing import ClassVar

import ilastik_lazy as il
from benchmarks import objects_peers as peers
from benchmarks.cells import write_labels, write_probabilities
from benchmarks.exports import write_export

SIDE = int(os.environ.get("ILASTIK_LAZY_BENCH_SIDE", "320"))
FILLS = {"sparse": 0.05, "dense": 0.6}


def require(peer: str) -> None:
    if peer in peers.MODULES and not peers.installed(peer):
        raise NotImplementedError(peer)  # asv skips it


class Finding:
    """Time of a table of the objects in a probability map."""

    params: ClassVar = [list(FILLS), ["decode and threshold", "ilastik_lazy", peers.SKIMAGE, peers.TILEWISE]]
    param_names: ClassVar = ["tissue", "way"]
    timeout = 300

    def setup(self, tissue: str, way: str) -> None:
        require(way)
        self.path = write_probabilities("probabilities.h5", (SIDE,) * 3, FILLS[tissue])
        self.raw = write_export("raw.h5", (SIDE,) * 3, "zyx", kind="raw")

    def time_find_and_measure(self, tissue: str, way: str) -> None:
        if way == peers.SKIMAGE:
            peers.with_skimage(self.path, self.raw)
        elif way == peers.TILEWISE:
            peers.tilewise_table(self.path)
        elif way == "ilastik_lazy":
            labels = il.label_objects(il.open_dataarray(self.path).isel(c=0))
            il.measure_objects(labels, il.open_dataarray(self.raw), properties=peers.PROPERTIES)
        else:
            peers.mask_of(self.path).sum().compute()


class Measuring:
    """Time of a table of the objects in a label image; cc3d gives no intensities."""

    params: ClassVar = [list(FILLS), ["ilastik_lazy", peers.SKIMAGE, peers.CC3D]]
    param_names: ClassVar = ["tissue", "way"]
    timeout = 300

    def setup(self, tissue: str, way: str) -> None:
        require(way)
        self.path = write_labels("labels.h5", (SIDE,) * 3, FILLS[tissue])
        self.raw = write_export("raw.h5", (SIDE,) * 3, "zyx", kind="raw")

    def time_measure(self, tissue: str, way: str) -> None:
        if way == peers.SKIMAGE:
            peers.regionprops(peers.loaded(self.path), peers.loaded(self.raw))
        elif way == peers.CC3D:
            peers.cc3d_statistics(peers.loaded(self.path))
        else:
            labels, raw = il.open_dataarray(self.path), il.open_dataarray(self.raw)
            il.measure_objects(labels, raw, properties=peers.PROPERTIES)


class Labelling:
    """Time of a label image, whose blocks are computed and dropped."""

    params: ClassVar = [list(FILLS), ["ilastik_lazy", peers.TILEWISE, peers.CC3D]]
    param_names: ClassVar = ["tissue", "way"]
    timeout = 300

    def setup(self, tissue: str, way: str) -> None:
        require(way)
        self.path = write_probabilities("probabilities.h5", (SIDE,) * 3, FILLS[tissue])

    def time_label(self, tissue: str, way: str) -> None:
        if way == peers.TILEWISE:
            peers.with_tilewise(self.path)
        elif way == peers.CC3D:
            peers.cc3d_labels(self.path)
        else:
            il.label_objects(il.open_dataarray(self.path).isel(c=0)).max().compute()
