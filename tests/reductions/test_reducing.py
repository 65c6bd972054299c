"""Reductions are planned, and done by threads that nobody notices."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.exports import write_export
from ilastik_lazy.core import parallel as blockwise
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.parallel import AHEAD
from ilastik_lazy.errors import CorruptChunkError, MemoryLimitError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.reductions import REDUCTIONS, plan_reduction, reduce
from tests.support.in_memory import ArrayInMemory, arrays


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@pytest.mark.parametrize("over", ["z", "c", "zyxc"])
def test_the_bits_do_not_depend_on_the_threads(small_blocks, name, over):
    data = np.random.default_rng(0).lognormal(size=(30, 31, 32, 3)).astype("f4")
    jitter = np.random.default_rng(1)
    slow = ArrayInMemory(data, "zyxc", (9, 8, 7, 1), before=lambda region: time.sleep(jitter.random() / 2000))
    results = [reduce(slow, name, over, workers=workers).values for workers in (1, 2, 7)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_a_block_that_cannot_be_read_ends_the_work_soon(small_blocks):
    read = []

    def fail_late(region: Region) -> None:
        read.append(region)
        if len(read) == 20:
            raise CorruptChunkError("the chunk at (1, 2, 3)")

    source = ArrayInMemory(np.zeros((60, 60, 60), "u1"), "zyx", (8, 8, 8), before=fail_late)
    assert plan_reduction(source.spec, "mean", "z").blocks > 50
    threads = threading.active_count()
    with pytest.raises(CorruptChunkError, match="the chunk at"):
        reduce(source, "mean", "z", workers=2)
    assert len(read) <= 20 + AHEAD * 2
    assert threading.active_count() == threads


def test_a_real_chunk_that_is_damaged_is_an_error(tmp_path, small_blocks):
    path = write_export(str(tmp_path / "a.h5"), (40, 40, 40, 1), chunks=(10, 10, 10, 1))
    with h5py.File(path) as file:
        middle = file["exported_data"].id.get_chunk_info_by_coord((20, 20, 20, 0))
    with Path(path).open("r+b") as file:
        file.seek(middle.byte_offset + 10)
        file.write(b"\xff" * (middle.size - 10))
    with pytest.raises(CorruptChunkError):
        reduce(open_source(Location.parse(path, None)), "sum", None)


def test_few_blocks_are_in_memory_at_a_time(small_blocks):
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most, lock = 0, threading.Lock()

    class Tracked(np.ndarray):
        pass

    class Watched(ArrayInMemory):
        def read(self, region):
            nonlocal most
            block = super().read(region).view(Tracked)
            with lock:
                alive.add(block)
                most = max(most, len(alive))
            return block

    # A set of arrays compares them; identity is what is meant.
    Tracked.__hash__ = object.__hash__
    Tracked.__eq__ = object.__eq__
    source = Watched(np.ones((64, 64, 64), "u1"), "zyx", (8, 8, 8))
    assert plan_reduction(source.spec, "sum", None).blocks >= 64
    assert int(reduce(source, "sum", None, workers=3)) == 64**3
    assert most <= 3 * 2


@pytest.mark.parametrize("over", ["z", "c", None])
def test_progress_is_told_in_order_from_this_thread(small_blocks, over):
    calls = []
    source = ArrayInMemory(np.ones((30, 30, 30, 2), "u2"), "zyxc", (8, 8, 8, 1))
    reduce(source, "max", over, workers=3, progress=lambda *call: calls.append((*call, threading.get_ident())))
    blocks = plan_reduction(source.spec, "max", over).blocks
    assert calls == sorted(set(calls))
    assert calls[-1] == (blocks, blocks, source.spec.nbytes, threading.get_ident())
    assert {call[3] for call in calls} == {threading.get_ident()}


def test_progress_may_end_the_work(small_blocks):
    read = []
    source = ArrayInMemory(np.ones((64, 64, 64), "u1"), "zyx", (8, 8, 8), before=read.append)

    def stop(done: int, blocks: int, nbytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reduce(source, "max", None, workers=2, progress=stop)
    assert len(read) <= AHEAD * 2 + 2


@given(arrays(), st.data())
def test_a_plan_reads_every_voxel_once_and_next_to_its_target(case, data):
    values, names, chunks = case
    over = data.draw(st.sets(st.sampled_from(names), min_size=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "BLOCK_BYTES_LEAST", 64)
        patch.setattr(blockwise, "BLOCK_BYTES_MOST", 256)
        plan = plan_reduction(ArrayInMemory(values, names, chunks).spec, "max", over)
    seen, blocks, targets = np.zeros(values.shape, int), 0, []
    for task in plan.tasks():
        assert 1 <= len(task.regions) <= plan.run
        targets.append(task.target)
        for region in task.regions:
            seen[region] += 1
            blocks += 1
            assert tuple(part for i, part in enumerate(region) if i not in plan.axes) == task.target
    assert (seen == 1).all()
    assert blocks == plan.blocks
    assert len([1 for a, b in zip(targets, [None, *targets], strict=False) if a != b]) == len(set(map(str, targets)))


def test_a_result_beyond_the_memory_is_refused_before_anything_is_read():
    huge = np.broadcast_to(np.zeros(1, "u1"), (4, 30_000, 30_000, 2))

    def never(region: Region) -> None:
        raise AssertionError("read")

    source = ArrayInMemory(huge, "zyxc", (1, 800, 800, 1), before=never)
    with pytest.raises(MemoryLimitError, match=r"allow more memory, or reduce over more axes.*Zarr"):
        reduce(source, "mean", "z")
    assert plan_reduction(source.spec, "max", "z").nbytes < 2**31
    assert plan_reduction(source.spec, "mean", "zy").shape == (30_000, 2)


def test_fewer_threads_run_where_the_memory_is_short():
    spec = ArrayInMemory(np.broadcast_to(np.zeros(1, "f4"), (500, 500, 500)), "zyx", (50, 50, 50)).spec
    many = plan_reduction(spec, "std", "z", workers=16)
    few = plan_reduction(spec, "std", "z", workers=16, memory=many.nbytes // 2)
    assert many.workers == 16
    assert 1 <= few.workers < 16
    assert few.nbytes <= many.nbytes // 2
