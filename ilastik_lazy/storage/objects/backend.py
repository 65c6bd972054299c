"""What a way to reach objects must do; `ObjectFolder` talks to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Backend", "ObjectState", "Span"]


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What distinguishes one version of an object from another."""

    size: int
    """Bytes."""
    tag: str
    """The ETag; empty where the server gives none."""
    version: str = ""
    """The generation or version id; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of an object."""

    start: int
    """First byte; below 0, that many bytes from the end on."""
    length: int
    tag: str = ""
    """ETag of the version that is meant; empty where any is."""


class Backend(Protocol):
    """One bucket, or one web server.  Safe to use in many threads.

    `path` is the whole name of an object; `url` is for messages, and shows no secrets.  Errors are those that
    `ObjectFolder` promises.
    """

    def fetch(self, path: str, url: str, span: Span | None, limit: int | None) -> tuple[bytes, ObjectState]:
        """Bytes and state of an object, or of a `span` of it; of more than `limit` bytes, none."""

    def state(self, path: str, url: str) -> ObjectState: ...

    def names(self, path: str, url: str) -> Iterator[str]:
        """Whole names of all objects in a folder, and below."""

    def children(self, path: str, url: str) -> tuple[list[str], list[str]]:
        """Whole names of the folders, and of the objects, just below a folder."""

    def put(self, path: str, url: str, data: bytes | memoryview, create: bool, replacing: ObjectState | None) -> None:
        """Write an object: if `create`, a new one only; `replacing`, this version only."""

    def delete(self, path: str, url: str) -> None: ...
