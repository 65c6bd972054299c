"""Conversions, exports and reductions inside tasks of a cluster: nothing waits for the place that it holds itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.reductions import histogram, normalise, percentile, reduce, standardise
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ome_zarr import to_ome_zarr

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")

SECONDS = 60


def an_array() -> xr.DataArray:
    data = da.arange(4 * 300 * 310, chunks=4 * 300 * 310).reshape(4, 300, 310).rechunk((4, 150, 310)).astype("u2")
    return xr.DataArray(data, dims=("z", "y", "x"), name="a") + 1


def in_a_thread(target: str) -> None:
    thread = threading.Thread(target=to_ome_zarr, args=(an_array(), target))
    thread.start()
    thread.join()


def with_worker_client(target: str) -> None:
    with distributed.worker_client():
        to_ome_zarr(an_array(), target)


def with_get_client(target: str) -> None:
    distributed.get_client()
    to_ome_zarr(an_array(), target)


def in_a_thread_with_get_client(target: str) -> None:
    distributed.get_client()
    in_a_thread(target)


def plainly(target: str) -> None:
    to_ome_zarr(an_array(), target)


WAYS: list[Callable[[str], None]] = [
    plainly,
    in_a_thread,
    with_worker_client,
    with_get_client,
    in_a_thread_with_get_client,
]


def other_work(target: str) -> list[float]:
    distributed.get_client()
    to_ilastik(an_array(), f"{target}.h5")
    shifted = an_array() - an_array().mean()
    return [
        float(reduce(shifted, "mean")),
        float(percentile(shifted, 50)),
        float(histogram(an_array()).counts.sum()),
        float(normalise(an_array()).max()),
        float(standardise(an_array()).mean()),
    ]


def until(event: str) -> None:
    distributed.Event(event).wait(SECONDS)


@pytest.mark.parametrize("processes", [False, True])
def test_tasks_of_a_busy_worker_convert_and_reduce(tmp_path: Path, processes: bool) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=processes, dashboard_address=":0", silence_logs=50
        ) as made,
        distributed.Client(made) as client,
    ):
        expected = an_array().values
        for way in WAYS:
            targets = [str(tmp_path / f"{way.__name__}{number}.zarr") for number in range(2)]
            for future in client.map(way, targets, pure=False):
                future.result(timeout=SECONDS)
            for target in targets:
                np.testing.assert_array_equal(zarr.open_array(f"{target}/scale0/image", mode="r")[...], expected)
        for future in client.map(other_work, [str(tmp_path / f"other{i}") for i in range(2)], pure=False):
            middle, median, count, most, mean = future.result(timeout=SECONDS)
            assert abs(middle) < 1e-6
            assert abs(median) < 40000
            assert (count, most) == (expected.size, 1.0)
            assert abs(mean) < 1e-6
        if not processes:
            # Beside a task that is never done: the cluster is nothing but threads of this process.
            ended = distributed.Event("ended")
            blocker = client.submit(until, "ended", pure=False)
            try:
                to_ome_zarr(an_array(), tmp_path / "beside.zarr")
            finally:
                ended.set()
                blocker.result(timeout=SECONDS)


def test_an_asynchronous_client_is_a_named_error(tmp_path: Path) -> None:
    async def convert() -> None:
        async with (
            distributed.LocalCluster(
                n_workers=0, processes=False, asynchronous=True, dashboard_address=":0", silence_logs=50
            ) as made,
            distributed.Client(made, asynchronous=True),
        ):
            with pytest.raises(ArgumentError, match=r"asynchronous.*scheduler=\"threads\""):
                to_ome_zarr(an_array(), tmp_path / "a.zarr")
            with dask.config.set(scheduler="threads"):
                to_ome_zarr(an_array(), tmp_path / "a.zarr")

    asyncio.run(convert())
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...], an_array().values)
