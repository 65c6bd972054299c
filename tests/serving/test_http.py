"""Requests and ranges, without a server."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.serving.http import Answer, BadRequestError, Request, accepts, answer_range

HOST = "Host: localhost\r\n"


def parsed(first: str, headers: str = HOST) -> Request:
    return Request.parse(f"{first}\r\n{headers}\r\n".encode("latin-1"))


def test_a_request_has_a_path_without_its_query_and_headers_in_lower_case():
    request = parsed("GET /a/b?c=/d HTTP/1.1", "Host: h:1\r\nACCEPT: a\r\nAccept:  b \r\n")
    assert (request.method, request.path) == ("GET", "/a/b")
    assert request.headers == {"host": "h:1", "accept": "a, b"}
    assert not request.is_last


@pytest.mark.parametrize(
    ("first", "headers", "is_last"),
    [
        ("GET / HTTP/1.1", "Connection: Close\r\n", True),
        ("GET / HTTP/1.0", "", True),
        ("GET / HTTP/1.0", "Connection: keep-alive\r\n", False),
    ],
)
def test_the_client_says_whether_more_requests_follow(first, headers, is_last):
    assert parsed(first, headers).is_last == is_last


@pytest.mark.parametrize(
    ("first", "headers", "status"),
    [
        ("GET /", HOST, 400),
        ("GET  / HTTP/1.1", HOST, 400),
        ("GET http://localhost/ HTTP/1.1", HOST, 400),
        ("GET ../a HTTP/1.1", HOST, 400),
        ("", HOST, 400),
        ("GET / HTTP/2.0", HOST, 505),
        ("GET / HTTP/1.1", "Host: a\r\nHost: b\r\n", 400),
        ("GET / HTTP/1.1", "Host a\r\n", 400),
        ("GET / HTTP/1.1", "Host : a\r\n", 400),
        ("GET / HTTP/1.1", HOST + " folded\r\n", 400),
        ("GET / HTTP/1.1", HOST + "Content-Length: 5\r\n", 413),
        ("GET / HTTP/1.1", HOST + "Transfer-Encoding: chunked\r\n", 413),
    ],
)
def test_what_is_no_request_without_a_body_is_refused(first, headers, status):
    with pytest.raises(BadRequestError) as caught:
        parsed(first, headers)
    assert caught.value.status == status


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_request_or_a_refusal(data):
    with contextlib.suppress(BadRequestError):
        assert Request.parse(data + b"\r\n\r\n").path.startswith("/")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip, deflate, br", True),
        ("deflate", True),
        ("GZIP;q=1.0, Deflate; q=0.2", True),
        ("deflate;q=0", False),
        ("deflate;q=0.000", False),
        ("gzip", False),
        ("identity", False),
        ("*", False),
        ("", False),
    ],
)
def test_a_client_names_the_encodings_that_it_decodes(header, expected):
    assert accepts({"accept-encoding": header}, "deflate") == expected


BODY = bytes(range(100))


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=90-", slice(90, 100)),
        ("bytes=90-1000", slice(90, 100)),
        ("bytes=-7", slice(93, 100)),
        ("bytes=-1000", slice(0, 100)),
        ("bytes= 3-4", slice(3, 5)),
    ],
)
def test_a_range_is_a_part(wanted, part):
    answer = answer_range(BODY, wanted, {"X": "y"})
    assert answer.status == HTTPStatus.PARTIAL_CONTENT
    assert answer.body == BODY[part]
    assert answer.headers == {"X": "y", "Content-Range": f"bytes {part.start}-{part.stop - 1}/100"}


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={2**63}-"])
def test_a_range_behind_the_end_cannot_be_satisfied(wanted):
    answer = answer_range(BODY, wanted, {})
    assert answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    assert answer.headers["Content-Range"] == "bytes */100"


@pytest.mark.parametrize(
    "wanted", ["", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=-1-2"]
)
def test_what_is_no_single_range_is_ignored(wanted):
    # https://www.rfc-editor.org/rfc/rfc9110#name-range: a server may ignore it.
    answer = answer_range(BODY, wanted, {})
    assert (answer.status, answer.body) == (HTTPStatus.OK, BODY)


@given(st.text("bytes=-0123456789, ", max_size=30))
def test_no_range_ends_in_an_error(wanted):
    answer = answer_range(BODY, wanted, {})
    assert answer.status in (200, 206, 416)
    if answer.status == 206:
        assert answer.body in BODY
        assert answer.body


def test_an_answer_states_its_length():
    assert b"\r\nContent-Length: 3\r\n" in Answer(HTTPStatus.OK, b"abc").head(is_last=False)
    assert b"\r\nContent-Length: 7\r\n" in Answer(HTTPStatus.OK, length=7).head(is_last=False)
    assert b"\r\nContent-Length" not in Answer(HTTPStatus.NO_CONTENT).head(is_last=False)
    assert b"\r\nConnection: close\r\n" in Answer(HTTPStatus.OK).head(is_last=True)
