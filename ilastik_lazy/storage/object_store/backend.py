"""Define the protocol through which `ObjectFolder` reaches objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Backend", "ObjectState", "Span"]


@dataclass(frozen=True, slots=True)
class ObjectState:
    """Identity of one version of an object."""

    size: int
    """Bytes."""
    tag: str
    """The ETag, or the date of the last change if the server sends none; empty without either."""
    version: str = ""
    """The generation or version id; empty if there is none."""

    @property
    def is_exact(self) -> bool:
        """Whether other bytes have another tag: a weak tag may stay, and a date is one of whole seconds."""
        return bool(self.tag) and not self.tag.startswith("W/") and not self.tag.endswith(" GMT")


@dataclass(frozen=True, slots=True)
class Span:
    """Part of an object."""

    start: int
    """First byte; below 0, counted from the end."""
    length: int
    tag: str = ""
    """ETag of the expected version; empty for any."""


class Backend(Protocol):
    """One bucket, or one web server.  Safe to use in many threads.

    `path` is the full name of an object; `url` is for messages, and shows no secrets.  Errors are those that
    `ObjectFolder` documents.
    """

    def fetch(self, path: str, url: str, span: Span | None, limit: int | None) -> tuple[bytes, ObjectState]:
        """Return bytes and state of an object, or of a `span` of it; raise if it has more than `limit` bytes."""

    def state(self, path: str, url: str) -> ObjectState: ...

    def names(self, path: str, url: str) -> Iterator[str]:
        """Yield the full names of all objects in a folder and below."""

    def children(self, path: str, url: str) -> tuple[list[str], list[str]]:
        """Return the full names of the folders and of the objects directly in a folder."""

    def put(self, path: str, url: str, data: bytes | memoryview, create: bool, replacing: ObjectState | None) -> None:
        """Write an object: with `create`, a new one only; with `replacing`, over this version only."""

    def delete(self, path: str, url: str) -> None: ...
