"""The contrast of images that state none, where some of their chunks cannot be read."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import CorruptChunkError, SourceIOError, UnsafePathError
from tests.serving.requests import ask
from tests.support.in_memory import ArrayInMemory


@pytest.mark.parametrize("error", [CorruptChunkError, SourceIOError, UnsafePathError])
@pytest.mark.parametrize(("axes", "shape"), [("yx", (8, 9)), ("cyx", (2, 8, 9))])
def test_metadata_are_served_whatever_is_wrong_with_the_chunks(error, axes, shape):
    def before(region):
        raise error("a chunk")

    source = ArrayInMemory(np.ones(shape, "f4"), axes, shape, before)
    with il.serve(source) as server:
        answer = ask(f"{server.url}/zarr.json")
        assert answer.status == 200
        assert len(json.loads(answer.body)["attributes"]["ome"]["omero"]["channels"]) == (2 if "c" in axes else 1)
        assert ask(f"{server.url}/scale0/image/c/{'/'.join('0' * len(shape))}").status == 500
