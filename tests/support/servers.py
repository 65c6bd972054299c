"""Real servers on 127.0.0.1: S3 by moto, in a process of its own, and plain web servers."""

from __future__ import annotations

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Pages of 50 names, where S3 has 1000: few objects take several requests to list.
_MOTO = """
import os
os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "50"
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
import sys; sys.stdin.read()
"""


@dataclass(frozen=True)
class S3Server:
    endpoint: str

    @property
    def options(self) -> dict[str, str]:
        """The storage options that reach it."""
        return {
            "endpoint_url": self.endpoint,
            "region": "us-east-1",
            "access_key_id": "me",
            "secret_access_key": "very-secret",
        }


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """An S3 server that ends with its standard input, even where this process is killed."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "moto did not start"
        yield S3Server(f"http://127.0.0.1:{port}")
        process.stdin.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; unlike its base, it knows ranges if the server shall, and remembers what was asked for."""

    protocol_version = "HTTP/1.1"
    server: WebServer

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Range", "")))
        if status := self.server.statuses.get(self.path):
            self.send_response(status)
            if target := self.server.redirects.get(self.path):
                self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        data, status, headers = file.read_bytes(), 200, {}
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if wanted and self.server.knows_ranges:
            first, _, last = wanted.partition("-")
            start = int(first) if first else max(0, len(data) - int(last))
            stop = min(int(last) + 1, len(data)) if first and last else len(data)
            if start >= len(data):
                self.send_error(416)
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            data, status = data[start:stop], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if self.server.has_tags:
            self.send_header("ETag", f'"{file.stat().st_mtime_ns:x}"')
        self.send_header("Last-Modified", self.date_time_string(int(file.stat().st_mtime)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()


class WebServer(http.server.ThreadingHTTPServer):
    """A web server of one folder."""

    daemon_threads = True
    request_queue_size = 64  # 16 connections at once; with the usual 5, some are reset

    def __init__(self, folder: Path, *, knows_ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.knows_ranges = knows_ranges
        self.has_tags = True
        self.asked: list[tuple[str, str, str]] = []
        self.statuses: dict[str, int] = {}
        self.redirects: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(folder: Path, *, knows_ranges: bool = True) -> Iterator[WebServer]:
    """A web server of `folder`, as long as the context lasts."""
    with WebServer(folder, knows_ranges=knows_ranges) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
