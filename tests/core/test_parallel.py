"""Which blocks threads work on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ilastik_lazy.core import parallel
from ilastik_lazy.core.spec import Storage
from tests.support.in_memory import ArrayInMemory


@pytest.mark.parametrize(("location", "least", "most"), [("/a.zarr", 2**22, 2**23), ("s3://a/a.zarr", 2**25, 2**26)])
def test_blocks_of_images_on_servers_are_larger(monkeypatch, location, least, most):
    monkeypatch.setattr(parallel, "threads_for", lambda workers: 2)
    spec = ArrayInMemory(np.broadcast_to(np.float32(0), (1000, 2000, 2000)), "zyx", (50, 50, 50)).spec
    spec = replace(spec, storage=Storage(location))
    assert least <= 4 * math.prod(parallel.work_block(spec)) <= most
