"""Out of memory is called that, and an error of the disk an error of the disk: never damage."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.library_errors import require_room, translated
from ilastik_lazy.errors import CorruptChunkError, CorruptFileError, MemoryLimitError, SourceIOError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5 import file as hdf5_file
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.tiff import file as tiff_file
from tests.support.children import run_forked
from tests.support.faults import LONG
from tests.support.makers import write_hdf5_export

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such limit")

_SHAPE = (6, 1024, 1024)

# Reads an image in forks of this process, each of which gets a little more memory than the one before.
_READ = r"""
import json, os, resource, sys, warnings
from ilastik_lazy.formats.location import Location
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.formats import open_source
warnings.simplefilter("ignore")
path, inside, axes = sys.argv[1:]
source = open_source(Location(path, inside or None), OpenOptions(axes))
region = (slice(0, 2), *(slice(0, n) for n in source.spec.shape[1:]))
source.read(tuple(slice(0, 1) for _ in source.spec.shape))  # imports what it needs
seen = []
for extra in [*range(2, 48, 9), 400]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        now = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (now + extra * 2**20,) * 2)
        try:
            outcome = f"read {int(source.read(region).sum())}"
        except BaseException as error:
            outcome = "memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        os.write(writing, outcome.encode()[:900])
        os._exit(0)
    os.close(writing)
    seen.append(os.read(reading, 1000).decode())
    os.close(reading)
    os.wait()
print(json.dumps(seen))
"""


def data():
    return np.tile(np.random.default_rng(0).integers(0, 5, 2**18, "u1"), 24).reshape(_SHAPE)


def write_hdf5(path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("exported_data", data=data(), chunks=_SHAPE, **options)
    return "exported_data"


def write_zarr(path, compressor):
    import numcodecs
    import zarr

    array = zarr.create_array(
        path, shape=_SHAPE, chunks=_SHAPE, dtype="u1", zarr_format=2,
        compressors=numcodecs.get_codec({"id": compressor}),
    )  # fmt: skip
    array[:] = data()
    return ""


def write_tiff(path, compression):
    import tifffile

    tifffile.imwrite(path, data(), compression=compression, rowsperstrip=1024)
    return ""


IMAGES = {
    "gzip.h5": lambda path: write_hdf5(path, compression="gzip", compression_opts=1),
    "all.h5": lambda path: write_hdf5(path, compression="gzip", compression_opts=1, shuffle=True, fletcher32=True),
    "lzf.h5": lambda path: write_hdf5(path, compression="lzf"),
    "szip.h5": lambda path: write_hdf5(path, compression="szip"),
    "scaleoffset.h5": lambda path: write_hdf5(path, scaleoffset=0),
    **{f"{name}.zarr": (lambda path, name=name: write_zarr(path, name)) for name in ("gzip", "bz2", "blosc", "zstd")},
    **{f"{name}.tif": (lambda path, name=name: write_tiff(path, name)) for name in ("lzw", "zlib")},
}


# One for each library that decodes; the others with ILASTIK_LAZY_LONG=1.
_USUAL = ("all.h5", "lzf.h5", "gzip.zarr", "blosc.zarr", "lzw.tif")


@pytest.mark.parametrize("name", IMAGES if LONG else _USUAL)
def test_too_little_memory_is_no_damage(tmp_path, name):
    if name == "szip.h5" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this h5py writes no szip")
    inside = IMAGES[name](tmp_path / name)
    outcomes = json.loads(run_forked(_READ, tmp_path / name, inside, "zyx").stdout)
    right = f"read {int(data()[:2].astype(int).sum())}"
    # The least limit is enough for some decoders.
    assert set(outcomes) <= {"memory", right}
    assert outcomes[-1] == right


def test_libraries_that_hide_the_reason_are_not_believed():
    import resource

    def damaged(error):
        return CorruptChunkError("damaged")

    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    with (
        pytest.raises(CorruptChunkError),
        translated((OSError,), damaged, "a.h5", 2**20),
    ):
        raise OSError("filter returned failure during read")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, before[1]))
    try:
        with (
            pytest.raises(MemoryLimitError, match=r"not enough memory to read a\.h5"),
            translated((OSError,), damaged, "a.h5", 2**28),
        ):
            raise OSError("filter returned failure during read")
        with pytest.raises(MemoryError):
            require_room(2**28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (MemoryError(), MemoryLimitError),
        (
            RuntimeError("Can't open (file read failed: errno = 12, error message = 'Cannot allocate')"),
            MemoryLimitError,
        ),
        (KeyError("Unable to open object (file read failed: errno = 5, error message = 'I/O error')"), SourceIOError),
        (RuntimeError("Unable to get (file read failed: time = today, errno = 116, ...)"), SourceIOError),
        (OSError(5, "Input/output error"), SourceIOError),
        (OSError(24, "Too many open files"), SourceIOError),
        (KeyError("Unable to open object (bad heap free list)"), CorruptFileError),
        (OSError(22, "Invalid argument"), CorruptFileError),
    ],
)
def test_what_the_machine_lacks_while_metadata_are_read_is_no_damage(tmp_path, error, named):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, np.zeros((6, 4), "u1"), axes="yx", chunks=(3, 4))

    def fails(*_):
        raise error

    with pytest.raises(named) as caught, hdf5_file.open_hdf5(str(path)) as file:
        file.visititems(fails)
    assert str(path) in str(caught.value)
    assert named is CorruptFileError or not any(word in str(caught.value) for word in ("damaged", "corrupt", "cut off"))


def test_a_tiff_on_a_failing_disk_is_no_damaged_tiff(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    write_tiff(path, None)

    class Failing:
        def __init__(self, *_, **__):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(tiff_file.tifffile, "TiffFile", Failing)
    with pytest.raises(SourceIOError):
        open_source(Location(str(path), None))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        ImportError("index.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        SystemError("<function f> returned NULL without setting an exception"),
        caused(ImportError("you should not import numpy from its source"), ImportError("a.so: failed to map segment")),
    ],
)
def test_a_command_without_memory_says_so_in_one_line(error, capsys):
    import click

    from ilastik_lazy.cli.running import run

    def fail():
        raise error

    with pytest.raises(SystemExit) as ended:
        run(click.Group("ilastik-lazy", commands=[click.Command("info", callback=fail)]), ["info"])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not enough memory" in line
    assert "source" not in line


@pytest.mark.parametrize("megabytes", [40, 200])
def test_a_command_that_cannot_even_start_shows_no_traceback(tmp_path, megabytes):
    import subprocess

    path = tmp_path / "a.h5"
    write_hdf5_export(path, np.zeros((6, 4), "u1"), axes="yx", chunks=(3, 4))
    # It imports dask and zarr.
    convert = f"convert {path} {tmp_path / 'a.zarr'} --quiet"
    command = f"ulimit -v {megabytes * 1024}; exec {sys.executable} -m ilastik_lazy {convert}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    # Allocators of libraries may have lines of their own before it.
    assert ended.stderr.splitlines()[-1].startswith("ilastik-lazy: error: ")
