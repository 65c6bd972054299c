"""JSON objects out of files."""

from __future__ import annotations

import pytest

from ilastik_lazy.errors import LimitExceededError, MetadataError
from ilastik_lazy.formats.metadata.json_text import parse_json_object


def test_an_object_is_read_in_the_encodings_of_json():
    assert parse_json_object('{"a": ["µm", 1.5, null]}'.encode(), "x") == {"a": ["µm", 1.5, None]}
    assert parse_json_object('{"a": 1}'.encode("utf-16"), "x") == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"", b'{"a": 1', b"[1, 2]", b'"text"', b"null", b"7", b"\xff\xfe\xfd", b"[" * 200_000, b"root:x:0:0:\x1b[2J",
        b'{"a": ' + b"1" * 10_000 + b"}",
    ],
    ids=["empty", "cut off", "list", "text", "null", "number", "bytes", "brackets", "escapes", "digits"],
)  # fmt: skip
def test_anything_else_is_an_error_that_names_the_file(data):
    with pytest.raises(MetadataError, match=r"^/data/a\.n5/attributes\.json ") as caught:
        parse_json_object(data, "/data/a.n5/attributes.json")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_values_without_end_are_refused_before_they_take_memory():
    with pytest.raises(LimitExceededError, match=r"^x holds some 6000002 values"):
        parse_json_object(b'{"a": [' + b"[]," * 3_000_000 + b"0]}", "x")
