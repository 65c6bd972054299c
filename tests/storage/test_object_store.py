"""Objects are read and written as asked, by one writer where only one may, and no message tells a secret."""

from __future__ import annotations

import datetime
import pickle
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import (
    ArgumentError,
    DestinationError,
    DestinationExistsError,
    LimitExceededError,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
)
from ilastik_lazy.storage.object_store import ObjectFolder, is_url, shown_url
from ilastik_lazy.storage.object_store import cloud as cloud_objects
from ilastik_lazy.storage.object_store import web as web_objects
from ilastik_lazy.storage.object_store.backend import ObjectState
from tests.support.children import run_python
from tests.support.servers import serving

boto3 = pytest.importorskip("boto3", reason="comes with moto: pip install 'ilastik_lazy[test]'")


@pytest.fixture
def folder(s3, bucket):
    return ObjectFolder.parse(f"s3://{bucket}/some/folder", s3.options)


class TestObjects:
    def test_what_was_written_is_read_by_others(self, folder, s3, bucket):
        folder.put("a/b", b"0123456789")
        client = boto3.client(
            "s3", endpoint_url=s3.endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        with client.get_object(Bucket=bucket, Key="some/folder/a/b")["Body"] as body:
            assert body.read() == b"0123456789"
        client.close()
        assert folder.get("a/b") == b"0123456789"
        assert folder.get_range("a/b", 2, 3) == b"234"
        assert folder.get_range("a/b", 2, 0) == b""
        assert folder.fetch_edge("a/b", 4, at_start=False)[0] == b"6789"
        assert folder.fetch_edge("a/b", 99, at_start=False)[0] == b"0123456789"
        assert folder.fetch_edge("a/b", 4, at_start=False)[1].size == folder.state("a/b").size == 10

    @pytest.mark.parametrize("key", ["a b", "ä/µm", "50%", "a+b", "c#d?e", "x=y&z"])
    def test_any_name_is_found_again(self, folder, key):
        folder.put(key, b"x")
        assert folder.get(key) == b"x"
        assert list(folder.list()) == [key]

    def test_names_of_a_folder_only(self, folder, s3, bucket):
        for key in ("a/b", "a/c/d", "e", "ab/f"):
            folder.put(key, b"x")
        ObjectFolder.parse(f"s3://{bucket}/some/folder2", s3.options).put("no", b"x")
        assert sorted(folder.list()) == ["a/b", "a/c/d", "ab/f", "e"]
        assert sorted(folder.list("a")) == ["a/b", "a/c/d"]
        assert folder.children() == (("a", "ab"), ("e",))
        assert folder.child("a").children() == (("c",), ("b",))
        assert list(folder.list("nothing")) == []

    def test_more_than_one_page_of_names(self, folder):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda k: folder.put(f"k/{k}", b""), range(101)))
        assert len(set(folder.list("k"))) == 101

    def test_large_objects_in_many_parts(self, folder):
        data = bytes(range(256)) * 2**17
        folder.put("large", memoryview(data))
        assert folder.get("large") == data
        assert folder.get_range("large", 2**24 + 3, 7) == data[2**24 + 3 :][:7]

    def test_another_version_has_another_state(self, folder):
        folder.put("a", b"one")
        before = folder.state("a")
        assert folder.fetch("a") == (b"one", before)
        folder.put("a", b"two")
        assert folder.state("a") != before

    def test_a_part_of_another_version_is_refused(self, folder):
        folder.put("a", b"0123456789")
        state = folder.state("a")
        assert folder.get_range("a", 1, 2, state=state) == b"12"
        folder.put("a", b"abcdefghij")
        with pytest.raises(SourceChangedError, match="folder/a changed"):
            folder.get_range("a", 1, 2, state=state)

    def test_what_is_removed_is_gone_and_may_be_removed_again(self, folder):
        folder.put("a", b"x")
        folder.delete("a")
        folder.delete("a")
        with pytest.raises(SourceNotFoundError):
            folder.state("a")

    def test_of_many_who_create_one_wins(self, folder):
        def create(writer):
            try:
                folder.put("lock", str(writer).encode(), create=True)
            except DestinationExistsError as error:
                return error
            return writer

        with ThreadPoolExecutor(8) as pool:
            made = [result for result in pool.map(create, range(16)) if isinstance(result, int)]
        assert len(made) == 1
        assert folder.get("lock") == str(made[0]).encode()

    def test_a_copy_in_another_process_reads_the_same(self, folder):
        folder.put("a", b"from far")
        code = "import sys, pickle; print(pickle.load(sys.stdin.buffer).get('a').decode())"
        assert run_python(code, stdin=pickle.dumps(folder)).strip() == b"from far"
        assert pickle.loads(pickle.dumps(folder)) == folder
        assert hash(pickle.loads(pickle.dumps(folder))) == hash(folder)

    def test_the_endpoint_may_stand_in_the_environment(self, folder, s3, monkeypatch):
        folder.put("a", b"x")
        for name, value in s3.options.items():
            monkeypatch.setenv(f"AWS_{name.upper()}", value)
        assert ObjectFolder.parse(folder.url).get("a") == b"x"

    def test_another_endpoint_in_the_environment_is_asked_from_then_on(self, tmp_path, monkeypatch):
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        folder = ObjectFolder.parse("s3://bucket/x", {"anon": True})
        for name in ("first", "second"):
            (tmp_path / name / "bucket" / "x").mkdir(parents=True)
            (tmp_path / name / "bucket" / "x" / "a").write_text(name)
            with serving(tmp_path / name) as server:
                monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
                assert folder.get("a") == name.encode()

    def test_options_as_fsspec_names_them(self, folder, s3):
        folder.put("a", b"x")
        options = {"key": "me", "secret": "very-secret", "client_kwargs": {"endpoint_url": s3.endpoint}}
        assert ObjectFolder.parse(folder.url, options).get("a") == b"x"


class TestWebServers:
    @pytest.mark.parametrize("knows_ranges", [True, False])
    def test_files_and_parts_of_them(self, tmp_path, knows_ranges):
        (tmp_path / "ä b").mkdir()
        (tmp_path / "ä b" / "50%").write_bytes(b"0123456789")
        with serving(tmp_path, knows_ranges=knows_ranges) as server:
            folder = ObjectFolder.parse(f"{server.url}/%C3%A4 b")
            assert folder.get("50%") == b"0123456789"
            assert folder.get_range("50%", 2, 3) == b"234"
            assert folder.fetch_edge("50%", 4, at_start=False)[0] == b"6789"
            assert folder.fetch_edge("50%", 99, at_start=False)[0] == b"0123456789"
            assert folder.fetch_edge("50%", 4, at_start=False)[1] == folder.state("50%") == folder.fetch("50%")[1]
            with pytest.raises(SourceIOError):
                folder.get_range("50%", 8, 3)
            with pytest.raises(SourceNotFoundError, match="no such object"):
                folder.get("nothing")

    @pytest.mark.parametrize("knows_ranges", [True, False])
    def test_a_part_of_another_version_is_refused(self, tmp_path, knows_ranges):
        (tmp_path / "a").write_bytes(b"0123456789")
        with serving(tmp_path, knows_ranges=knows_ranges) as server:
            folder = ObjectFolder.parse(server.url)
            state = folder.state("a")
            assert folder.get_range("a", 1, 2, state=state) == b"12"
            (tmp_path / "a").write_bytes(b"abcdefghij")
            with pytest.raises(SourceChangedError, match=f"{server.url}/a changed"):
                folder.get_range("a", 1, 2, state=state)

    @pytest.mark.parametrize("tag", ['"1"', 'W/"1"', "Mon, 30 Nov 2026 12:00:00 GMT"])
    def test_only_a_tag_that_other_bytes_change_is_a_condition(self, tmp_path, tag, monkeypatch):
        (tmp_path / "a").write_bytes(b"0123456789")
        ask, conditions = web_objects.WebObjects._ask, []
        monkeypatch.setattr(
            web_objects.WebObjects, "_ask", lambda *asked: conditions.append(asked[-1].get("If-Match")) or ask(*asked)
        )
        with serving(tmp_path) as server, pytest.raises(SourceChangedError):
            ObjectFolder.parse(server.url).get_range("a", 1, 2, state=ObjectState(10, tag))
        assert conditions == [tag if tag == '"1"' else None]

    def test_nothing_is_written(self, tmp_path):
        with serving(tmp_path) as server:
            for ask in (lambda f: f.put("a", b""), lambda f: f.delete("a")):
                with pytest.raises(DestinationError, match="web server"):
                    ask(ObjectFolder.parse(server.url))


class TestErrors:
    def test_missing_objects(self, folder):
        for ask in (folder.get, folder.state, lambda key: folder.get_range(key, 0, 1)):
            with pytest.raises(SourceNotFoundError, match=f"no such object: {folder.url}/nothing"):
                ask("nothing")

    def test_a_missing_bucket(self, s3):
        folder = ObjectFolder.parse("s3://no-such-bucket/x", s3.options)
        with pytest.raises(SourceNotFoundError, match="s3://no-such-bucket/x/a"):
            folder.get("a")
        with pytest.raises(DestinationError, match="s3://no-such-bucket/x/a"):
            folder.put("a", b"x")
        for ask in (folder.children, lambda: list(folder.list("inner"))):
            with pytest.raises(SourceNotFoundError, match=r"no such bucket: s3://no-such-bucket \("):
                ask()
        with pytest.raises(SourceNotFoundError, match=r"no such bucket: s3://no-such-bucket \("):
            il.open_dataarray("s3://no-such-bucket/x.zarr", storage_options=s3.options)
        with pytest.raises(SourceNotFoundError, match=r"no such bucket: s3://no-such-bucket \("):
            il.to_ome_zarr(
                xr.DataArray(np.ones((8, 9), "u1"), dims=("y", "x")),
                "s3://no-such-bucket/x.zarr",
                storage_options=s3.options,
            )

    def test_bytes_that_are_not_there(self, folder):
        folder.put("a", b"0123")
        for start, length in ((2, 5), (4, 1), (400, 1)):
            with pytest.raises(SourceIOError, match="folder/a"):
                folder.get_range("a", start, length)

    def test_too_much_is_not_fetched(self, folder):
        folder.put("a", b"0123")
        assert folder.get("a", limit=4) == b"0123"
        with pytest.raises(LimitExceededError, match="4 bytes, more than 3"):
            folder.get("a", limit=3)

    @pytest.mark.parametrize("answers", [False, True])
    def test_a_dead_endpoint_is_given_up_and_no_secret_told(self, answers, monkeypatch):
        monkeypatch.setitem(cloud_objects._CLIENT, "read_timeout", "500ms")  # else 20 s, and 20 s of retries
        monkeypatch.setitem(cloud_objects._RETRY, "retry_timeout", datetime.timedelta(seconds=1))
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            if answers:  # the connection, and nothing behind it
                server.listen(50)
            options = {
                "endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}",
                "key": "me",
                "secret": "TOPSECRET",
            }
            folder = ObjectFolder.parse("s3://bucket/x", options)
            before = time.monotonic()
            with pytest.raises(SourceIOError, match="cannot read s3://bucket/x/a: no") as caught:
                folder.get("a")
            assert time.monotonic() - before < 30
        assert "TOPSECRET" not in f"{caught.value!r}{folder!r}{caught.value.__cause__!r}"

    @pytest.mark.parametrize("status", [401, 403])
    def test_no_access(self, tmp_path, status):
        (tmp_path / "a").write_bytes(b"x")
        with serving(tmp_path) as server:
            server.statuses["/a"] = status
            with pytest.raises(SourceIOError, match=rf"{server.url}/a: .*credentials"):
                ObjectFolder.parse(server.url).get("a")

    def test_the_server_that_a_redirect_leads_to_is_never_asked(self, tmp_path):
        (tmp_path / "a").write_bytes(b"x")
        with serving(tmp_path) as other, serving(tmp_path) as server:
            server.statuses["/a"], server.redirects["/a"] = 302, f"{other.url}/a"
            with pytest.raises(SourceIOError, match=f"redirects to 127.0.0.1:{other.server_port}, which is not"):
                ObjectFolder.parse(server.url).get("a")
            assert other.asked == []

    def test_another_proxy_in_the_environment_is_asked_from_then_on(self, tmp_path, monkeypatch):
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        folder = ObjectFolder.parse("http://files.invalid")
        for name in ("first", "second"):
            (tmp_path / name / "http:" / "files.invalid").mkdir(parents=True)
            (tmp_path / name / "http:" / "files.invalid" / "a").write_text(name)
            with serving(tmp_path / name) as proxy:
                monkeypatch.setenv("http_proxy", proxy.url)
                assert folder.get("a") == name.encode()

    def test_a_dead_web_server_is_given_up(self, monkeypatch):
        monkeypatch.setattr(web_objects, "_TIMEOUT", 0.3)
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            folder = ObjectFolder.parse(f"http://127.0.0.1:{server.getsockname()[1]}")
            with pytest.raises(SourceIOError, match="no connection"):
                folder.get("a")
            server.listen(50)
            with pytest.raises(SourceIOError, match="no answer in time"):
                folder.get("a")

    def test_web_servers_do_not_list(self, tmp_path):
        with serving(tmp_path) as server:
            folder = ObjectFolder.parse(server.url)
            assert not folder.can_list
            for ask in (lambda: list(folder.list()), folder.children):
                with pytest.raises(SourceIOError, match="does not list"):
                    ask()

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("ftp://host/a", {}),
            ("s3://", {}),
            ("s3://me:secret@bucket/a", {}),
            ("https://host/a?token=secret", {}),
            ("s3://bucket/a", {"nonsense": "x"}),
            ("s3://bucket/a", {"region": ["us-east-1"]}),
            ("http://127.0.0.1/a", {"key": "x"}),
            ("s3://bucket/../a", {}),
            ("s3://bucket/a/..", {}),
            ("gs://bucket/./a", {}),
        ],
    )
    def test_what_makes_no_sense_is_said(self, url, options):
        with pytest.raises(ArgumentError) as caught:
            ObjectFolder.parse(url, options).get("a")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("https://me:pass@host:80/a?b#c", "https://host:80/a"),
        ("https://host?token", "https://host"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert is_url(url)
    assert shown_url(url) == shown


def test_paths_are_no_urls():
    for path in ("/a/b", "a:b", "C:\\data", "", "x/s3://y", 7):
        assert not is_url(path)


def test_objects_in_memory():
    folder = ObjectFolder.parse("memory://test_objects_in_memory/a")
    folder.put("b", b"x", create=True)
    with pytest.raises(DestinationExistsError):
        folder.put("b", b"y", create=True)
    assert list(folder.list()) == ["b"]
    assert folder.get("b") == b"x"
    # More than obstore hands over at once.
    for number in range(1001):
        folder.put(f"k/{number}", b"")
    assert len(set(folder.list("k"))) == 1001
