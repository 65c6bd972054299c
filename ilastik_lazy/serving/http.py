"""HTTP as far as it is needed: requests without a body, single ranges of bytes, answers.

https://www.rfc-editor.org/rfc/rfc9110 and rfc9112.  Paths are compared letter by letter: nothing in them is decoded,
and none is ever a path of a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

__all__ = ["MOST_HEAD_BYTES", "Answer", "BadRequestError", "Request", "accepts", "answer_range", "failure"]

MOST_HEAD_BYTES = 16 * 2**10
"""Bytes of the first line and the headers of a request; browsers send about 1 kB."""

_CORS = {
    "Access-Control-Allow-Origin": "*",
    # A script that does not see the encoding takes the length of what was sent for that of the contents.
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Encoding, Content-Length, Content-Range",
}
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


class BadRequestError(Exception):
    """What was sent is not a request that this server answers; `status` says why."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """The first line and the headers of a request."""

    method: str
    path: str
    """As sent, without what follows a question mark."""
    headers: Mapping[str, str]
    """Values by names in lower case."""
    is_last: bool
    """Whether the client wants the connection closed after the answer."""

    @classmethod
    def parse(cls, head: bytes) -> Request:
        r"""Parse everything up to the empty line.

        Raises
        ------
        BadRequestError
            It is malformed, or announces a body.

        Examples
        --------
        >>> Request.parse(b"GET /a?b HTTP/1.1\r\nHost: localhost\r\n\r\n").path
        '/a'
        """
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[1].startswith("/"):
            raise BadRequestError(HTTPStatus.BAD_REQUEST)
        method, target, version = parts
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not _NAME.fullmatch(name) or (name == "host" and name in headers):
                raise BadRequestError(HTTPStatus.BAD_REQUEST)
            value = value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        connection = headers.get("connection", "").lower()
        is_last = "close" in connection or (version == "HTTP/1.0" and "keep-alive" not in connection)
        return cls(method, target.partition("?")[0], headers, is_last)


def accepts(headers: Mapping[str, str], coding: str) -> bool:
    """Whether the client decodes contents that are sent with this ``Content-Encoding``.

    >>> accepts({"accept-encoding": "gzip, deflate;q=0.5"}, "deflate"), accepts({}, "deflate")
    (True, False)
    """
    for entry in headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = entry.replace(" ", "").partition(";q=")
        if name == coding:
            return quality.rstrip("0") not in ("", "0.") if quality else True
    return False


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    body: bytes | memoryview = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """Bytes of the body, where it is not sent because only headers were asked for."""

    def head(self, *, is_last: bool) -> bytes:
        """Return the first line and the headers."""
        length = len(self.body) if self.length is None else self.length
        lines = {"Content-Length": str(length), "Cache-Control": "no-store", **_CORS, **self.headers}
        if self.status == HTTPStatus.NO_CONTENT:
            del lines["Content-Length"]
        if is_last:
            lines["Connection"] = "close"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{text}\r\n".encode("latin-1")


def failure(status: HTTPStatus, text: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer that says in a line of plain text what is wrong."""
    body = f"{text or status.phrase}\n".encode()
    return Answer(status, body, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})


def answer_range(body: bytes | memoryview, wanted: str, headers: Mapping[str, str]) -> Answer:
    """Return the wanted part of `body`; all of it where `wanted` is no single range of bytes.

    >>> answer_range(b"0123456789", "bytes=-3", {}).body
    b'789'
    """
    size = len(body)
    found = _RANGE.fullmatch(wanted.replace(" ", ""))
    if found is None or not any(found.groups()):
        return Answer(HTTPStatus.OK, body, headers)
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return Answer(HTTPStatus.OK, body, headers)
    if start >= stop:
        return failure(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers={"Content-Range": f"bytes */{size}"})
    part = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    return Answer(HTTPStatus.PARTIAL_CONTENT, body[start:stop], part)
