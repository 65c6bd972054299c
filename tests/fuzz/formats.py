"""Damage Zarr, zipped Zarr, N5, TIFF, numpy arrays, MRC, pictures, CSV and BigDataViewer's XML as `fuzz.py` does HDF5.

    python -m tests.fuzz.formats --formats zarr n5 --count 20000 --seed 1

Each must be refused with a named error, or give the data from before, or what another program reads.
"""

from __future__ import annotations

import argparse
import collections
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

from ilastik_lazy import open_dataarray, to_ome_zarr
from ilastik_lazy.core.options import DEFAULTS
from tests.fuzz import children as fuzz_children
from tests.fuzz import outcomes as fuzz_outcomes
from tests.support import independent_readers, n5_makers, table_makers, tiff_makers, zarr_makers
from tests.support.makers import some_data
from tests.support.mrc_makers import write_mrc
from tests.support.shared_files import FILES
from tests.support.store_mutations import damage
from tests.support.zip_makers import pack

FORMATS = ("zarr", "zip", "n5", "tiff", "npy", "mrc", "pictures", "csv", "bdv")
_MOST_MEMORY = 300 * 2**20
_XML = """<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2"><SequenceDescription>
<ImageLoader format="bdv.hdf5"><hdf5 type="relative">a.h5</hdf5></ImageLoader>
<ViewSetups><ViewSetup><id>0</id><voxelSize><unit>um</unit><size>0.25 0.5 2.0</size></voxelSize></ViewSetup>
</ViewSetups></SequenceDescription></SpimData>
"""


def _zarr(folder: Path) -> None:
    for name in zarr_makers.LAYOUTS:
        zarr_makers.write_array(folder / f"{name.replace(' ', '_')}.zarr", name)
    path = folder / "image.npy"
    np.save(path, some_data((9, 20, 21), "u2"))
    to_ome_zarr(open_dataarray(path, axes="zyx"), folder / "ours.zarr")
    path.unlink()
    group = zarr.create_group(folder / "consolidated.zarr", zarr_format=2)
    group.create_array("s0", data=some_data((9, 20, 21), "u2"), chunks=(4, 9, 9))
    zarr.consolidate_metadata(folder / "consolidated.zarr")


def _zip(folder: Path) -> None:
    stores = folder.with_name("zipped")
    for number, name in enumerate(("v2 blosc", "v2 plain", "v3 plain", "v3 shards", "v3 shards index first")):
        zarr_makers.write_array(stores / str(number), name)
        pack(stores / str(number), folder / f"{name.replace(' ', '_')}.ozx")
    pack(stores / "1", folder / "deflated.ozx", method=zipfile.ZIP_DEFLATED)
    pack(stores / "2", folder / "with_its_folder.ozx", top="a.zarr/")
    np.save(stores / "image.npy", some_data((9, 20, 21), "u2"))
    to_ome_zarr(open_dataarray(stores / "image.npy", axes="zyx"), folder / "ours.ozx")


def _n5(folder: Path) -> None:
    data = some_data(n5_makers.SHAPE)
    for name in n5_makers.COMPRESSIONS:
        n5_makers.write_n5(folder / f"{name.replace(' ', '_')}.n5", data, compression=name)
    n5_makers.write_n5(folder / "padded.n5", data, padded=True)


def _tiff(folder: Path) -> None:
    for name, layout in (tiff_makers.LAYOUTS | tiff_makers.SAMPLES).items():
        options = dict(layout)
        if axes := options.pop("axes", None):
            options["metadata"] = {"axes": axes}
        tiff_makers.write(folder / f"{name.replace(' ', '_')}.tif", **options)
    with tifffile.TiffWriter(folder / "pyramid.tif", ome=True) as file:
        data = some_data((64, 80), "u2")
        file.write(data, subifds=1, tile=(16, 16), compression="zlib")
        file.write(data[::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")


def _npy(folder: Path) -> None:
    for number, dtype in enumerate(("<f4", ">u2", "?", "<i8", "u1")):
        values = some_data((7, 9, 10), dtype)
        np.save(folder / f"{number}.npy", np.asfortranarray(values) if number % 2 else values)


def _mrc(folder: Path) -> None:
    for number, dtype in enumerate(("<i1", ">i2", "<f4", ">u2", "<f2")):
        write_mrc(folder / f"{number}.mrc", some_data((7, 9, 10), dtype), extended=bytes(100 * number))


def _pictures(folder: Path) -> None:
    grey, color = some_data((30, 31), "u1"), some_data((30, 31, 3), "u1")
    for suffix in ("png", "bmp", "jpg", "gif", "ppm", "pgm"):
        Image.fromarray(grey if suffix in ("gif", "pgm") else color).save(folder / f"color.{suffix}")
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(color).quantize(16).save(folder / "palette.png")
    Image.fromarray(some_data((30, 31), "u2")).save(folder / "deep.png")
    (folder / "deep_color.png").write_bytes(independent_readers.imagecodecs.png_encode(some_data((30, 31, 3), "u2")))


def _csv(folder: Path) -> None:
    table_makers.csv_file(folder, table_makers.LINES).rename(folder / "classes.csv")
    table_makers.csv_file(folder, ["0,0,1,5.5", "1,0,2,3"], table_makers.SHORT, end="\r\n").rename(folder / "short.csv")


def _bdv(folder: Path) -> None:
    import h5py

    (folder / "a.bdv").mkdir()
    (folder / "a.bdv/a.xml").write_text(_XML)
    with h5py.File(folder / "a.bdv/a.h5", "w") as file:
        file["s00/resolutions"] = np.ones((1, 3))
        for time in range(2):
            file[f"t{time:05}/s00/0/cells"] = some_data((5, 16, 12), "<i2", seed=time)


_MAKERS: dict[str, Callable[[Path], None]] = {
    "zarr": _zarr, "zip": _zip, "n5": _n5, "tiff": _tiff, "npy": _npy, "mrc": _mrc, "pictures": _pictures, "csv": _csv,
    "bdv": _bdv,
}  # fmt: skip
_ENDS = {"zarr": (".zarr",), "zip": (".ozx",), "n5": (".n5",), "tiff": (".tif", ".tiff"), "npy": (".npy",),
         "mrc": (".mrc",), "pictures": (".png",), "csv": (".csv",), "bdv": ()}  # fmt: skip


def sources(formats: list[str], folder: Path) -> list[Path]:
    """What is damaged: made here, and small ones of ilastik's own, in turns of the formats."""
    found = []
    for name in formats:
        (folder / name).mkdir(parents=True)
        _MAKERS[name](folder / name)
        found.append([*sorted((folder / name).iterdir()), *_real(_ENDS[name])])
    most = max(map(len, found))
    return [each[i % len(each)] for i in range(most) for each in found]


def _real(ends: tuple[str, ...]) -> list[Path]:
    """Three of the small files in each folder, which are much alike."""
    taken: collections.Counter[Path] = collections.Counter()
    chosen = []
    for path in sorted(FILES.rglob("*")):
        if path.suffix in ends and taken[path.parent] < 3:
            size = sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else path.stat().st_size
            if 0 < size < 400_000:
                taken[path.parent] += 1
                chosen.append(path)
    return chosen


@dataclass
class FormatsJob:
    """What makes all damaged files and folders, and tells what became of each."""

    seed: int
    sources: list[Path]
    folder: Path
    originals: dict[Path, fuzz_outcomes.Values] = field(default_factory=dict)

    def before(self, source: Path) -> fuzz_outcomes.Values:
        if source not in self.originals:
            outcome = fuzz_outcomes.ours(str(_opened(source)), DEFAULTS)
            assert outcome.values, (source, outcome.errors)
            assert not outcome.faults, (source, outcome.faults)
            self.originals[source] = outcome.values
        return self.originals[source]

    def damaged(self, number: int) -> tuple[Path, str, Path]:
        source = self.sources[number % len(self.sources)]
        # A name of its own for each: caches go by name, size and time.
        target = self.folder / f"{number}{'.tif' if source.suffix == '.tiff' else source.suffix}"
        return source, damage(source, target, f"{self.seed}/{number}"), target

    def judge(self, number: int, stage: Callable[[str], None]) -> dict[str, Any]:
        source, how, path = self.damaged(number)
        try:
            return self._judge(number, stage, source, how, path)
        finally:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _judge(self, number: int, stage: Callable[[str], None], source: Path, how: str, path: Path) -> dict[str, Any]:
        before = self.before(source)
        stage(f"reading, {how} of {source.name}")
        start = _reset_peak()
        outcome = fuzz_outcomes.ours(str(_opened(path)), DEFAULTS)
        if (peak := _peak() - start) > _MOST_MEMORY:
            outcome.faults.append(f"took {peak >> 20} MiB")
        name = _opened(path).name
        outcome.faults += [f"{key}: {m[:200]!r} names no file" for key, m in outcome.messages.items() if name not in m]
        counts: collections.Counter[str] = collections.Counter()
        for inside, values in outcome.values.items():
            if any(fuzz_outcomes.same(values, each) for each in (before.get(inside), *before.values())):
                counts["as before"] += 1
                continue
            stage(f"another reader, {how} of {source.name}")
            others = independent_readers.answers(_opened(path), inside)
            is_zarr = path.suffix in (".zarr", ".ozx")
            if how == "chunk delete" and is_zarr and "IncompleteSourceWarning" not in outcome.warned:
                outcome.faults.append(f"{inside}: a chunk is gone, and nothing said so")
            if any(independent_readers.agrees(values, other) for other in others):
                counts["as another program reads it"] += 1
            else:
                seen = f"differs from {len(others)} others" if others else "data where others fail"
                outcome.faults.append(f"{inside}: {seen}: {values.dtype} {values.shape}")
        counts.update(f"error {kind}" for kind in outcome.errors.values())
        return {"number": number, "how": how, "source": source.name, "counts": counts, "faults": outcome.faults}

    def more_seconds(self, number: int) -> int:
        return 0

    def judge_the_dead(self, number: int, stage: str, ended: str) -> dict[str, Any]:
        """The other program may die; this package may not."""
        is_ours = not stage.startswith("another reader")
        faults = [f"{ended} while {stage}"] if is_ours else []
        counts = collections.Counter({f"{ended} of {stage.split(',')[0]}": 1})
        return {"number": number, "how": stage, "source": "", "counts": counts, "faults": faults}


def _opened(path: Path) -> Path:
    return path / "a.h5" if path.suffix == ".bdv" else path


def _reset_peak() -> int:
    """Let the kernel forget the peak of memory; bytes that are taken now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=FORMATS)
    return fuzz_children.main(
        parser,
        lambda options, folder: FormatsJob(options.seed, sources(options.formats, folder / "made"), folder),
    )


if __name__ == "__main__":
    sys.exit(main())
