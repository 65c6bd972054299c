"""Random images, labelled and measured in small blocks, each compared with scipy.ndimage and scikit-image.

    python -m tests.fuzz.objects --count 5000 --seed 1

Labels must be equal number for number, whole numbers of tables too, and all else to 1e-6.
``--seed 1 --case NUMBER`` repeats one case.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from contextlib import contextmanager
from typing import Any
from unittest import mock

import dask.array as da
import numpy as np
import pandas as pd
import scipy.ndimage as ndi
import xarray as xr
from skimage.measure import regionprops_table

import ilastik_lazy as il
from tests.fuzz.object_images import Case, some_case, some_intensity

Array = np.ndarray[Any, Any]
OF_SHAPE = (
    "num_pixels", "area", "bbox", "area_bbox", "extent", "centroid", "equivalent_diameter_area",
    "inertia_tensor_eigvals", "axis_major_length", "axis_minor_length",
)  # fmt: skip
OF_INTENSITY = ("intensity_mean", "intensity_std", "intensity_min", "intensity_max", "centroid_weighted")


def frames_of(dims: str, *arrays: Array) -> Any:
    """The frames of arrays, each with its axes of space alone, as views."""
    lengths = [range(n) if name in "tc" else [slice(None)] for name, n in zip(dims, arrays[0].shape, strict=True)]
    for index in itertools.product(*lengths):
        yield index, [array[index] for array in arrays]


def expected_labels(case: Case) -> Array:
    """The labels by scipy, frame by frame."""
    options, result = case.options, np.zeros(case.mask.shape, np.int64)
    least, most = options.get("min_size", 0), options.get("max_size", np.inf)
    core = case.mask if case.core is None else case.core
    for index, (mask, inner) in frames_of(case.dims, case.mask, core):
        near = ndi.generate_binary_structure(mask.ndim, options["connectivity"])
        found, _ = ndi.label(mask, near)
        sizes = np.bincount(found.ravel())
        keep = (sizes >= least) & (sizes <= most)
        if case.core is not None:
            cores, _ = ndi.label(inner, near)
            of_cores = np.bincount(cores.ravel())
            right = (of_cores >= least) & (of_cores <= most)
            right[0] = False
            keep &= np.isin(np.arange(len(sizes)), found[right[cores]])
        keep[0] = False
        number = np.cumsum(keep) * keep
        result[index] = number[found]
    return result


@contextmanager
def blocks_are_chunks() -> Any:
    """Small images in many blocks, where others are done in one."""
    with (
        mock.patch("ilastik_lazy.reductions.objects.label_image.large_block", lambda spec: spec.chunks),
        mock.patch("ilastik_lazy.reductions.objects.measuring_pass.large_block", lambda spec: spec.chunks),
        mock.patch("ilastik_lazy.reductions.objects.crops.large_block", lambda spec: spec.chunks),
    ):
        yield


def check_labels(case: Case) -> None:
    """Compare the label image with scipy's."""
    with blocks_are_chunks():
        found = il.label_objects(case.image, **case.options)
        assert found.dims == case.image.dims
        np.testing.assert_array_equal(found.values, expected_labels(case))


def check_table(case: Case, rng: np.random.Generator) -> None:
    """Compare the table with scikit-image's: of what `label_objects` made, or of a label image with any ids."""
    labels = expected_labels(case)
    ids = np.arange(labels.max() + 1)
    if rng.random() < 0.5:
        with blocks_are_chunks():
            image = il.label_objects(case.image, **case.options)
    else:
        dtype = str(rng.choice(["i8", "u8", "i4", "u2", "f8"]))
        top = {"u2": 2**16 - 1, "i4": 2**31 - 1, "f8": 2**53}.get(dtype, 2**63 - 1)
        ids[1:] = np.unique(rng.integers(1, top, 4 * len(ids), endpoint=True))[: len(ids) - 1]
        image = xr.DataArray(da.from_array(ids[labels].astype(dtype), chunks=case.chunks), dims=list(case.dims))
    spacing = dict.fromkeys(case.dims, 1.0)
    origin = dict.fromkeys(case.dims, 0.0)
    if min(labels.shape) > 1 and rng.random() < 0.5:
        spacing = {name: float(rng.choice([0.25, 1, 1.7])) for name in case.dims}
        origin = {name: float(rng.choice([0, 100])) for name in case.dims}
        for name in set(case.dims) & set("zyx"):
            positions = origin[name] + spacing[name] * np.arange(image.sizes[name])
            image = image.assign_coords({name: (name, positions, {"units": "micrometer"})})
    raw, channels = some_intensity(rng, case)
    ndim = sum(name in "zyx" for name in case.dims)
    shape = [name for name in OF_SHAPE if ndim > 1 or "axis" not in name]
    shape += ["eccentricity", "orientation"] if ndim == 2 else []
    with blocks_are_chunks():
        table = il.measure_objects(image, raw, properties=[*shape, *OF_INTENSITY, "intensity_sum", "touches_border"])
    if ndim > 1:
        _compare(case, labels, ids, table, raw, channels, shape, spacing, origin)
    else:
        sizes = [np.bincount(frame.ravel())[1:] for _, (frame,) in frames_of(case.dims, labels)]
        assert table["num_pixels"].tolist() == np.concatenate(sizes).tolist()


def _compare(
    case: Case,
    labels: Array,
    ids: Array,
    table: pd.DataFrame,
    raw: xr.DataArray,
    channels: int,
    shape: list[str],
    spacing: dict[str, float],
    origin: dict[str, float],
) -> None:
    space = [name for name in case.dims if name in "zyx"]
    rows = 0
    for index, (frame,) in frames_of(case.dims, labels):
        at = dict(zip(case.dims, index, strict=True))
        chosen = table
        if "t" in at:
            chosen = chosen[chosen["timestep"] == at["t"]]
        if "channel" in chosen:
            chosen = chosen[chosen["channel"] == at["c"]]
        seen = raw.isel(t=at["t"]) if "t" in at else raw
        values = seen.transpose(*space, *(["c"] if channels else [])).values
        rows += len(chosen)
        if not frame.any():
            assert chosen.empty
            continue
        steps = [spacing[name] for name in space]
        wanted = regionprops_table(frame, values, properties=("label", *shape, *OF_INTENSITY), spacing=steps)
        # scikit-image lets a NaN beside an object, in its box, into the weighted centroid.
        filled = regionprops_table(frame, np.nan_to_num(values), properties=["centroid_weighted"], spacing=steps)
        assert chosen["label"].tolist() == ids[wanted["label"]].tolist()
        compare_frame(chosen, wanted | filled, space, origin, channels)
    assert rows == len(table)


def compare_frame(
    table: pd.DataFrame, wanted: dict[str, Array], space: list[str], origin: dict[str, float], channels: int
) -> None:
    """Compare the rows of one frame, column by column."""
    seen = {"label", "timestep", "channel", "touches_border"}
    for name in wanted:
        if name == "label":
            continue
        base, _, rest = name.partition("-")
        numbers = [int(number) for number in rest.split("-")] if rest else []
        column, shift, expected = base, 0.0, wanted[name]
        if base == "bbox":
            axis, end = numbers[0] % len(space), "min" if numbers[0] < len(space) else "max"
            column = f"bbox_{space[axis]}_{end}"
        elif base in ("centroid", "centroid_weighted"):
            column, shift = f"{base}_{space[numbers[0]]}", origin[space[numbers[0]]]
        elif base == "inertia_tensor_eigvals":
            column = f"{base}_{numbers[0]}"
        if base in OF_INTENSITY:
            channel = numbers[-1] if channels else None
            column += f"_{channel}" if channels > 1 else ""
            if base == "centroid_weighted":
                mean = wanted["intensity_mean" + (f"-{channel}" if channels else "")]
                expected = np.where(np.isnan(mean), np.nan, expected)
        seen.add(column)
        found = table[column].to_numpy()
        if expected.dtype.kind in "iu":
            assert found.dtype.kind in "iu", column
            np.testing.assert_array_equal(found, expected, column)
        elif base == "orientation":
            apart = np.abs(found - expected)
            # Neither direction is the longer one where both are alike.
            is_round = wanted["inertia_tensor_eigvals-0"] - wanted["inertia_tensor_eigvals-1"] < 1e-9
            assert (np.minimum(apart, np.pi - apart)[~is_round] < 1e-6).all(), column
        else:
            # Square roots of eigenvalues that are 0 but for rounding.
            near = 2e-5 if "axis_" in base or base == "eccentricity" else 1e-7
            np.testing.assert_allclose(found, expected + shift, rtol=1e-6, atol=near, err_msg=column)
    for column in table.columns:
        assert column in seen or column.startswith("intensity_sum"), column


def check(seed: int, number: int) -> None:
    """Do one case, and say which one it was if it fails."""
    rng = np.random.default_rng([seed, number])
    case = some_case(rng)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of scikit-image, where a sum of weights is 0
            check_labels(case)
            check_table(case, rng)
    except Exception as error:
        error.add_note(f"python -m tests.fuzz.objects --seed {seed} --case {number}: {case}")
        raise


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    numbers = range(options.count) if options.case is None else [options.case]
    for number in numbers:
        check(options.seed, number)
        if number % 500 == 499:
            print(f"{number + 1} cases, {time.perf_counter() - start:.0f} s", flush=True)
    print(f"{len(numbers)} cases, none differs; {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
