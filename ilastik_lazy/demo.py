"""The embedded sample, and a tour of the package on it.

The sample is a small volume of synthetic nuclei with voxels of (0.8, 0.25, 0.25) micrometer, a project with the
classes ``nucleus`` and ``background``, and the images that ilastik exported.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ilastik_lazy.errors import MissingExtraError, VerificationError

if TYPE_CHECKING:
    import xarray as xr

    from ilastik_lazy.viewing.napari.layers import LayerData

__all__ = ["napari_probabilities", "napari_raw", "napari_segmentation", "run_demo", "sample"]

_FILES = {
    "raw": "nuclei.h5",
    "project": "nuclei.ilp",
    "probabilities": "nuclei_Probabilities.h5",
    "segmentation": "nuclei_Simple_Segmentation.h5",
}


def sample(name: Literal["raw", "project", "probabilities", "segmentation"]) -> str:
    """Return the path of a file of the embedded sample.

    >>> from pathlib import Path
    >>> Path(sample("probabilities")).name
    'nuclei_Probabilities.h5'
    """
    return str(Path(__file__).with_name("data") / _FILES[name])


def napari_raw() -> list[LayerData]:
    """Return the image of the sample as layers of napari, whose menu *Open Sample* calls this."""
    return _layers("raw")


def napari_probabilities() -> list[LayerData]:
    """Return the probabilities of the sample as layers of napari (see `napari_raw`)."""
    return _layers("probabilities")


def napari_segmentation() -> list[LayerData]:
    """Return the segmentation of the sample as layers of napari (see `napari_raw`)."""
    return _layers("segmentation")


def _layers(name: Literal["raw", "probabilities", "segmentation"]) -> list[LayerData]:
    from ilastik_lazy.viewing.napari import read_layers

    return read_layers(sample(name))


def run_demo(folder: str, say: Callable[[str], None]) -> None:
    """Open, reduce, convert and draw the sample, and `say` each step and result.

    Raises
    ------
    VerificationError
        The OME-Zarr differs from what h5py reads from the export.
    """
    start = time.perf_counter()
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for file in _FILES.values():
        shutil.copyfile(Path(__file__).with_name("data") / file, place / file)
    import ilastik_lazy as il

    say("1. Open an ilastik export as a labelled array; no voxel is read yet.\n")
    say(f'   prob = il.open_dataarray("{_FILES["probabilities"]}", project="{_FILES["project"]}")\n')
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    say(_indented(repr(prob)))

    say("\n2. Reduce it, block by block, on all cores.\n")
    seen = prob.sel(c="nucleus").mean("z").compute()
    share = float((prob.sel(c="nucleus") > 0.5).mean())
    say(f'   prob.sel(c="nucleus").mean("z")            -> {dict(seen.sizes)}, highest {float(seen.max()):.3f}')
    say(f'   (prob.sel(c="nucleus") > 0.5).mean()       -> {share:.4f} of the volume is nucleus')

    say("\n3. Convert it to OME-Zarr, with a pyramid.\n")
    store = place / "nuclei.zarr"
    report = il.to_ome_zarr(prob, store, levels=3, overwrite=True)
    say(_indented(str(report)))

    say("\n4. Check every voxel against h5py, and every position of level 1 against level 0.\n")
    say(f"   {_checked(store, prob)}")

    say("\n5. Draw it.\n")
    say(f'   il.plot("{_FILES["raw"]}", labels=segmentation)')
    say(f"   {_picture(place / 'nuclei.png')}")

    say(f"\nDone in {time.perf_counter() - start:.1f} s. The results are here:\n")
    for name, what in (
        (_FILES["raw"], "the image"),
        (_FILES["project"], "the project in which its classes were drawn"),
        (_FILES["probabilities"], "an export"),
        (_FILES["segmentation"], "another export"),
        ("nuclei.zarr", "the OME-Zarr: open it in napari, Fiji, Neuroglancer, or xr.open_datatree"),
        ("nuclei.png", "the picture"),
    ):
        if (place / name).exists():
            say(f"   {(place / name).resolve()}\n      {what}")
    export, project, raw = (shlex.quote(str(place / _FILES[name])) for name in ("probabilities", "project", "raw"))
    say("\nCount and measure the nuclei:\n")
    say(f"   ilastik-lazy objects {export} --project {project} \\")
    say(f"      --class nucleus --min-size 20 --intensity {raw} --out nuclei.csv")


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _checked(store: Path, prob: xr.DataArray) -> str:
    import h5py
    import numpy as np
    import xarray as xr

    with h5py.File(sample("probabilities"), "r") as file:
        expected = file["exported_data"][...]
    with xr.open_datatree(store, engine="zarr", consolidated=False) as tree:
        written = tree["scale0/image"].transpose(*prob.dims)
        wrong = int(np.count_nonzero(written.values != expected))
        fine = tree["scale0"].coords["x"].values
        coarse = tree["scale1"].coords["x"].values
        names = [str(name) for name in tree["scale0"].coords["c"].values]
    if wrong or written.shape != expected.shape:
        raise VerificationError(f"{store}: {wrong} voxels differ from {sample('probabilities')}")
    if not np.allclose(coarse, fine.reshape(-1, 2).mean(1)):
        raise VerificationError(f"{store}: positions of level 1 are not the means of level 0's")
    return f"{expected.size:,} voxels are equal, positions agree, classes are {', '.join(names)}"


def _picture(path: Path) -> str:
    """Draw the raw data with the contours of the classes."""
    import ilastik_lazy as il

    try:
        figure = il.plot(sample("raw"), il.open_dataarray(sample("segmentation"), project=sample("project")))
    except MissingExtraError as missing:
        return f"no picture: {missing}"
    figure.savefig(path)
    return f"{path}: slices of the raw data, and the contours of nuclei"
