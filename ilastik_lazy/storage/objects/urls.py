"""URLs of objects: which there are, their parts, and how they may be shown."""

from __future__ import annotations

import re
import urllib.parse

from ilastik_lazy.errors import ArgumentError, remedy

__all__ = ["is_url", "shown_url", "url_parts"]

_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "https": "https", "http": "http"}


def is_url(text: object) -> bool:
    """Whether a path names objects behind a network, and no file.

    Examples
    --------
    >>> is_url("s3://bucket/brain.zarr"), is_url("/data/brain.zarr")
    (True, False)
    """
    return isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def shown_url(text: str) -> str:
    """A URL as it may stand in a message: without name, password, query and fragment.

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
    """Scheme, name of the bucket or host, and of the folder in it."""
    found, _, rest = url.partition("://")
    scheme = "memory" if found == "memory" else _SCHEMES.get(found.lower())
    if scheme is None:
        raise ArgumentError(f"{shown_url(url)}: expected a URL with {', '.join(dict.fromkeys(_SCHEMES.values()))}")
    if re.search(r"[?#]", rest) and scheme in ("http", "https"):
        raise ArgumentError(f"{shown_url(url)}: a URL with a query names one object, and no folder: leave it out")
    host, _, path = rest.partition("/")
    if not host or "@" in host:
        raise ArgumentError(
            f"{shown_url(url)}: expected {scheme}://name/path; credentials go into "
            f"{remedy('storage_options or ')}the environment"
        )
    if scheme in ("http", "https"):
        path = urllib.parse.unquote(path)  # it is quoted when it is asked for
    elif {".", ".."}.intersection(path.split("/")):
        raise ArgumentError(f"{shown_url(url)}: the name of an object has no '.' or '..' to go up by: write it without")
    return scheme, host, path.strip("/")
