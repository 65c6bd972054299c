"""Memory does not grow with the image: levels are made piece by piece, and only some of the pieces are kept."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import region_shape
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.serving import pyramid
from ilastik_lazy.serving.pyramid import Blocks, Pyramid

KEPT = 2 * 2**20


@dataclass(frozen=True)
class Ones:
    """An image of ones that is nowhere in memory."""

    spec: ArraySpec

    def read(self, region):
        return np.ones(region_shape(region), self.spec.dtype)


@pytest.fixture(autouse=True)
def two_levels(monkeypatch):
    monkeypatch.setattr(pyramid, "_COARSEST_PLANE", 256)


def image(depth):
    spec = ArraySpec(
        name="ones",
        shape=(depth, 512, 512),
        dtype=np.dtype("u2"),
        axes=tuple(map(Axis, "zyx")),
        chunks=(32, 64, 64),
        storage=Storage("ones", compression="gzip"),
        kind="intensity",
    )
    return Pyramid.of(Ones(spec), Blocks(lambda block: block.nbytes, KEPT), "ones", KEPT)


def peak_of(depth):
    """Most bytes held while all chunks are made, from the coarsest level on, whose first chunk needs most others."""
    served = image(depth)
    tracemalloc.start()
    try:
        for level in reversed(served.plan.levels):
            for index in np.ndindex(level.grid):
                assert served.chunk(level, index)[0] == 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_image():
    small, large = peak_of(64), peak_of(192)
    assert large < 1.1 * small
    assert large < KEPT + 8 * 2**20


def test_chunks_of_upper_levels_need_few_chunks_of_the_file():
    levels = image(256).plan.levels
    assert [level.chunks for level in levels] == [(32, 64, 64), (16, 32, 32)]
    assert [level.shape for level in levels] == [(256, 512, 512), (128, 256, 256)]
