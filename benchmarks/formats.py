"""Sum a whole image through the front door, in every format, beside the readers that its users know."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import dask.array as da
import dask.array.image
import h5py
import imageio.v3
import numcodecs
import numpy as np
import tifffile
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

import ilastik_lazy as il
from benchmarks.exports import field, write_export

Array = np.ndarray[Any, Any]

SIDE = int(os.environ.get("ILASTIK_LAZY_BENCH_SIDE", "384"))
CHUNKS, SHARDS, FILES = (32, 128, 128), (64, 256, 256), 200


def shape() -> tuple[int, int, int]:
    """128 planes of 768 x 768 at the usual `SIDE`: 302 MB as float32."""
    return SIDE // 3, 2 * SIDE, 2 * SIDE


def volume() -> Array:
    return field((0, 0, 0), shape(), 0, "probabilities")


def write_zarr(path: str, version: int, codec: Any, **options: Any) -> None:
    data, axes = volume(), [{"name": name, "type": "space"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if version == 3:
        options["dimension_names"] = tuple("zyx")
        attributes: dict[str, Any] = {"ome": {"version": "0.5", "multiscales": [image]}}
    else:
        options["attributes"] = {"_ARRAY_DIMENSIONS": list("zyx")}
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        attributes = {"multiscales": [{"version": "0.4", **image}]}
    group: Any = zarr.create_group(path, zarr_format=version, attributes=attributes)  # type: ignore[arg-type]
    made = group.create_array("0", shape=data.shape, dtype=data.dtype, chunks=CHUNKS, compressors=codec, **options)
    made[...] = data


def write_n5(path: str, compression: dict[str, Any]) -> None:
    import tensorstore as ts

    data = volume().T
    metadata = {"dimensions": data.shape, "blockSize": CHUNKS[::-1], "dataType": "float32", "compression": compression}
    # ilastik writes "axes" as a text, which tensorstore refuses.
    place, metadata = {"driver": "file", "path": _array_of(path)}, metadata | {"axes": list("xyz")}
    ts.open({"driver": "n5", "kvstore": place, "metadata": metadata}, create=True).result().write(data).result()


def write_tiff(path: str, **options: Any) -> None:
    tifffile.imwrite(path, volume(), photometric="minisblack", metadata={"axes": "ZYX"}, **options)


def write_picture(path: str) -> None:
    imageio.v3.imwrite(path, (field((0, 0), (8 * SIDE, 8 * SIDE), 0, "raw") >> 4).astype(np.uint8))


def write_stack(pattern: str, write: Callable[..., object]) -> None:
    os.makedirs(os.path.dirname(pattern))
    for number in range(FILES if SIDE > 100 else 5):
        write(pattern.replace("*", f"{number:03}"), field((number, 0, 0), (1, SIDE, SIDE), 0, "raw")[0])


def _array_of(path: str) -> str:
    return f"{path}/0" if path.endswith(".zarr") else f"{path}/exported_data"


def with_tensorstore(driver: str, path: str) -> Any:
    import tensorstore as ts

    return sum_of_slabs(ts.open({"driver": driver, "kvstore": {"driver": "file", "path": _array_of(path)}}).result())


def sum_of_slabs(array: Any) -> Any:
    """Ask for all slabs at once, each as wide as the chunks that are read, and add up each as it comes."""
    axis = array.chunk_layout.inner_order[0]
    before, step, length = (slice(None),) * axis, array.chunk_layout.read_chunk.shape[axis], array.shape[axis]
    slabs = [array[(*before, slice(i, min(i + step, length)))].read() for i in range(0, length, step)]
    return sum(slab.result().sum(dtype="f8") for slab in slabs)


def with_tiff_zarr(path: str) -> Any:
    with tifffile.imread(path, aszarr=True) as store:
        return da.from_zarr(zarr.open_array(store, mode="r")).sum().compute()


def with_h5py(path: str) -> Any:
    with h5py.File(path) as file:
        return file["exported_data"][...].sum()


def with_h5py_and_dask(path: str) -> Any:
    with h5py.File(path) as file:
        return da.from_array(file["exported_data"]).sum().compute()


def one_by_one(read: Callable[[str], Array], pattern: str) -> Any:
    return sum(read(path).sum(dtype="f8") for path in sorted(glob.glob(pattern)))


Reader = Callable[[str], Any]
OURS = "ilastik_lazy"
_ZARR: dict[str, Reader] = {
    "zarr-python": lambda path: zarr.open_array(_array_of(path), mode="r")[...].sum(),  # type: ignore[union-attr]
    "dask": lambda path: da.from_zarr(_array_of(path)).sum().compute(),
    "xarray, zarr": lambda path: xr.open_zarr(path, consolidated=False)["0"].sum().compute(),
}
_ZARR2 = {"tensorstore": partial(with_tensorstore, "zarr"), **_ZARR}
_ZARR3 = {"tensorstore": partial(with_tensorstore, "zarr3"), **_ZARR}
_N5: dict[str, Reader] = {"tensorstore": partial(with_tensorstore, "n5")}
_TIFF: dict[str, Reader] = {
    "tifffile": lambda path: tifffile.imread(path).sum(),
    "tifffile, zarr, dask": with_tiff_zarr,
}
_NPY: dict[str, Reader] = {
    "numpy": lambda path: np.load(path).sum(),
    "numpy, mapped": lambda path: np.load(path, mmap_mode="r").sum(),
    "dask": lambda path: da.from_array(np.load(path, mmap_mode="r")).sum().compute(),
}
_HDF5: dict[str, Reader] = {"h5py": with_h5py, "h5py, dask": with_h5py_and_dask}
_PICTURES: dict[str, Reader] = {
    "imageio": partial(one_by_one, imageio.v3.imread),
    "dask.array.image": lambda pattern: dask.array.image.imread(pattern).sum().compute(),
}
_TIFFS: dict[str, Reader] = {
    "tifffile": lambda pattern: tifffile.imread(pattern).sum(),
    "dask.array.image": lambda pattern: dask.array.image.imread(pattern, tifffile.imread).sum().compute(),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way to store an image, and who else reads it."""

    name: str
    write: Callable[[str], object]
    peers: dict[str, Reader]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Those of `open_dataarray`."""

    def readers(self) -> dict[str, Reader]:
        return {OURS: lambda path: il.open_dataarray(path, **self.options).sum().compute().item(), **self.peers}


LAYOUTS = {
    "OME-Zarr 0.4, blosc": Layout(
        "v2_blosc.zarr", partial(write_zarr, version=2, codec=numcodecs.Blosc("lz4", 5, 1)), _ZARR2
    ),
    "OME-Zarr 0.4, zstd": Layout("v2_zstd.zarr", partial(write_zarr, version=2, codec=numcodecs.Zstd(3)), _ZARR2),
    "OME-Zarr 0.4, gzip": Layout("v2_gzip.zarr", partial(write_zarr, version=2, codec=numcodecs.GZip(1)), _ZARR2),
    "OME-Zarr 0.5, blosc": Layout(
        "v3_blosc.zarr", partial(write_zarr, version=3, codec=BloscCodec(cname="lz4", typesize=4)), _ZARR3
    ),
    "OME-Zarr 0.5, zstd": Layout("v3_zstd.zarr", partial(write_zarr, version=3, codec=ZstdCodec(level=3)), _ZARR3),
    "OME-Zarr 0.5, gzip": Layout("v3_gzip.zarr", partial(write_zarr, version=3, codec=GzipCodec(level=1)), _ZARR3),
    "OME-Zarr 0.5, zstd, sharded": Layout(
        "sharded.zarr", partial(write_zarr, version=3, codec=ZstdCodec(level=3), shards=SHARDS), _ZARR3
    ),
    "N5, gzip": Layout("gzip.n5", partial(write_n5, compression={"type": "gzip", "level": 1}), _N5),
    "N5, raw": Layout("raw.n5", partial(write_n5, compression={"type": "raw"}), _N5),
    "TIFF, plain": Layout("plain.tif", write_tiff, _TIFF),
    "TIFF, tiled, deflate": Layout(
        "deflate.tif", partial(write_tiff, tile=(256, 256), compression="zlib", compressionargs={"level": 1}), _TIFF
    ),
    "TIFF, LZW": Layout("lzw.tif", partial(write_tiff, compression="lzw"), _TIFF),
    "TIFF, 200 files": Layout("tiffs/*.tif", partial(write_stack, write=tifffile.imwrite), _TIFFS),
    "npy": Layout("volume.npy", lambda path: np.save(path, volume()), _NPY, {"axes": "zyx"}),
    "PNG": Layout("picture.png", write_picture, _PICTURES),
    "PNG, 200 files": Layout("pngs/*.png", partial(write_stack, write=imageio.v3.imwrite), _PICTURES),
    "HDF5, gzip": Layout("gzip.h5", lambda path: write_export(path, shape(), "zyx"), _HDF5),
    "HDF5, raw": Layout("raw.h5", lambda path: write_export(path, shape(), "zyx", compression=None), _HDF5),
}


class Formats:
    """Seconds until the sum of a whole image is there."""

    params: ClassVar = [list(LAYOUTS), [OURS, *sorted({peer for layout in LAYOUTS.values() for peer in layout.peers})]]
    param_names: ClassVar = ["layout", "reader"]
    timeout = 300

    def setup(self, layout: str, reader: str) -> None:
        self.reader = LAYOUTS[layout].readers().get(reader)
        if self.reader is None:
            raise NotImplementedError("does not read it")
        self.path = os.path.abspath(LAYOUTS[layout].name)
        if not glob.glob(self.path):
            LAYOUTS[layout].write(self.path)

    def time_sum(self, layout: str, reader: str) -> None:
        assert self.reader is not None
        self.reader(self.path)
