"""Read files of a web server through urllib3.

obstore's HTTPStore (0.12) is not a substitute: it follows redirects to any host, has no option to refuse them, and
cannot read parts of a file from a server without range requests.  Here no host is asked that the caller did not name.
"""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import urllib3

from ilastik_lazy.errors import (
    AccessDeniedError,
    DestinationError,
    LimitExceededError,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
)
from ilastik_lazy.storage.object_store.backend import ObjectState, Span

__all__ = ["WebObjects"]

_PIECE = 2**20
_TIMEOUT = urllib3.Timeout(connect=5, read=10)
# Waits of 0, 0.2 and 0.4 s: with three timeouts of 10 s, a dead server fails in well under a minute.
_RETRIES = urllib3.Retry(
    total=2, backoff_factor=0.1, status_forcelist=(429, 500, 502, 503, 504), redirect=False, raise_on_status=False
)


@dataclass(frozen=True, slots=True)
class WebObjects:
    """One web server (see `Backend`), which can neither list nor write."""

    root: str
    """``https://host``."""
    pool: urllib3.PoolManager

    @classmethod
    def connect(cls, root: str) -> WebObjects:
        """Return the server, reached through the proxy in the environment if any, without a request."""
        scheme, _, host = root.partition("://")
        proxy = urllib.request.getproxies().get(scheme)
        if proxy and not urllib.request.proxy_bypass(host):
            return cls(root, urllib3.ProxyManager(proxy, maxsize=32))
        return cls(root, urllib3.PoolManager(maxsize=32))

    def fetch(self, path: str, url: str, span: Span | None, limit: int | None) -> tuple[bytes, ObjectState]:
        """Return bytes and state (see `Backend`); skip the rest of a whole file if the server ignores ranges."""
        headers = {}
        if span is not None:
            first = f"{span.start}-{span.start + span.length - 1}" if span.start >= 0 else f"-{span.length}"
            headers["Range"] = f"bytes={first}"
            if span.tag:
                headers["If-Match"] = span.tag
        answer = self._ask("GET", path, url, headers)
        try:
            state = _state(answer, url)
            if span is None:
                if limit is not None and state.size > limit:
                    raise LimitExceededError(f"{url} has {state.size} bytes, more than {limit}")
                return _body(answer, 0, state.size, url), state
            start = span.start if span.start >= 0 else max(0, state.size - span.length)
            length = max(0, min(span.length, state.size - start))
            return _body(answer, 0 if answer.status == 206 else start, length, url), state
        finally:
            # The next request on this connection would take bytes that are left for its answer.
            if answer.length_remaining == 0:
                answer.release_conn()
            else:
                answer.close()

    def state(self, path: str, url: str) -> ObjectState:
        answer = self._ask("HEAD", path, url, {})
        answer.release_conn()
        return _state(answer, url)

    def names(self, path: str, url: str) -> Iterator[str]:
        """Raise `SourceIOError`."""
        raise SourceIOError(f"{url}: a web server does not list its files: name one")

    def children(self, path: str, url: str) -> tuple[list[str], list[str]]:
        """Raise `SourceIOError`."""
        raise SourceIOError(f"{url}: a web server does not list its files: name one")

    def put(self, path: str, url: str, data: bytes | memoryview, create: bool, replacing: ObjectState | None) -> None:
        """Raise `DestinationError`."""
        raise DestinationError(f"{url}: a web server cannot be written to: use s3:// or a local folder")

    def delete(self, path: str, url: str) -> None:
        """Raise `DestinationError`."""
        raise DestinationError(f"{url}: a web server removes no files: use s3:// or a local folder")

    def _ask(self, method: str, path: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        target = f"{self.root}/{urllib.parse.quote(path)}"
        # If the server compressed the answer, a range would be one of compressed bytes.
        asked = {"Accept-Encoding": "identity", **headers}
        try:
            answer = self.pool.request(
                method, target, headers=asked, preload_content=False, redirect=False, timeout=_TIMEOUT, retries=_RETRIES
            )
        except urllib3.exceptions.HTTPError as error:
            raise SourceIOError(f"cannot read {url}: {_reason(error)}") from None
        if answer.status in (200, 206):
            return answer
        answer.drain_conn()
        answer.release_conn()
        if answer.status in (404, 410):
            raise SourceNotFoundError(f"no such object: {url}")
        if answer.status == 412:
            raise SourceChangedError(f"{url} changed since it was opened: open it again")
        if answer.status in (401, 403):
            raise AccessDeniedError(f"cannot read {url}: the server answers {answer.status}: it needs credentials")
        if 300 <= answer.status < 400:
            host = urllib.parse.urlsplit(answer.headers.get("Location", "")).netloc.rpartition("@")[2]
            raise SourceIOError(
                f"{url} redirects{f' to {host}' if host else ''}, which is not followed: open that URL instead"
            )
        raise SourceIOError(f"cannot read {url}: the server answers {answer.status}")


def _state(answer: urllib3.BaseHTTPResponse, url: str) -> ObjectState:
    """Return size and version of the whole file, even if only a range was sent."""
    text = answer.headers.get("Content-Length", "")
    if answer.status == 206:
        text = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if not text.isascii() or not text.isdigit():
        raise SourceIOError(f"cannot read {url}: the server does not state its size")
    return ObjectState(int(text), answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")


def _body(answer: urllib3.BaseHTTPResponse, skip: int, length: int, url: str) -> bytes:
    """Return `length` bytes of the body after the first `skip`; fewer are an error."""
    found = bytearray()
    try:
        while skip > 0 and (piece := answer.read(min(skip, _PIECE))):
            skip -= len(piece)
        while len(found) < length and (piece := answer.read(min(length - len(found), _PIECE))):
            found += piece
    except urllib3.exceptions.HTTPError as error:
        raise SourceIOError(f"cannot read {url}: {_reason(error)}") from None
    if len(found) != length:
        raise SourceIOError(f"cannot read {url}: it ends after {len(found)} of {length} bytes")
    return bytes(found)


def _reason(error: Exception) -> str:
    """Return the cause of an error of urllib3, without secrets."""
    inner = getattr(error, "reason", None) or error
    known = {
        "NameResolutionError": "no such host",
        "NewConnectionError": "no connection",
        "ConnectTimeoutError": "no answer in time",
        "ReadTimeoutError": "no answer in time",
        "SSLError": "the certificate of the server is invalid, or it does not support TLS",
    }
    return known.get(type(inner).__name__, f"the connection broke ({type(inner).__name__})")
