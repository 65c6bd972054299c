"""Parse URLs of objects, and strip secrets from them for messages."""

from __future__ import annotations

import re
import urllib.parse

from ilastik_lazy.errors import ArgumentError, remedy

__all__ = ["is_url", "shown_url", "url_parts"]

_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "https": "https", "http": "http"}


def is_url(text: object) -> bool:
    """Return whether a path is a URL, not a file; a single letter is a drive of Windows.

    Examples
    --------
    >>> is_url("s3://bucket/brain.zarr"), is_url("/data/brain.zarr"), is_url("C://data/brain.zarr")
    (True, False, False)
    """
    return isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def shown_url(text: str) -> str:
    """Return a URL for messages, without user name, password, query and fragment.

    Examples
    --------
    >>> shown_url("https://me:secret@host/x.zarr?X-Amz-Signature=abc")
    'https://host/x.zarr'
    """
    scheme, _, rest = text.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def url_parts(url: str) -> tuple[str, str, str]:
    """Return scheme, bucket or host, and the path of the folder in it."""
    found, _, rest = url.partition("://")
    scheme = "memory" if found == "memory" else _SCHEMES.get(found.lower())
    if scheme is None:
        raise ArgumentError(f"{shown_url(url)}: expected a URL with {', '.join(dict.fromkeys(_SCHEMES.values()))}")
    if re.search(r"[?#]", rest) and scheme in ("http", "https"):
        raise ArgumentError(f"{shown_url(url)}: a URL with a query names one object, not a folder: remove the query")
    host, _, path = rest.partition("/")
    if not host or "@" in host:
        raise ArgumentError(
            f"{shown_url(url)}: expected {scheme}://name/path; pass credentials in "
            f"{remedy('storage_options or ')}the environment"
        )
    if scheme in ("http", "https"):
        path = urllib.parse.unquote(path)  # quoted again for the request
    elif {".", ".."}.intersection(path.split("/")):
        raise ArgumentError(
            f"{shown_url(url)}: names of objects cannot contain '.' or '..': write the path without them"
        )
    return scheme, host, path.strip("/")
