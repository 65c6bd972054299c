"""Stores of every order of axes, in every kind and version: valid, and the same to every reader."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
import ome_zarr_models
import pytest
import yaozarrs
import zarr

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.faults import LONG
from tests.support.ome_zarr.answers import coarser, in_ome_order
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans
from tests.support.ome_zarr.readers import READERS

# All that have y and x in the order of the specification, and the orders in which ilastik's exports come.
SPECIFIED = ["yx", "cyx", "zyx", "tyx", "czyx", "tcyx", "tzyx", "tczyx"]
ORDERS = [
    *SPECIFIED,
    "xy", "xyc", "yxc", "zyxc", "tyxc", "txyc", "xyzc", "tzyxc", "txyzc", "ctzyx", "yxzct",
]  # fmt: skip
LENGTHS = {"t": 3, "c": 2, "z": 5, "y": 9, "x": 12}
CHUNKS = {"t": 1, "c": 1, "z": 2, "y": 4, "x": 5}
AXES = {
    "t": Axis("t", 30.0, 60.0, "second"),
    "z": Axis("z", 2.0, 100.0, "micrometer"),
    "y": Axis("y", 0.5, -4.0, "micrometer"),
    "x": Axis("x", 0.25, 0.5, "micrometer"),
    "c": Axis("c"),
}
NAMES = ("nucleus", "Zellkörper")
KINDS = {"probabilities": "float32", "segmentation": "uint8", "ids": "uint32"}
# Kinds and versions take turns, so that each kind is in each version: all of them with each order would take six times
# as long.  With ILASTIK_LAZY_LONG=1 the specified orders are in both versions.
CASES = [
    (axes, list(KINDS)[(number + shift) % len(KINDS)], version)
    for number, axes in enumerate(ORDERS)
    for shift, version in enumerate(("0.4", "0.5"))
    if (LONG and axes in SPECIFIED) or number % 2 == shift
]
# Other orders are stored like the specified ones, which every reader reads.  One reader of arrays is enough to check
# that they are transposed correctly; with ILASTIK_LAZY_LONG=1 all readers and validators get them, too.
READ_BY_ALL = [case for case in CASES if LONG or case[0] in SPECIFIED]
READINGS = [(case, reader) for case in CASES for reader in READERS if case in READ_BY_ALL or reader == "tensorstore"]


def voxels(shape: list[int], dtype: str) -> np.ndarray[Any, Any]:
    """Classes, ids, or probabilities of which float32 holds every mean of eight."""
    numbers = np.random.default_rng(0).integers(0, {"float32": 257, "uint8": 3, "uint32": 70_000}[dtype], shape)
    return (numbers / 256).astype(dtype) if dtype == "float32" else numbers.astype(dtype)


@dataclass(frozen=True)
class Case:
    store: Path
    dims: tuple[str, ...]
    levels: list[np.ndarray[Any, Any]]
    is_labels: bool


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    axes, kind, version = request.param
    data = voxels([LENGTHS[axis] for axis in axes], KINDS[kind])
    more: dict[str, Any] = {"kind": {"ids": "object identities"}.get(kind, kind), "chunks": [CHUNKS[a] for a in axes]}
    if kind != "ids":
        more["channel_names"] = NAMES
    source = ArrayBackedSource(data, [AXES[axis] for axis in axes], **more)
    # Two folders below: napari-ome-zarr makes a Zarr group of what it takes for the image that labels are of.
    store = tmp_path_factory.mktemp("every") / "between" / "a.zarr"
    with small_plans(shard=600, smallest=5):
        plan = plan_pyramid(source.spec)
        report = to_ome_zarr(source, store, version=version)
    levels = [in_ome_order(data, axes)]
    for level in plan.levels[1:]:
        levels.append(coarser(levels[-1], level.factors, report.method))
    return Case(store, tuple(axis for axis in "tczyx" if axis in axes), levels, kind != "probabilities")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "ome_zarr.reader")  # misses the image that labels are of


def _name(value: Any) -> str:
    return value if isinstance(value, str) else "-".join(value)


@pytest.mark.parametrize(("case", "reader"), READINGS, indirect=["case"], ids=_name)
def test_every_reader_finds_the_same(case: Case, reader: str) -> None:
    found = READERS[reader](case.store)
    assert len(found.levels) == len(case.levels) > 1
    for level, expected in zip(found.levels, case.levels, strict=True):
        np.testing.assert_array_equal(level, expected, strict=True)
    space = [AXES[dim] for dim in case.dims if dim != "c"]
    assert found.dims in (None, case.dims)
    assert found.scale in (None, {axis.name: axis.scale for axis in space})
    assert found.translation in (None, {axis.name: axis.translation for axis in space})
    assert found.units in (None, {axis.name: axis.unit for axis in space})
    names = list(NAMES if "c" in case.dims else NAMES[:1])
    assert found.names in ((None,) if case.is_labels else (None, names))
    assert found.is_labels in (None, case.is_labels)


@pytest.mark.parametrize("case", READ_BY_ALL, indirect=True, ids=_name)
def test_every_validator_accepts_it(case: Case) -> None:
    yaozarrs.validate_zarr_store(case.store)
    ome_zarr_models.open_ome_zarr(zarr.open_group(case.store, mode="r"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngff_zarr.from_ngff_zarr(case.store, validate=True)
