"""What other programs read of the same files: zarr-python, tensorstore, tifffile, numpy, Pillow, libpng, csv, h5py.

Each is a list of answers, of which one must be ours; what a program cannot read is left out.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import tifffile
import zarr
import zarr.core.buffer.cpu
from PIL import Image

from tests.fuzz.outcomes import region_of

Array = np.ndarray[Any, Any]
_MOST_BYTES = 2**26
_ROOTS = ("zarr.json", ".zgroup", ".zarray")
_N5_NAMES = ("n5", "dimensions", "blockSize", "dataType", "compression", "compressionType")


def _array_folder(path: Path, inside: str) -> Path:
    is_array = any((path / name).exists() for name in (".zarray",)) or not (path / inside).is_dir()
    return path if is_array else path / inside


def _by_zarr(path: Path, inside: str) -> Iterator[Array]:
    array = zarr.open_array(str(_array_folder(path, inside)), mode="r")
    yield np.asarray(array[region_of(array.shape, array.dtype.itemsize)])


def _by_tensorstore(path: Path, inside: str) -> Iterator[Array]:
    import tensorstore  # in the child only: its threads do not survive a fork

    folder = _array_folder(path, inside)
    driver = "n5" if path.suffix == ".n5" else "zarr3" if (folder / "zarr.json").exists() else "zarr"
    if driver == "n5":
        _without_others_attributes(folder / "attributes.json")
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}}
    store = tensorstore.open(spec, read=True, open=True).result()
    store = store.T if driver == "n5" else store
    yield np.asarray(store[region_of(store.shape, store.dtype.numpy_dtype.itemsize)].read().result())


def _by_zarr_unpacked(path: Path, inside: str) -> Iterator[Array]:
    """Without the checksums of ZIP, which protect no part of an entry; for those of whole chunks there are tests."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                file._expected_crc = None  # type: ignore[attr-defined]
                found[entry.filename] = zarr.core.buffer.cpu.Buffer.from_bytes(file.read())
    tops = {name.partition("/")[0] + "/" for name in found} if not {*_ROOTS} & found.keys() else {""}
    for top in tops:
        name = f"{top}{inside}".strip("/")
        is_array = any(each.startswith(f"{name}/") for each in found)
        array = zarr.open_array(zarr.storage.MemoryStore(found), path=name if is_array else top.strip("/"), mode="r")
        yield np.asarray(array[region_of(array.shape, array.dtype.itemsize)])


def _by_hand(path: Path, inside: str) -> Iterator[Array]:
    """N5 with the blocks that tensorstore does not decode: LZ4 of z5 and of Java, and blocks of mode 1."""
    folder = _array_folder(path, inside)
    told = json.loads((folder / "attributes.json").read_bytes())
    shape, chunks = told["dimensions"][::-1], told["blockSize"][::-1]
    out = np.zeros(shape, told["dataType"])
    for index in itertools.product(*(range(-(-n // c)) for n, c in zip(shape, chunks, strict=True))):
        file = folder.joinpath(*map(str, index[::-1]))
        if not file.exists():
            continue
        data = file.read_bytes()
        mode, rank = struct.unpack_from(">HH", data)
        lengths = struct.unpack_from(f">{rank}I", data, 4)[::-1]
        packed, kind = data[4 + 4 * rank + 4 * (mode == 1) :], told["compression"]["type"]
        nbytes = math.prod(lengths) * out.dtype.itemsize
        if kind == "lz4" and packed.startswith(b"LZ4Block"):
            packed = _by_lz4_java(packed, nbytes)
        elif kind == "lz4":
            packed = imagecodecs.lz4_decode(packed, out=nbytes)
        elif kind == "gzip":
            packed = gzip.decompress(packed)
        block = np.frombuffer(packed, out.dtype.newbyteorder(">")).reshape(lengths)
        place = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))
        target = out[place]
        target[...] = block[tuple(map(slice, target.shape))]
    yield out


def _by_lz4_java(data: bytes, nbytes: int) -> bytes:
    found, at = b"", 0
    while len(found) < nbytes:
        token, stored, length = struct.unpack_from("<Bii", data, at + 8)
        part = data[at + 21 : at + 21 + stored]
        at += 21 + stored
        found += imagecodecs.lz4_decode(part, out=length) if token & 0x20 and length else part
    return found


def _without_others_attributes(path: Path) -> None:
    """Leave what belongs to N5 itself: tensorstore takes ilastik's text ``axes`` for a list that is damaged."""
    told = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: told[name] for name in _N5_NAMES if name in told}))


def _by_tifffile(path: Path, inside: str) -> Iterator[Array]:
    with tifffile.TiffFile(path) as file:
        for series in file.series:
            with contextlib.suppress(ValueError, RuntimeError):
                if math.prod(series.shape) * series.dtype.itemsize <= _MOST_BYTES:
                    yield series.asarray()


def _by_numpy(path: Path, inside: str) -> Iterator[Array]:
    found = np.load(path, allow_pickle=False)
    found = found[region_of(found.shape, found.dtype.itemsize)]
    yield found.view("u1") != 0 if found.dtype.kind == "b" else found


def _by_the_mrc_standard(path: Path, inside: str) -> Iterator[Array]:
    data = path.read_bytes()
    words = np.frombuffer(data, ">i4" if data[212] == 0x11 else "<i4", 256)
    columns, rows, sections, mode, depth, group, extended = (int(words[i]) for i in (0, 1, 2, 3, 9, 22, 23))
    kind = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}[mode]
    shape = (sections // depth, depth, rows, columns) if 401 <= group <= 630 else (sections, rows, columns)
    found = np.frombuffer(data, words.dtype.byteorder + kind, math.prod(shape), 1024 + extended).reshape(shape)
    yield found[region_of(found.shape, found.dtype.itemsize)]


def _checksums_are_right(data: bytes) -> bool:
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        (told,) = struct.unpack_from(">I", data, at + 8 + length)
        if told != zlib.crc32(data[at + 4 : at + 8 + length]):
            return False
        if kind == b"IEND":
            return True
        at += 12 + length
    return False


def _by_pillow(path: Path, inside: str) -> Iterator[Array]:
    data = path.read_bytes()
    if path.suffix == ".png":
        # Pillow does not look at the checksums of pixels.
        if not _checksums_are_right(data):
            return
        yield imagecodecs.png_decode(data)
    picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "GIF", "PPM"))
    if picture.width * picture.height * 4 <= _MOST_BYTES:
        yield np.asarray(picture)
        for mode in ("L", "RGB", "RGBA"):
            yield np.asarray(picture.convert(mode))


def _by_csv(path: Path, inside: str) -> Iterator[Array]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252")
    first = text.partition("\n")[0]
    delimiter = "\t" if "\t" in first and "," not in first else ","
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    rows = list(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
    if len({len(row) for row in rows}) == 1 and inside in rows[0]:
        cells = [row[rows[0].index(inside)] for row in rows[1:]]
        yield np.array(cells, object)
        numbers = [int(cell) for cell in cells]
        yield np.array(numbers, np.int64 if max(numbers, default=0) < 2**63 else np.uint64)


def _by_csv_as_floats(path: Path, inside: str) -> Iterator[Array]:
    cells = next(_by_csv(path, inside))
    if not any("_" in cell for cell in cells):
        yield np.array([float(cell) for cell in cells])


def _by_h5py(path: Path, inside: str) -> Iterator[Array]:
    setup, _, level = inside.partition("/scale")
    with h5py.File(path) as file:
        times = sorted(name for name in file if name.startswith("t") and setup in file[name])
        yield np.stack([file[f"{time}/{setup}/{level or 0}/cells"][()] for time in times]).view("<u2")


_READERS: dict[str, tuple[Callable[[Path, str], Iterator[Array]], ...]] = {
    ".zarr": (_by_zarr, _by_tensorstore),
    ".ozx": (_by_zarr_unpacked,),
    ".n5": (_by_hand, _by_tensorstore),
    ".tif": (_by_tifffile,),
    ".npy": (_by_numpy,),
    ".mrc": (_by_the_mrc_standard,),
    ".csv": (_by_csv, _by_csv_as_floats),
    ".h5": (_by_h5py,),
}


def answers(path: Path, inside: str) -> list[Array]:
    """All that other programs make of one image or column."""
    found: list[Array] = []
    for reader in _READERS.get(path.suffix, (_by_pillow,)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found += reader(path, inside)
        except Exception:
            continue
    return found


def agrees(values: Array, answer: Array) -> bool:
    """Whether both are the same, also where one of them has left out axes of length 1."""
    if values.size != answer.size or (values.dtype.kind == "O") != (answer.dtype.kind == "O"):
        return False
    if values.dtype.kind == "O":
        return bool(values.tolist() == answer.tolist())
    if [n for n in values.shape if n > 1] != [n for n in answer.shape if n > 1]:
        return False
    if values.dtype.newbyteorder("=") != answer.dtype.newbyteorder("="):
        return False
    one, other = (np.ascontiguousarray(each.astype(values.dtype)).reshape(-1) for each in (values, answer))
    nan = (one != one) & (other != other)
    return bool(((one == other) | nan).all())
