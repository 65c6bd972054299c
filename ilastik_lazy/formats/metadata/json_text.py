"""Parse JSON from files that anybody may have made."""

from __future__ import annotations

import json
from typing import Any

from ilastik_lazy.errors import LimitExceededError, MetadataError

__all__ = ["json_value", "parse_json_object"]

_MOST_VALUES = 2_000_000


def json_value(text: object) -> Any:
    """Parse a JSON text; return None for anything else.

    >>> json_value("[1, 2]"), json_value("[1, 2"), json_value(7)
    ([1, 2], None, None)
    """
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def parse_json_object(data: bytes, path: str) -> dict[str, Any]:
    """Parse a file that holds a JSON object; `path` names it in messages.

    Raises
    ------
    MetadataError
        It holds something else, such as the first half of one.
    LimitExceededError
        It holds more values than the metadata of 30,000 arrays do.

    Examples
    --------
    >>> parse_json_object(b'{"n5": "2.0.0"}', "a.n5/attributes.json")
    {'n5': '2.0.0'}
    """
    # 64 MiB of "[],[],[]" would take 1.5 GB and 3 s.
    if (count := sum(map(data.count, (b",", b"[", b"{")))) > _MOST_VALUES:
        raise LimitExceededError(f"{path} holds some {count} values, more than {_MOST_VALUES}")
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MetadataError(
            f"{path} is not JSON, or was cut off: {data[:40]!a}; was it copied or exported completely?"
        ) from error
    if not isinstance(loaded, dict):
        raise MetadataError(f"{path} holds no JSON object: {data[:40]!a}")
    return loaded
