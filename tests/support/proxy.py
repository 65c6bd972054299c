"""A server in front of another one whose line breaks, on purpose and countably."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
import urllib.parse
from typing import Any


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.shall_break():
            if self.server.slow_down:
                self._say_slow_down()
            else:
                self._break()
            return
        behind = http.client.HTTPConnection(self.server.host, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        data = answer.read()
        behind.close()
        if self.server.shall_lose(self.command, self.path):
            self._break()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def _say_slow_down(self) -> None:
        """As S3 does where it is asked too often."""
        self.server.broken += 1
        text = b"<Error><Code>SlowDown</Code></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _break(self) -> None:
        self.server.broken += 1
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to `endpoint`.

    Parameters
    ----------
    break_every
        One of so many requests is dropped without an answer, before it was passed on.
    slow_down
        These are answered with 503 instead.
    lose_answers_to
        The answer to the first PUT of an object with this in its name is lost, after it was passed on.
    """

    daemon_threads = True

    def __init__(
        self, endpoint: str, *, break_every: int = 0, slow_down: bool = False, lose_answers_to: str = ""
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.broken = 0
        self.slow_down = slow_down
        self._break_every, self._lose = break_every, lose_answers_to
        self._count, self._counting = 0, threading.Lock()

    def shall_break(self) -> bool:
        with self._counting:
            self._count += 1
            return bool(self._break_every) and self._count % self._break_every == 0

    def shall_lose(self, command: str, path: str) -> bool:
        with self._counting:
            lose = bool(self._lose) and command == "PUT" and self._lose in path
            if lose:
                self._lose = ""
            return lose

    def __enter__(self) -> Proxy:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
