"""The package without what Windows lacks: a process that sees Windows gets the same results as this one."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from PIL import Image

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, DestinationExistsError
from tests.support.children import run_python
from tests.support.makers import some_data, write_hdf5_export
from tests.support.mrc_makers import write_mrc
from tests.support.n5_makers import write_n5

pytestmark = pytest.mark.slow

DATA = some_data((5, 6, 7), "u1")
LAYOUTS = {
    "gzip": {"chunks": (2, 3, 4), "filters": "gzip"},
    "through_h5py": {"chunks": (2, 3, 4), "filters": "lzf"},
    "contiguous": {},
}


def write_images(folder: Path) -> None:
    """One small file of each kind."""
    for name, layout in LAYOUTS.items():
        write_hdf5_export(folder / f"{name}.h5", DATA, axes="zyx", **layout)
    write_n5(folder / "a.n5", DATA, axes="zyx", chunks=(2, 3, 4))
    write_mrc(folder / "a.mrc", DATA.astype("<u2"))
    np.save(folder / "a.npy", DATA)
    Image.fromarray(DATA[0]).save(folder / "a.png")
    tifffile.imwrite(folder / "a.tif", DATA, compression="zlib", metadata={"axes": "ZYX"})
    zarr.create_array(str(folder / "a.zarr"), data=DATA, chunks=(2, 2, 2), shards=(4, 4, 4), dimension_names="zyx")
    (folder / "nuclei.csv").write_bytes(b"source,label,num_pixels\r\na.h5,1,7\r\n")


def _digest(array: Any) -> str:
    values = np.ascontiguousarray(array)
    return f"{values.dtype} {values.shape} {hashlib.sha256(values.tobytes()).hexdigest()[:16]}"


def outcomes(images: str, target: str) -> dict[str, str]:
    """What comes of reading, measuring, drawing, converting, and of the commands; files are written to `target`."""
    warnings.simplefilter("ignore")
    given, made = Path(images), Path(target)
    return dict([*_read(given), *_measured(), *_written(f"{images}/gzip.h5", made), *_said(given, made)])


def _read(images: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(images.iterdir()):
        if path.suffix != ".csv":
            array = il.open_dataarray(path, axes="zyx" if path.suffix == ".npy" else None)
            yield f"read {path.name}", f"{array.dims} {_digest(array.values)}"
    yield "table", il.open_table(images / "nuclei.csv").to_json()
    yield "project", str(il.open_datatree(sample("project"))).replace(str(Path(sample("project")).parent), "")


def _measured() -> Iterator[tuple[str, str]]:
    nucleus = il.open_dataarray(sample("probabilities"), project=sample("project")).sel(c="nucleus")
    labels = il.label_objects(nucleus, threshold=0.5, min_size=20)
    yield "labels", _digest(labels.values)
    yield "objects", il.measure_objects(labels, sample("raw")).to_json()
    yield "classes", il.measure_classes(sample("segmentation")).to_json()
    yield "percentile", _digest(il.reductions.percentile(nucleus, [1, 50, 99]).values)
    yield "mean", _digest(il.reductions.reduce(nucleus, "mean", over="z").values)


def _written(image: str, target: Path) -> Iterator[tuple[str, str]]:
    for version in ("0.4", "0.5"):
        store = target / f"{version}.zarr"
        for options in ({}, {"resume": True}, {"overwrite": True, "levels": 1}):
            il.to_ome_zarr(image, store, version=version, **options)
            levels = [str(path.relative_to(store)) for path in sorted(store.rglob("*")) if path.is_dir()]
            yield f"convert {version} {options}", f"{_digest(il.open_dataarray(store).values)} {levels}"
    for name in ("a.h5", "a.n5"):
        for overwrite in (False, True):
            il.to_ilastik(image, target / name, overwrite=overwrite)
            yield f"export {name} {overwrite}", _digest(il.open_dataarray(target / name).values)
        with pytest.raises(DestinationExistsError):
            il.to_ilastik(image, target / name)
    yield "left over", str(sorted(path.name for path in target.iterdir() if path.name.startswith(".")))


def _said(images: Path, target: Path) -> Iterator[tuple[str, str]]:
    table, picture = target / "nuclei.csv", target / "a.png"
    commands = (
        ["info", "--trust", "local", images / "gzip.h5"],
        ["doctor", "--trust", "local", "--full", images / "gzip.h5", target / "0.5.zarr"],
        ["classes", sample("segmentation"), "--project", sample("project")],
        ["objects", sample("segmentation"), "--class", "1", "--out", table],
        ["objects", sample("segmentation"), "--class", "1", "--out", table, "--resume"],
        ["plot", images / "gzip.h5", "--out", picture],
        ["reduce", images / "gzip.h5", "max"],
        ["convert", images / "gzip.h5", target / "c.zarr", "--verify", "--quiet"],
        ["verify", target / "c.zarr"],
    )
    for number, command in enumerate(commands):
        words = list(map(str, command))
        result = CliRunner().invoke(cli, words)
        shown = re.sub(r"[0-9.]+ s\b", "", result.stdout).replace(str(target), "").replace(str(images), "")
        yield f"{number} {words[0]}", f"{result.exit_code} {result.exception!r} {shown}"
    yield "written table", table.read_text()
    yield "picture", _digest(np.asarray(Image.open(picture)))


def test_all_that_is_read_measured_drawn_and_written_is_the_same_on_windows(tmp_path):
    images, here, there = (tmp_path / name for name in ("images", "here", "there"))
    for folder in (images, here, there):
        folder.mkdir()
    write_images(images)
    code = """
import json, os, sys
from tests.support.windows import pretend
pretend()
from tests import test_windows
from ilastik_lazy.storage.system import IS_WINDOWS, positioned
assert IS_WINDOWS and positioned is not os
test_windows.check_refusals(sys.argv[1])
print(json.dumps(test_windows.outcomes(*sys.argv[1:])))
"""
    found = json.loads(run_python(code, str(images), str(there)).splitlines()[-1])
    assert found == outcomes(str(images), str(here))


def check_refusals(images: str) -> None:
    """What Windows cannot promise is refused; elsewhere it is the default of `info`, which has another one here."""
    path = f"{images}/gzip.h5"
    with pytest.raises(ArgumentError, match=r"trust='untrusted'.*Windows"):
        il.open_dataarray(path, trust="untrusted")
    assert CliRunner().invoke(cli, ["info", path]).exit_code == 0
    assert "default: local" in CliRunner().invoke(cli, ["info", "--help"]).output
