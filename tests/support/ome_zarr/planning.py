"""Specs and plans of any shape, of images that lie nowhere."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ilastik_lazy.writers.ome_zarr.plan.plan import Plan
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.ome_zarr.fakes import small_plans, spec_of

MiB = 2**20


@st.composite
def specs(draw: Any, longest: int = 60) -> Any:
    """Any axes with y and x, in any order, of any length; chunks that fit nowhere."""
    others = draw(st.lists(st.sampled_from("tzc"), unique=True))
    axes = draw(st.permutations(["y", "x", *others]))
    shape = [draw(st.integers(1, 5 if axis in "tc" else longest)) for axis in axes]
    chunks = [draw(st.integers(1, 2 if axis in "tc" else 20)) for axis in axes]
    scales = {axis: draw(st.sampled_from([None, 0.25, 0.3, 0.5, 1.0, 7.0])) for axis in axes}
    dtype = draw(st.sampled_from(["uint8", "float32", "uint64"]))
    return spec_of(shape, dtype, "".join(axes), chunks, {k: v for k, v in scales.items() if v})


@st.composite
def plans(draw: Any, **options: Any) -> Plan:
    """A plan with many small shards."""
    spec = draw(specs())
    with small_plans(draw(st.sampled_from([64, 500, 4000])), draw(st.sampled_from([2, 8, 30]))):
        return plan_pyramid(spec, levels=draw(st.sampled_from([None, None, 1, 2, 5])), **options)


def a_plan(shape: tuple[int, ...], axes: str = "zyx", dtype: str = "uint8", **more: Any) -> Plan:
    keys = ("levels", "method", "workers", "memory")
    options = {key: more.pop(key) for key in keys if key in more}
    return plan_pyramid(spec_of(shape, dtype, axes, **more), **options)
