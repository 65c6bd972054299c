"""Words in messages, and text that UTF-8 can hold."""

from __future__ import annotations

import re

__all__ = ["counted", "encodable"]

_HALVES = re.compile(r"[\ud800-\udfff]")


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
