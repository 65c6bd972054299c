"""Pictures of every kind of image, and what they look like: ``python -m tests.viewing.cases`` writes the references.

References show the panels alone: text, and the layout that follows from its size, differ between versions of fonts and
matplotlib.  Look at each of them before you keep it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

import ilastik_lazy as il
from ilastik_lazy.demo import sample

REFERENCES = Path(__file__).parent / "references"


def probabilities() -> xr.DataArray:
    return il.open_dataarray(sample("probabilities"), project=sample("project"))


def segmentation() -> xr.DataArray:
    return il.open_dataarray(sample("segmentation"), project=sample("project"))


def placed(values: Any, **steps: float) -> xr.DataArray:
    """An image with positions in micrometer and second; of an axis with step 0, without."""
    units = {dim: {"units": "second" if dim == "t" else "micrometer"} for dim in steps}
    coords = {
        dim: (dim, step * np.arange(n), units[dim])
        for (dim, step), n in zip(steps.items(), values.shape, strict=True)
        if step
    }
    return xr.DataArray(values, dims=tuple(steps), coords=coords, name="made")


def series() -> xr.DataArray:
    """A spot that moves to the right, uint16."""
    t, y, x = np.ogrid[:5, :60, :90]
    spot = 300 + 4000 * np.exp(-((y - 30) ** 2 + (x - 20 - 10 * t) ** 2) / 60)
    return placed(spot.astype("u2"), t=30.0, y=0.1, x=0.1)


def slide(side: int = 40_000, block: int = 4000) -> xr.DataArray:
    """An image of squares that is computed block by block, uint8: two in a block."""

    def squares(block_id: tuple[int, int]) -> np.ndarray[Any, Any]:
        made = np.full((block, block), 20 * (sum(block_id) % 10), "u1")
        made[: block // 2, : block // 2] = 250
        return made

    chunks = ((block,) * (side // block),) * 2
    return placed(da.map_blocks(squares, chunks=chunks, dtype="u1", meta=np.empty((0, 0), "u1")), y=0.5, x=0.5)


CASES: dict[str, Callable[[], Figure]] = {
    "2-d": lambda: il.plot(il.open_dataarray(sample("raw")).isel(z=20)),
    "3-d": lambda: il.plot(sample("raw"), z=12.5, x="9um"),
    "time_series": lambda: il.plot(series(), t=70),
    "one_class": lambda: il.plot(probabilities().sel(c="nucleus")),
    "all_classes": lambda: il.plot(probabilities()),
    "segmentation": lambda: il.plot(segmentation(), plane="xz"),
    "ids": lambda: il.plot(il.label_objects(probabilities().sel(c="nucleus"), min_size=20), plane="xy"),
    "labels": lambda: il.plot(sample("raw"), segmentation(), plane="xy", dpi=20),
    "no_voxel_size": lambda: il.plot(il.open_dataarray(sample("raw")).drop_vars(["z", "y", "x"])),
    "large": lambda: il.plot(slide(), slide() > 200, dpi=20),
}


def panels_of(figure: Figure) -> np.ndarray[Any, Any]:
    """The panels of a figure without any text, each at its place in a square: RGB, 0 to 255."""
    figure.set_layout_engine("none")
    figure.set_size_inches(1.2, 1.2)
    panels = [axes for axes in figure.axes if axes.get_title()]
    for axes in figure.axes:
        axes.set_axis_off()
        axes.set_visible(axes in panels)
    for text in figure.findobj(Text):
        text.set_visible(False)
    for legend in figure.legends:
        legend.remove()
    places = [(0, 0.5), (0.5, 0.5), (0, 0)] if len(panels) > 1 else [(0, 0)]
    for axes, place in zip(panels, places, strict=True):
        axes.set_position((*place, 0.48, 0.48) if len(panels) > 1 else (0, 0, 1, 1))
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=100)
        buffer.seek(0)
        return np.rint(imread(buffer)[..., :3] * 255)


def unlike(name: str, figure: Figure) -> tuple[float, float]:
    """How far a figure is from its reference: mean difference, 0 to 255, and share of pixels that differ by 50."""
    expected = np.rint(imread(REFERENCES / f"{name}.png")[..., :3] * 255)
    difference = np.abs(panels_of(figure) - expected).max(-1)
    return float(difference.mean()), float((difference > 50).mean())


def main() -> None:
    from PIL import Image

    for name, make in CASES.items():
        Image.fromarray(panels_of(make()).astype("u1")).quantize(64).save(REFERENCES / f"{name}.png", optimize=True)
        print(name, (REFERENCES / f"{name}.png").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
