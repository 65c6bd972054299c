"""Writing TIFF holds a few planes at a time, however long the image is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile

import ilastik_lazy as il
from ilastik_lazy.core.grid import Region
from ilastik_lazy.errors import MemoryLimitError
from tests.support.in_memory import ArrayInMemory


def test_little_is_read_at_once_and_nothing_twice(tmp_path: Path) -> None:
    data = np.broadcast_to(np.arange(60, dtype="u1")[:, None, None], (60, 512, 512))
    read: list[Region] = []
    source = ArrayInMemory(data, "zyx", (1, 512, 512), before=read.append)
    il.to_tiff(source, tmp_path / "a.tif", levels=2, workers=2, memory="24MB")
    sizes = [math.prod(part.stop - part.start for part in region) for region in read]
    assert sum(sizes) == data.size
    assert max(sizes) <= data.size / 10
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), data)
    with pytest.raises(MemoryLimitError, match="21 MB would do"):
        il.to_tiff(source, tmp_path / "b.tif", levels=2, workers=2, memory="8MB")
