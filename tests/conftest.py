"""Fixtures that every test has, and how hard hypothesis tries."""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ilastik_lazy.core import parallel as blockwise
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.storage import isolation
from ilastik_lazy.storage.system import IS_WINDOWS
from tests.support.children import forked_child
from tests.support.open_files import open_files
from tests.support.servers import S3Server, moto_server
from tests.support.shared_files import DATA, SHARED, note_marker

# Deadlines are off: the two cores that CI has are shared, and a slow example is not a bug.
_usual = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=30, **_usual)
settings.register_profile("long", max_examples=300, **_usual)
settings.load_profile("long" if "ILASTIK_LAZY_LONG" in os.environ else "default")


_MEMORY = "/dev/shm"
# Half of the time that writing takes on a disk is waiting for it. The tests that use `../shared` have the usual folder.
if (
    "TMPDIR" not in os.environ
    and os.access(_MEMORY, os.W_OK)
    and (room := os.statvfs(_MEMORY)).f_bavail * room.f_frsize > 4 * 10**9
):
    os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY

_IMAGES = (".h5", ".ilp", ".npy", ".tif", ".tiff", ".png", ".csv", "zarr.json", ".zarray", "attributes.json")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: many tests wait for servers, locks and other processes."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    if "ILASTIK_LAZY_LONG" in os.environ and config.option.markexpr == "not slow":
        config.option.markexpr = ""


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect no garbage among ten thousand tests, neither while they are made nor later: 2 of 7 seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep those tests marked `any_layout` that have the first or the last parameter of the fixture `stored`.

    On Windows, leave out those that are marked `posix`.
    """
    numbers = {
        item: item.callspec.indices.get("stored", 0)
        for item in items
        if isinstance(item, pytest.Function) and item.get_closest_marker("any_layout") and hasattr(item, "callspec")
    }
    last: dict[object, int] = {}
    for item, number in numbers.items():
        last[item.parent] = max(number, last.get(item.parent, 0))
    left = [item for item, number in numbers.items() if number not in (0, last[item.parent])]
    left += [item for item in items if IS_WINDOWS and item.get_closest_marker("posix")]
    config.hook.pytest_deselected(items=left)
    gone = set(left)
    items[:] = [item for item in items if item not in gone]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test without the mark `shared` must not need ``../shared``."""
    note_marker(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip on Windows what it refuses."""
    try:
        return (yield)
    except ArgumentError as error:
        if IS_WINDOWS and "Windows sets no such limits" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(autouse=True)
def every_file_closed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a file open: one of its own, or any other that a file of ilastik may be."""
    before = open_files()
    # Not asked for as a fixture: tests that write nothing need no folder.
    below = f"{request.getfixturevalue('tmp_path')}{os.sep}" if "tmp_path" in request.fixturenames else os.devnull
    yield

    def left_open() -> list[str]:
        opened = [path for path in open_files() if path not in before]
        return [path for path in opened if path.startswith(below) or path.endswith(_IMAGES)]

    # Where a task of dask has failed, others may still be reading.
    patience = time.monotonic() + 2
    while (left := left_open()) and time.monotonic() < patience:
        time.sleep(0.01)
    assert not left, f"left open: {left}"


def _fingerprints() -> dict[Path, tuple[int, int, str]]:
    folders = [Path(sample("raw")).parent, DATA, SHARED / "ilastik-files"]
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    return {
        path: (status.st_size, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path, status in ((path, path.stat()) for path in files)
    }


@pytest.fixture(scope="session", autouse=True)
def no_source_is_changed() -> Iterator[None]:
    """Whatever is tested: the files that ilastik wrote are the same, to the byte and the nanosecond."""
    before = _fingerprints()
    assert before
    yield
    assert _fingerprints() == before


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few chunks, so that small arrays have many."""
    monkeypatch.setattr(blockwise, "BLOCK_BYTES_LEAST", 2**10)
    monkeypatch.setattr(blockwise, "BLOCK_BYTES_MOST", 2**12)


@pytest.fixture(scope="session", autouse=True)
def forked_children() -> Iterator[None]:
    """Fork the children that ask libhdf5 from a process with all imports: a new interpreter takes half a second.

    `test_isolation.py` has real ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolation, "_started", forked_child)
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server that speaks S3 (moto); what a test writes goes into a bucket of its own."""
    pytest.importorskip("moto.server", reason="moto serves S3: pip install 'ilastik_lazy[test]'")
    pytest.importorskip("obstore")
    with moto_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """Name of a new, empty bucket."""
    name = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    urllib.request.urlopen(urllib.request.Request(f"{s3.endpoint}/{name}", method="PUT")).close()
    return name
