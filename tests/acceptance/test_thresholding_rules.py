"""The rules of ilastik's thresholding applet, written down once more with scipy, on small images in memory.

`test_ilastik_objects.py` compares with ilastik's own exports, none of which has cores.
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

import ilastik_lazy as il


def components(mask, least, most):
    """Numbers of the components of one frame that are neither too small nor too large."""
    labels = ndimage.label(mask)[0]
    sizes = np.bincount(labels.ravel())
    return ndimage.label(((sizes >= least) & (sizes <= most))[labels] & mask)[0]


def expected_frame(frame, settings):
    """Objects of one frame with the axes c, z, y and x, its values between 0 and 1."""
    axes = [axis for axis in range(3) if frame.shape[axis + 1] > 1]
    sigmas = [settings["sigma"][axis] if axis in axes else 0 for axis in range(3)]
    if not any(sigmas[axis] < 0.1 for axis in axes):
        smooth = [ndimage.gaussian_filter(channel, sigmas, truncate=2.0, mode="mirror") for channel in frame]
        frame = np.stack(smooth)
    channel, core_channel = settings["Channel"], settings["CoreChannel"]
    sizes = settings["MinSize"], settings["MaxSize"]
    if settings["CurOperator"] == 0:
        return components(frame[channel] >= np.float32(settings["LowThreshold"]), *sizes)
    cores = components(frame[core_channel] >= np.float32(settings["HighThreshold"]), *sizes) > 0
    both = frame[channel] if channel == core_channel else frame[channel] + frame[core_channel]
    labels = ndimage.label(both >= np.float32(settings["LowThreshold"]))[0]
    kept = np.isin(labels, np.unique(labels[cores])) & (labels > 0)
    return components(kept, *sizes)


def some_settings(rng):
    low = float(rng.choice([0.3, 0.5, 0.6]))
    return {
        "CurOperator": int(rng.integers(2)),
        "Channel": int(rng.integers(3)),
        "CoreChannel": int(rng.integers(3)),
        "LowThreshold": low,
        "HighThreshold": low + float(rng.choice([0.05, 0.2])),
        "MinSize": int(rng.choice([0, 3, 8])),
        "MaxSize": int(rng.choice([40, 1_000_000])),
        "sigma": [float(sigma) for sigma in rng.choice([0.0, 0.7, 1.0, 1.6], 3, p=[0.1, 0.3, 0.3, 0.3])],
    }


def case(seed, dtype):
    """Settings, an image with the axes t, c, z, y and x, and its values between 0 and 1."""
    rng = np.random.default_rng([seed, ord(dtype[0])])
    settings = some_settings(rng)
    shape = (2, 3, int(rng.choice([1, 9])), 16, 19)
    values = ndimage.gaussian_filter(rng.random(shape), (0, 0, 0.8 if shape[2] > 1 else 0, 0.8, 0.8))
    values = (values - values.min()) / (values.max() - values.min())
    if dtype == "f4":
        values = values.astype("f4")
        return settings, xr.DataArray(values, dims=tuple("tczyx"), attrs={"drange": [0.0, 1.0]}), values
    stored = np.rint(values * 255).astype("u1")
    image = xr.DataArray(stored, dims=tuple("tczyx"), attrs={"drange": [0, 255]})
    return settings, image, stored.astype("f4") / np.float32(255)


@pytest.mark.parametrize(("seed", "dtype"), [(seed, ("f4", "u1")[seed % 2]) for seed in range(30)])
def test_the_settings_of_a_project_give_the_objects_of_its_rules(tmp_path, seed, dtype):
    settings, image, values = case(seed, dtype)
    with h5py.File(tmp_path / "p.ilp", "w") as file:
        for name, value in settings.items():
            if name != "sigma":
                file[f"ThresholdTwoLevels/{name}"] = value
        for axis, sigma in zip("zyx", settings["sigma"], strict=True):
            file[f"ThresholdTwoLevels/SmootherSigma/{axis}"] = sigma
    found = il.label_objects(image.chunk(t=1, z=4, y=7, x=5), project=tmp_path / "p.ilp").transpose(*"tzyx").values
    for frame in range(2):
        np.testing.assert_array_equal(found[frame], expected_frame(values[frame], settings), err_msg=str(settings))


def test_the_cases_above_depend_on_cores_and_sizes():
    differ = {"CurOperator": 0, "MinSize": 0, "MaxSize": 0}
    for seed in range(30):
        settings, _, values = case(seed, ("f4", "u1")[seed % 2])
        usual = expected_frame(values[0], settings)
        for name, value in {"CurOperator": 0, "MinSize": 0, "MaxSize": 10**9}.items():
            differ[name] += (expected_frame(values[0], settings | {name: value}) > 0).sum() != (usual > 0).sum()
    assert min(differ.values()) >= 3, differ
