"""An image in a bucket of a real S3 server: whole or none, resumed, one writer."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ilastik_lazy.errors import (
    CorruptChunkError,
    DestinationBusyError,
    DestinationError,
    DestinationExistsError,
    LockingWarning,
    ResumeMismatchError,
)
from ilastik_lazy.storage import locks
from ilastik_lazy.storage.object_store import ObjectFolder
from ilastik_lazy.storage.object_store.store import RemoteStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.children import run_forked
from tests.support.faults import LONG
from tests.support.ome_zarr.targets import a_source, two_take_over
from tests.support.proxy import Proxy
from tests.support.servers import S3Server

pytest.importorskip("obstore")


def some_source(seed: int = 0) -> Any:
    """An image of a dozen shards; of about forty with ILASTIK_LAZY_LONG=1, as each request takes moto 5 ms."""
    return a_source(seed, (65, 100) if LONG else (33, 50))


@pytest.fixture
def url(s3: S3Server, bucket: str) -> str:
    return f"s3://{bucket}/{uuid.uuid4().hex}/a.zarr"


def convert(url: str, server: S3Server, **more: Any) -> Any:
    from tests.support.ome_zarr.targets import small_plans

    source = more.pop("source", None) or some_source()
    with small_plans(shard=200, smallest=5):
        return to_ome_zarr(source, url, workers=2, storage_options=server.options, **more)


def folder(url: str, server: S3Server) -> ObjectFolder:
    return ObjectFolder.parse(url, server.options)


def voxels(url: str, server: S3Server) -> np.ndarray[Any, Any]:
    store, path = folder(url, server).child("scale0/image").zarr_store()
    return np.asarray(zarr.open_array(store, path=path, mode="r")[...])


def uploads(s3: S3Server, bucket: str) -> str:
    """Uploads in parts that were begun and not ended, as the server lists them."""
    import urllib.request

    with urllib.request.urlopen(f"{s3.endpoint}/{bucket}?uploads") as answer:
        text: str = answer.read().decode()
    return text


class SlowRemoteStore(RemoteStore):
    """A process that is interrupted between finding a stale lock and taking it over."""

    def take_over(self, key: str, data: bytes, seen: bytes) -> bool:
        time.sleep(1.5)
        return super().take_over(key, data, seen)

    def delete(self, prefix: str) -> None:
        time.sleep(1.5)
        super().delete(prefix)


class TestBucket:
    @pytest.mark.parametrize("version", ["0.5", "0.4"])
    def test_holds_what_the_source_does_and_no_litter(self, url: str, s3: S3Server, version: str) -> None:
        report = convert(url, s3, version=version, verify=True)
        np.testing.assert_array_equal(voxels(url, s3), some_source().data)
        assert report.target == url
        assert report.verified
        assert not [key for key in folder(url, s3).list() if key.startswith(".ilz/")]

    def test_with_an_image_in_it_is_not_written_to(self, url: str, s3: S3Server) -> None:
        convert(url, s3)
        before = sorted(folder(url, s3).list())
        with pytest.raises(DestinationExistsError):
            convert(url, s3)
        with pytest.raises(DestinationExistsError, match="cannot be exchanged"):
            convert(url, s3, overwrite=True, source=some_source(seed=1))
        folder(url, s3).put("labels/cells/zarr.json", b"{}")
        with pytest.raises(DestinationExistsError, match="delete it yourself, but not labels, which others have put"):
            convert(url, s3, overwrite=True, source=some_source(seed=1))
        folder(url, s3).delete("labels/cells/zarr.json")
        assert sorted(folder(url, s3).list()) == before
        assert convert(url, s3, resume=True).resumed > 8

    def test_stopped_in_the_middle_is_no_image_and_goes_on(self, url: str, s3: S3Server) -> None:
        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert(url, s3, progress=stop)
        assert not [key for key in folder(url, s3).list() if key.endswith("zarr.json")]
        with pytest.raises(DestinationExistsError, match="unfinished"):
            convert(url, s3)
        with pytest.raises(ResumeMismatchError):
            convert(url, s3, resume=True, levels=1)
        report = convert(url, s3, resume=True)
        assert report.resumed > 3
        np.testing.assert_array_equal(voxels(url, s3), some_source().data)

    @pytest.mark.parametrize("options", [{"overwrite": True, "levels": 2}, {"resume": True}])
    def test_stopped_in_the_middle_keeps_what_others_have_put_there(self, url: str, s3: S3Server, options: Any) -> None:
        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert(url, s3, progress=stop)
        for key in ("labels/cells/zarr.json", "scale0/notes.txt"):
            folder(url, s3).put(key, b"{}")
        convert(url, s3, **options)
        np.testing.assert_array_equal(voxels(url, s3), some_source().data)
        assert {"labels/cells/zarr.json", "scale0/notes.txt"} <= set(folder(url, s3).list())

    def test_that_fails_at_once_keeps_what_others_have_put_there(self, url: str, s3: S3Server) -> None:
        class Failing(type(some_source())):  # type: ignore[misc]
            def read(self, region: Any) -> Any:
                folder(url, s3).put("labels/cells/zarr.json", b"{}")
                raise CorruptChunkError("damaged")

        with pytest.raises(CorruptChunkError):
            convert(url, s3, source=Failing(some_source().data, "yx"))
        assert list(folder(url, s3).list()) == ["labels/cells/zarr.json"]

    def test_has_one_writer_at_a_time(self, url: str, s3: S3Server) -> None:
        held = RemoteStore(folder(url, s3)).lock()
        try:
            for more in ({}, {"resume": True}, {"overwrite": True}):
                with pytest.raises(DestinationBusyError):
                    convert(url, s3, **more)
        finally:
            held.release()
        convert(url, s3, resume=True)

    def test_is_taken_over_from_another_machine_that_is_silent(
        self, url: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(locks, "_STALE", 0.3)
        monkeypatch.setattr(locks, "_BEAT", 0.1)
        record = {"id": "other", "host": "elsewhere", "pid": 1, "beat": 4}
        folder(url, s3).put(".ilz/lock", json.dumps(record).encode())
        with pytest.raises(DestinationBusyError):
            convert(url, s3)
        convert(url, s3, resume=True)
        np.testing.assert_array_equal(voxels(url, s3), some_source().data)

    def test_is_not_taken_over_from_one_that_renews_its_lock(
        self, url: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(locks, "_STALE", 1.0)
        monkeypatch.setattr(locks, "_BEAT", 0.1)
        ended = threading.Event()

        def beat() -> None:
            count = 0
            while not ended.wait(0.1):
                count += 1
                record = {"id": "other", "host": "elsewhere", "pid": 1, "beat": count}
                folder(url, s3).put(".ilz/lock", json.dumps(record).encode())

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            ended.wait(0.3)
            with pytest.raises(DestinationBusyError):
                convert(url, s3, resume=True)
        finally:
            ended.set()
            thread.join()

    def test_is_taken_over_by_one_of_two_that_find_it_silent(
        self, url: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(locks, "_STALE", 0.3)
        monkeypatch.setattr(locks, "_BEAT", 0.1)
        record = {"id": "other", "host": "elsewhere", "pid": 1, "beat": 4}
        folder(url, s3).put(".ilz/lock", json.dumps(record).encode())
        assert sorted(two_take_over(SlowRemoteStore(folder(url, s3)), RemoteStore(folder(url, s3)))) == ["busy", "held"]

    def test_whose_server_checks_no_conditions_is_told(self) -> None:
        class Careless(ObjectFolder):
            def put(self, key: str, data: Any, *, create: bool = False, replacing: Any = None) -> None:
                super().put(key, data)

        store = RemoteStore(Careless.parse(f"memory://{uuid.uuid4().hex}/a.zarr"))
        with pytest.warns(LockingWarning, match="does not check conditions"):
            held = store.lock()
        with pytest.warns(LockingWarning), pytest.raises(DestinationBusyError):
            store.lock()
        held.release()
        assert not store.keys(".ilz")

    @pytest.mark.parametrize("slow_down", [False, True])
    def test_behind_a_line_that_breaks_gets_all(self, url: str, s3: S3Server, slow_down: bool) -> None:
        with Proxy(s3.endpoint, break_every=5, slow_down=slow_down) as proxy:
            report = convert(url, S3Server(proxy.url))
            assert proxy.broken > 5
        assert not report.verified
        np.testing.assert_array_equal(voxels(url, s3), some_source().data)

    def test_whose_lock_is_answered_too_late_is_still_ours(self, url: str, s3: S3Server) -> None:
        """The server has taken the conditional PUT, and the answer is lost: the second try finds its own lock."""
        with Proxy(s3.endpoint, lose_answers_to=".ilz/lock") as proxy:
            convert(url, S3Server(proxy.url))
            assert proxy.broken == 1
        np.testing.assert_array_equal(voxels(url, s3), some_source().data)

    def test_that_cannot_be_reached_is_a_destination_error(self) -> None:
        with pytest.raises((DestinationError, OSError)):
            convert("s3://nowhere/a.zarr", S3Server("http://127.0.0.1:9"))


_KILLED = """
import json, sys
from tests.writers.ome_zarr import test_bucket
from tests.support.servers import S3Server
import os, signal
count, limit = 0, int(sys.argv[3])
from ilastik_lazy.storage.object_store import ObjectFolder
put = ObjectFolder.put
def counted(*arguments, **more):
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)
    put(*arguments, **more)
ObjectFolder.put = counted
test_bucket.convert(sys.argv[1], S3Server(sys.argv[2]))
"""


# Thirty moments with ILASTIK_LAZY_LONG=1.
@pytest.mark.parametrize("limit", range(1, 150, 5) if LONG else [2, 15])
def test_killed_at_any_request_is_no_image_and_goes_on(url: str, s3: S3Server, bucket: str, limit: int) -> None:
    ended = run_forked(_KILLED, url, s3.endpoint, limit)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    keys = list(folder(url, s3).list())
    is_image = "zarr.json" in keys
    assert is_image == (ended.returncode == 0), ended.stderr
    convert(url, s3, resume=True)
    np.testing.assert_array_equal(voxels(url, s3), some_source().data)
    assert not [key for key in folder(url, s3).list() if key.startswith(".ilz/")]
    assert "<UploadId>" not in uploads(s3, bucket)


def test_the_source_may_lie_in_a_bucket_too(url: str, s3: S3Server, tmp_path: Path) -> None:
    convert(url, s3)
    assert to_ome_zarr(url, tmp_path / "b.zarr", storage_options=s3.options, verify=True).verified
    assert verify_image(url, tmp_path / "b.zarr", storage_options=s3.options).voxels == some_source().data.size
