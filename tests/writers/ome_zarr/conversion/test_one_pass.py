"""One pass over the source: how often it is read, what is told on the way, how it ends early."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import ArrayBackedSource, FailingSource, GatedSource, small_plans
from tests.support.ome_zarr.targets import contents


class TestReading:
    # With fewer workers, the same units are read one after the other: one kind of axes each will do.
    @pytest.mark.parametrize(
        ("axes", "shape", "chunks", "workers"),
        [
            ("yx", (33, 50), (7, 9), 7),
            ("zyxc", (9, 21, 26, 3), (4, 5, 7, 1), 7),
            ("zyxc", (9, 21, 26, 3), (4, 5, 7, 1), 1),
            ("xyc", (50, 33, 2), (10, 7, 1), 7),
            ("txyzc", (3, 11, 13, 9, 2), (1, 4, 4, 3, 1), 7),
            ("txyzc", (3, 11, 13, 9, 2), (1, 4, 4, 3, 1), 2),
            ("zyx", (65, 34, 33), (4, 4, 4), 7),
        ],
    )
    def test_decodes_each_chunk_once(
        self, tmp_path: Path, axes: str, shape: tuple[int, ...], chunks: tuple[int, ...], workers: int
    ) -> None:
        source = ArrayBackedSource(some_data(shape, "uint8"), axes, chunks=chunks)
        with small_plans(shard=1000):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=workers, memory="1GB")
        assert (source.times_read == 1).all()
        assert (source.times_decoded == 1).all()

    def test_verifying_reads_the_source_a_second_time(self, tmp_path: Path) -> None:
        source = ArrayBackedSource(some_data((33, 50), "uint8"), "yx", chunks=(7, 9))
        with small_plans(shard=200):
            to_ome_zarr(source, tmp_path / "a.zarr", verify=True)
        assert (source.times_read == 2).all()

    def test_planning_reads_nothing(self) -> None:
        from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion

        source = ArrayBackedSource(np.zeros((600, 600), np.uint8), "yx")
        plan_conversion(source, memory="1GB")
        assert source.regions == []

    def test_no_more_threads_read_than_there_are_workers(self, tmp_path: Path) -> None:
        class Crowded(ArrayBackedSource):
            here = most = 0
            lock = threading.Lock()

            def read(self, region: Any) -> Any:
                with self.lock:
                    self.here += 1
                    self.most = max(self.most, self.here)
                time.sleep(0.005)
                with self.lock:
                    self.here -= 1
                return super().read(region)

        source = Crowded(np.zeros((64, 64), np.uint8), "yx", chunks=(8, 8))
        with small_plans(shard=100):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=3)
        assert source.most == 3


class TestProgress:
    @pytest.mark.parametrize("workers", [1, 4])
    def test_rises_from_nothing_to_all(self, tmp_path: Path, workers: int) -> None:
        calls: list[tuple[int, int]] = []
        source = ArrayBackedSource(some_data((9, 33, 50, 2)), "zyxc", chunks=(4, 8, 9, 1))
        with small_plans(shard=1000):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=workers, progress=lambda *call: calls.append(call))
        done = [call[0] for call in calls]
        assert done[0] == 0
        assert done[-1] == source.data.nbytes
        assert done == sorted(set(done))
        assert {call[1] for call in calls} == {source.data.nbytes}
        assert len(calls) > 10

    def test_is_told_in_the_thread_of_the_caller(self, tmp_path: Path) -> None:
        threads: set[threading.Thread] = set()
        source = ArrayBackedSource(some_data((33, 50)), "yx", chunks=(8, 9))
        with small_plans(shard=200):
            to_ome_zarr(source, tmp_path / "a.zarr", progress=lambda *_: threads.add(threading.current_thread()))
        assert threads == {threading.current_thread()}


class TestFailure:
    @pytest.mark.parametrize("workers", [1, 4])
    @pytest.mark.parametrize("damaged", [(0, 0), (16, 25), (32, 49)])
    def test_of_one_chunk_is_the_error_of_the_conversion_and_leaves_no_image(
        self, tmp_path: Path, workers: int, damaged: tuple[int, int]
    ) -> None:
        source = FailingSource(some_data((33, 50)), "yx", damaged, chunks=(8, 9))
        with small_plans(shard=200), pytest.raises(CorruptChunkError, match="cannot be decoded"):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=workers)
        assert not list(tmp_path.rglob("zarr.json"))

    def test_stops_reading(self, tmp_path: Path) -> None:
        source = FailingSource(some_data((64, 64)), "yx", (0, 0), chunks=(4, 4))
        with small_plans(shard=64), pytest.raises(CorruptChunkError):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=2)
        assert len(source.regions) < 10

    def test_leaves_no_thread_behind(self, tmp_path: Path) -> None:
        before = threading.active_count()
        source = FailingSource(some_data((64, 64)), "yx", (63, 63), chunks=(4, 4))
        with small_plans(shard=64), pytest.raises(CorruptChunkError):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=4)
        assert threading.active_count() == before

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_of_the_progress_callback_stops_all_threads_and_leaves_no_image(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        """How a program with a window cancels: threads that still read must not write afterwards."""

        class Slow(ArrayBackedSource):
            def read(self, region: Any) -> Any:
                if region[0].start > 0:
                    time.sleep(0.3)
                return super().read(region)

        def cancel(done: int, total: int) -> None:
            if done:
                raise error

        source = Slow(some_data((64, 8), "uint8"), "yx", chunks=(8, 8))
        with small_plans(shard=64), pytest.raises(error):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=4, progress=cancel)
        at_once = len(source.regions), contents(tmp_path)
        time.sleep(0.6)
        assert at_once == (len(source.regions), contents(tmp_path))
        assert not list(tmp_path.rglob("zarr.json"))

    def test_in_one_thread_waits_for_the_others(self, tmp_path: Path) -> None:
        class HalfGated(GatedSource):
            def read(self, region: Any) -> Any:
                if region[0].start == 0:
                    assert self.asked.wait(30)
                    raise CorruptChunkError("this one is damaged")
                return super().read(region)

        source = HalfGated(some_data((16, 8), "uint8"), "yx", chunks=(8, 8))
        threading.Timer(0.2, source.gate.set).start()
        with small_plans(shard=64), pytest.raises(CorruptChunkError, match="this one"):
            to_ome_zarr(source, tmp_path / "a.zarr", workers=2)
        assert source.gate.is_set()
        assert not list(tmp_path.rglob("zarr.json"))
