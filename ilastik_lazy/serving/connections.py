"""The connections of a server: a thread for each, up to a number of them, and limits on the time that they may take."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Literal

from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.serving.http import MOST_HEAD_BYTES, Answer, BadRequestError, Request, failure

__all__ = ["Connections"]

_MOST_CONNECTIONS = 128
_ONE_PACKET = 2**16
# Seconds for the first request, for each later one, and for an answer, which has another second for each 100 kB.
_FIRST, _LATER, _SENDING, _BYTES_A_SECOND = 10.0, 60.0, 60.0, 100_000

_State = Literal["without a valid request", "idle", "waiting for an answer"]


class Connections:
    """Answers requests at a socket until it is closed.

    Parameters
    ----------
    listener
        A socket that listens; it is closed in the end.
    check
        Returns the refusal of a request, or None.
    answer
        Answers a request that was not refused; only some of the threads call it at the same time.
    failed
        Answers a request for which `answer` has raised an error.
    """

    def __init__(
        self,
        listener: socket.socket,
        check: Callable[[Request], Answer | None],
        answer: Callable[[Request], Answer],
        failed: Callable[[Request, BaseException], Answer],
    ) -> None:
        self._listener, self._check, self._answer, self._failed = listener, check, answer, failed
        self._turns = threading.BoundedSemaphore(2 * threads_for(None))
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _State] = {}
        """Guarded by the lock, as are the threads."""
        self._threads: set[threading.Thread] = set()
        self._wake, self._waker = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="ilastik_lazy server", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """End all connections; afterwards neither a thread nor a descriptor is left."""
        self._waker.close()
        self._acceptor.join()

    def _accept(self) -> None:
        with self._listener, self._wake, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while all(key.fileobj is not self._wake for key, _ in selector.select()):
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    time.sleep(0.05)  # it is gone already, or there are no descriptors left
                    continue
                self._begin(connection)
        with self._lock:
            for connection in self._open:
                _hang_up(connection)
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _begin(self, connection: socket.socket) -> None:
        """Start a thread for a connection, or refuse it; if there are many, one that does nothing is ended for it."""
        thread = threading.Thread(target=self._connected, args=(connection,), name="ilastik_lazy serving", daemon=True)
        with self._lock:
            if len(self._open) < _MOST_CONNECTIONS or self._end_one():
                # A process may be allowed no more threads.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._threads.add(thread)
                    self._open[connection] = "without a valid request"
                    return
        with connection, contextlib.suppress(OSError):
            _send(connection, failure(HTTPStatus.SERVICE_UNAVAILABLE), is_last=True)

    def _end_one(self) -> bool:
        # Whoever floods the port loses connections before those do who have asked for something.
        by_use: tuple[_State, ...] = ("without a valid request", "idle")
        found = next((each for state in by_use for each, now in self._open.items() if now == state), None)
        if found is None:
            return False
        del self._open[found]
        _hang_up(found)
        return True

    def _connected(self, connection: socket.socket) -> None:
        try:
            # Whoever is gone, or too slow, needs no answer.
            with connection, contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(connection)
        finally:
            with self._lock:
                self._open.pop(connection, None)
                self._threads.discard(threading.current_thread())

    def _converse(self, connection: socket.socket) -> None:
        received, seconds, is_last = b"", _FIRST, False
        while not is_last:
            head, received = _next_head(connection, received, time.monotonic() + seconds)
            if head is None:
                return
            try:
                request = Request.parse(head)
            except BadRequestError as error:
                _refuse(connection, error.status)
                return
            is_last = request.is_last
            if (answer := self._check(request)) is None:
                seconds = _LATER
                self._note(connection, "waiting for an answer")
                answer = self._made(request)
            _send(connection, answer, is_last=is_last, with_body=request.method != "HEAD")
            if seconds == _LATER:
                self._note(connection, "idle")

    def _note(self, connection: socket.socket, state: _State) -> None:
        with self._lock:
            if connection in self._open:
                self._open[connection] = state

    def _made(self, request: Request) -> Answer:
        with self._turns, _Attempt() as attempt:
            return self._answer(request)
        assert attempt.error is not None
        return self._failed(request, attempt.error)


class _Attempt:
    """Keeps an error for the client: what an image is computed by may raise any."""

    error: Exception | None = None

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
        return self.error is not None


def _next_head(connection: socket.socket, received: bytes, deadline: float) -> tuple[bytes | None, bytes]:
    """Return the head of the next request, None if none comes, and what was received behind it."""
    while (end := received.find(b"\r\n\r\n")) < 0 and len(received) <= MOST_HEAD_BYTES:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        if not (more := connection.recv(MOST_HEAD_BYTES)):
            return None, b""
        received += more
    if not 0 <= end <= MOST_HEAD_BYTES:
        _refuse(connection, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return None, b""
    return received[: end + 4], received[end + 4 :]


def _send(connection: socket.socket, answer: Answer, *, is_last: bool, with_body: bool = True) -> None:
    head, body = answer.head(is_last=is_last), answer.body if with_body else b""
    connection.settimeout(_SENDING + len(body) / _BYTES_A_SECOND)
    if len(body) < _ONE_PACKET:
        connection.sendall(b"".join((head, body)))
    else:
        connection.sendall(head)
        connection.sendall(body)


def _refuse(connection: socket.socket, status: HTTPStatus) -> None:
    """Answer what is not a request; the rest of it is read, since closing before that would take the answer away."""
    _send(connection, failure(status), is_last=True)
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1)
    for _ in range(4):
        if not connection.recv(MOST_HEAD_BYTES):
            return


def _hang_up(connection: socket.socket) -> None:
    """Wake the thread of a connection, which closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
