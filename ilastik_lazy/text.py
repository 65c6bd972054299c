"""Text out of files, for people: on one line, and without power over the terminal."""

from __future__ import annotations

import re

__all__ = ["counted", "encodable", "printable"]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HALVES = re.compile(r"[\ud800-\udfff]")


def printable(text: str) -> str:
    r"""`text` on one line, whatever a file brought into it.

    Escape sequences would reach the terminal; marks of direction turn a name around.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def counted(count: int, what: str) -> str:
    """A number and its noun, in the plural unless it is one.

    >>> counted(1, "row"), counted(20_000, "row")
    ('1 row', '20,000 rows')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def encodable(text: str) -> str:
    r"""`text` with a mark for what UTF-8 cannot hold: halves of pairs out of JSON, bytes of names in other encodings.

    >>> encodable("a\ud800") == "a\ufffd"
    True
    """
    return _HALVES.sub("\ufffd", text)
