"""Whatever is sent: nothing but the images is served, and others are served meanwhile."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, NetworkWarning
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.serving import connections
from ilastik_lazy.serving.addresses import may_be_called, name_of_image, names_of_server
from tests.serving.requests import ask, connected, send
from tests.support.children import run_python
from tests.support.in_memory import ArrayInMemory
from tests.support.open_files import open_files

CHUNK = "scale0/image/c/0/0/0/0"


@pytest.fixture(scope="module")
def server():
    with il.serve(sample("probabilities"), labels=sample("segmentation")) as server:
        assert ask(f"{server.url}/{CHUNK}").status == 200
        yield server


def line_of(answer: bytes) -> str:
    return answer.partition(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/..",
        "/../nuclei.zarr/zarr.json",
        "/%2e%2e/zarr.json",
        "/./zarr.json",
        "//zarr.json",
        "/zarr.json/",
        "/%7Aarr.json",
        "/zarr%2Ejson",
        "/scale0%2Fimage/zarr.json",
        "/scale0/image/c/0/0/0",
        "/scale0/image/c/0/0/0/0/0",
        "/scale0/image/c/0/0/0/00",
        "/scale0/image/c/0/0/0/-1",
        "/scale0/image/c/0/0/0/3",
        "/scale0/image/c/2/0/0/0",
        "/scale0/image/c/0/0/0/99999999999",
        "/scale0/image/c/0/0/0/٣",
        "/scale0/image/0/0/0/0",
        "/scale1/image/c/0/0/0/0",
        "/scale00/image/c/0/0/0/0",
        "/labels/nuclei/scale0/image/c/0/0/0/0",
        "/labels/../scale0/image/c/0/0/0/0",
        "/labels//scale0/image/c/0/0/0/0",
        "/" + "a" * 15_000,
        "\\..\\..\\etc\\passwd",
        "/../../../../../../etc/passwd",
        "\x00",
    ],
)
def test_there_is_nothing_but_the_keys_of_the_images(server, key):
    path = urlsplit(server.url).path.encode() + key.encode()
    answer = send(server.url, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert line_of(answer) == "HTTP/1.1 404 Not Found"
    assert ask(f"{server.url}/{CHUNK}").status == 200


def test_version_2_has_keys_of_its_own(server):
    older = server.older_urls[0]
    assert ask(f"{older}/scale0/image/0/0/0/0").status == 200
    assert ask(f"{older}/.zattrs").headers["content-type"] == "application/json"
    for key in (f"{older}/zarr.json", f"{older}/{CHUNK}", f"{server.url}/.zattrs", f"{server.url}/v2/.zattrs"):
        assert ask(key).status == 404


def test_without_the_secret_there_is_nothing(server):
    parts = urlsplit(server.url)
    _, secret, name = parts.path.split("/")
    assert len(secret) >= 20
    for path in (
        "/",
        f"/{name}/zarr.json",
        f"/{secret[:-1]}/{name}/zarr.json",
        f"/{secret}x/{name}/zarr.json",
        f"/é/{name}",
    ):
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert line_of(send(server.url, request.encode())) == "HTTP/1.1 404 Not Found"
    with il.serve(sample("raw")) as other:
        assert urlsplit(other.url).path.split("/")[1] != secret


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "PROPFIND"])
def test_other_methods_are_refused(server, method):
    found = ask(f"{server.url}/zarr.json", method)
    assert found.status == 405
    assert found.headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_body_is_not_read(server):
    answer = send(server.url, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
    assert line_of(answer).startswith("HTTP/1.1 413 ")  # Python 3.13 has another phrase


def test_pages_of_other_servers_may_read_with_the_secret(server):
    found = ask(f"{server.url}/zarr.json", Origin="https://example.org")
    assert found.headers["access-control-allow-origin"] == "*"
    assert {"Content-Range", "Content-Encoding"} <= set(found.headers["access-control-expose-headers"].split(", "))
    asked = ask(f"{server.url}/{CHUNK}", "OPTIONS", Access_Control_Request_Headers="range")
    assert (asked.status, asked.body) == (204, b"")
    assert asked.headers["access-control-allow-headers"] == "Range"


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:80",
        "127.0.0.1.example.org",
        "localhost.example.org",
        "",
        "10.0.0.1",
        "[::2]",
        "127.0.0.1:80@example.org",
    ],
)
def test_a_name_that_was_made_to_lead_here_is_refused(server, host):
    request = f"GET {urlsplit(server.url).path}/zarr.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert line_of(send(server.url, request.encode())) == "HTTP/1.1 421 Misdirected Request"


def test_a_request_without_a_host_is_refused(server):
    answer = send(server.url, f"GET {urlsplit(server.url).path}/zarr.json HTTP/1.0\r\n\r\n".encode())
    assert line_of(answer) == "HTTP/1.1 400 Bad Request"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000"])
def test_a_tunnel_may_have_another_port(host):
    assert may_be_called(host, names_of_server("127.0.0.1", "127.0.0.1"), by_address=False)


def test_an_interface_of_others_is_served_with_a_warning(monkeypatch):
    with pytest.warns(NetworkWarning, match="read them from other machines"):
        server = il.serve(sample("raw"), host="0.0.0.0")
    with server:
        assert not server.is_local
        assert urlsplit(server.url).hostname == socket.gethostname().lower()
        port, path = server.port, urlsplit(server.url).path
        for host, status in {socket.gethostname(): 200, "192.168.1.7": 200, "example.org": 421}.items():
            assert ask(f"http://127.0.0.1:{port}{path}/zarr.json", Host=host).status == status


@pytest.mark.parametrize("arguments", [{"host": "1.2.3.4"}, {"host": "no such name."}, {"port": 70_000}, {"port": -1}])
def test_an_address_that_is_not_there_is_an_error(arguments):
    with pytest.raises(ArgumentError, match=r"host|port"):
        il.serve(sample("raw"), **arguments)


def test_a_port_that_is_taken_is_an_error_that_says_so(server):
    with pytest.raises(ArgumentError, match="leave it out for a free one"):
        il.serve(sample("raw"), port=server.port)


def test_names_of_files_are_made_harmless():
    spec = as_source(sample("raw")).spec
    for path, name in {
        "/a/b c é.h5": "b_c",
        "/a/../..h5": "image",
        "s3://bucket/x.ome.zarr/": "x",
        "/a/%2e%2e.h5": "2e_2e",
        "": "data",
    }.items():
        assert name_of_image(replace(spec, storage=replace(spec.storage, path=path))) == name


def test_too_many_headers_are_refused(server):
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        b"X-%d: %s\r\n" % (i, b"a" * 100) for i in range(1000)
    )
    with connected(server.url) as connection:
        connection.sendall(request[:30_000])
        answer = connection.recv(65536)
    assert line_of(answer) == "HTTP/1.1 431 Request Header Fields Too Large"


def test_nonsense_is_refused_and_cut_off(server):
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        bytes(range(256)) + b"\r\n\r\n",
    ):
        assert line_of(send(server.url, nonsense)) == "HTTP/1.1 400 Bad Request"


def test_several_requests_over_one_connection_are_answered_in_order(server):
    path = urlsplit(server.url).path
    request = "".join(f"HEAD {path}/{key} HTTP/1.1\r\nHost: localhost\r\n\r\n" for key in ("zarr.json", "x", CHUNK))
    last = f"GET {path}/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = send(server.url, (request + last).encode())
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    assert [int(line.split()[1]) for line in lines] == [200, 404, 200, 404]


class TestSlowClients:
    def test_that_send_no_request_are_cut_off(self, monkeypatch):
        monkeypatch.setattr(connections, "_FIRST", 0.2)
        with il.serve(sample("raw")) as server, connected(server.url) as idle, connected(server.url) as slow:
            slow.sendall(b"GET /")
            assert ask(f"{server.url}/zarr.json").status == 200
            assert idle.recv(1) == b""
            assert slow.recv(1) == b""

    def test_that_do_not_read_are_cut_off(self, monkeypatch, tmp_path):
        monkeypatch.setattr(connections, "_SENDING", 0.3)
        monkeypatch.setattr(connections, "_BYTES_A_SECOND", 10**12)
        np.save(tmp_path / "a.npy", np.zeros((2048, 2048), "u1"))
        source = il.open_dataarray(tmp_path / "a.npy", axes="yx")
        with il.serve(source) as server:
            path = urlsplit(server.url).path
            request = f"GET {path}/scale0/image/c/0/0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            with connected(server.url) as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.sendall(request * 20)
                assert ask(f"{server.url}/zarr.json").status == 200
                _wait_for(server, [])


def _wait_for(server, states):
    """Wait until the server's connections are in these states."""
    deadline = time.monotonic() + 30
    while list(server._connections._open.values()) != states:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "count",
    [
        400,
        pytest.param(
            10_000,
            marks=pytest.mark.skipif("ILASTIK_LAZY_LONG" not in os.environ, reason="ILASTIK_LAZY_LONG=1 opens 10,000"),
        ),
    ],
)
def test_many_connections_keep_nobody_out(server, count):
    idle = []
    try:
        for number in range(count):
            idle.append(connected(server.url))
            if len(idle) > 300:
                idle.pop(0).close()
            if number % 100 == 0:
                assert ask(f"{server.url}/zarr.json").status == 200
        assert ask(f"{server.url}/{CHUNK}").status == 200
    finally:
        for connection in idle:
            connection.close()


class TestManyClients:
    @pytest.fixture(autouse=True)
    def two(self, monkeypatch):
        monkeypatch.setattr(connections, "_MOST_CONNECTIONS", 2)

    def test_that_are_idle_give_way(self):
        with il.serve(sample("raw")) as server, connected(server.url) as first, connected(server.url) as second:
            request = f"HEAD {urlsplit(server.url).path}/zarr.json HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            for connection in (first, second):
                connection.sendall(request)
                assert line_of(connection.recv(65536)) == "HTTP/1.1 200 OK"
            _wait_for(server, ["idle", "idle"])  # a client has its answer before the server has noted that it is idle
            assert ask(f"{server.url}/zarr.json").status == 200
            assert first.recv(1) == b""
            second.sendall(request)
            assert line_of(second.recv(65536)) == "HTTP/1.1 200 OK"

    def test_that_all_wait_for_answers_are_the_only_ones(self):
        asked, may_go_on = threading.Semaphore(0), threading.Event()

        def before(region):
            asked.release()
            assert may_go_on.wait(60)

        source = ArrayInMemory(np.zeros((8, 9), "u1"), "yx", (8, 9), before)
        with il.serve(source) as server, ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(ask, f"{server.url}/scale0/image/c/0/0") for _ in range(2)]
            try:
                assert asked.acquire(timeout=60)
                assert asked.acquire(timeout=60)
                assert ask(f"{server.url}/zarr.json").status == 503
            finally:
                may_go_on.set()
            assert [future.result().status for future in waiting] == [200, 200]


def test_closing_leaves_no_thread_and_no_descriptor():
    def left():
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("ilastik_lazy")]
        return threads, len(os.listdir("/dev/fd")), open_files()

    before = left()
    server = il.serve(sample("probabilities"))
    with connected(server.url), connected(server.url) as busy:
        busy.sendall(f"GET {urlsplit(server.url).path}/{CHUNK} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert busy.recv(100)
        server.close()
    server.close()
    assert left() == before
    with pytest.raises(OSError, match=r"refused|reset"):
        connected(server.url)


def test_an_open_server_keeps_no_process_alive():
    code = "import sys, ilastik_lazy as il; server = il.serve(sys.argv[1]); print(server.url)"
    assert run_python(code, sample("raw")).startswith(b"http://127.0.0.1:")
