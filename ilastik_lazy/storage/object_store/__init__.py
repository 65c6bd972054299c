"""Read and write objects at ``s3://``, ``gs://``, ``az://`` and ``https://``."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ilastik_lazy.errors import ArgumentError, MissingExtraError, SourceChangedError, SourceIOError
from ilastik_lazy.storage.object_store.aws_profile import profile_files
from ilastik_lazy.storage.object_store.backend import ObjectState, Span
from ilastik_lazy.storage.object_store.urls import is_url, shown_url, url_parts

if TYPE_CHECKING:
    import zarr.storage

    from ilastik_lazy.storage.object_store.backend import Backend

__all__ = ["ObjectFolder", "ObjectState", "is_url", "shown_url"]

# Option names of fsspec and of boto's configuration.
_ALIASES = {
    "s3": {"key": "access_key_id", "secret": "secret_access_key", "token": "session_token", "anon": "skip_signature"},
    "gs": {"token": "service_account_path", "anon": "skip_signature"},
    "az": {"anon": "skip_signature"},
}
_PREFIXES, _SUFFIXES = ("AWS_", "GOOGLE_", "AZURE_", "SSL_CERT_"), ("_proxy", "_PROXY")
_S3_ALIASES = {"endpoint_url": "endpoint", "region_name": "region", "aws_endpoint_url": "endpoint"}


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """All objects whose names start with a common prefix.

    It keeps no connection: equal folders share one in each process.  A pickled copy holds `options` with credentials,
    which another process needs; no message and no `repr` shows them.
    """

    url: str
    """Such as ``s3://bucket/folder``, without a trailing slash."""
    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """Sorted, with obstore's names: ``endpoint``, ``region``, ``access_key_id``, ``skip_signature``, ..."""

    def __post_init__(self) -> None:
        url_parts(self.url)
        if self.url.endswith("/"):
            raise ArgumentError(f"{self.url} ends with a slash: use ObjectFolder.parse")

    @classmethod
    def parse(cls, url: str, storage_options: Mapping[str, Any] | None = None) -> ObjectFolder:
        """Return the folder at `url`.

        Parameters
        ----------
        url
            ``s3://bucket/folder``, ``gs://bucket/folder``, ``az://container/folder``, ``https://host/folder``.
        storage_options
            Named as in obstore or fsspec: ``endpoint_url``, ``region``, ``access_key_id`` or ``key``,
            ``secret_access_key`` or ``secret``, ``anon``, ...; ``profile`` of ``~/.aws``.  Missing ones are taken from
            the environment, ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ..., and
            then, for S3, from the profile of ``AWS_PROFILE`` or the default one.

        Raises
        ------
        ArgumentError
            The kind of the URL or of an option is unknown.

        Examples
        --------
        >>> ObjectFolder.parse("s3://bucket/a/", {"endpoint_url": "http://127.0.0.1:9000", "key": "me"})
        ObjectFolder(url='s3://bucket/a')
        """
        scheme = url_parts(url)[0]
        options: dict[str, str | bool] = {}
        for name, value in _flat(storage_options or {}).items():
            known = _ALIASES.get(scheme, {}).get(name, name)
            known = _S3_ALIASES.get(known, known) if scheme == "s3" else known
            if value is None:
                continue
            if not isinstance(value, str | bool | int):
                raise ArgumentError(f"storage_options[{name!r}] is a {type(value).__name__}: expected text or a bool")
            options[known] = value if isinstance(value, bool) else str(value)
        return cls(url.rstrip("/"), tuple(sorted(options.items())))

    @property
    def can_list(self) -> bool:
        """Whether objects can be listed: plain web servers cannot."""
        return url_parts(self.url)[0] not in ("http", "https")

    def child(self, key: str) -> ObjectFolder:
        """Return the folder `key` in this one."""
        return ObjectFolder(self.join(key), self.options) if key else self

    def join(self, key: str) -> str:
        """Return the URL of the object `key`, for messages and for `child`."""
        return f"{self.url}/{key}" if key else self.url

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """Return all bytes of an object.

        Raises
        ------
        SourceNotFoundError
            There is no such object.
        SourceIOError
            It cannot be read, for lack of access or of an answer.
        LimitExceededError
            It has more than `limit` bytes.
        """
        return self.fetch(key, limit=limit)[0]

    def fetch(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectState]:
        """Return all bytes of an object, and its version (see `get`)."""
        backend, path = self._at(key)
        return backend.fetch(path, self.join(key), None, limit)

    def get_range(self, key: str, start: int, length: int, *, state: ObjectState | None = None) -> bytes:
        """Return `length` bytes of an object from byte `start` on; fewer are an error (see `get`).

        Parameters
        ----------
        state
            The expected version: raises `SourceChangedError` if the server states another.
        """
        if length == 0:
            return b""
        backend, path = self._at(key)
        span = Span(start, length, state.tag if state is not None and state.is_exact else "")
        data, found = backend.fetch(path, self.join(key), span, None)
        # Some servers ignore the expected tag.
        if state is not None and state.tag and found.tag not in ("", state.tag):
            raise SourceChangedError(f"{self.join(key)} changed since it was opened: open it again")
        if len(data) != length:
            raise SourceIOError(f"{self.join(key)} gave {len(data)} bytes from byte {start} on, not {length}: cut off")
        return data

    def fetch_edge(self, key: str, length: int, *, at_start: bool) -> tuple[bytes, ObjectState]:
        """Return the first or last `length` bytes, or all if there are fewer, and the version (see `get`)."""
        backend, path = self._at(key)
        return backend.fetch(path, self.join(key), Span(0 if at_start else -length, length), None)

    def state(self, key: str) -> ObjectState:
        """Return size and version of an object (see `get`)."""
        backend, path = self._at(key)
        return backend.state(path, self.join(key))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys of all objects in the folder `prefix` of this one and below, in any order.

        Raises
        ------
        SourceIOError
            They cannot be listed, for lack of access or by a web server (see `can_list`).
        """
        backend, path = self._at(prefix)
        own = len(self._at("")[1])
        for name in backend.names(path, self.join(prefix)):
            yield name[own:].lstrip("/")

    def children(self, prefix: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the sorted names of folders and of objects directly in the folder `prefix` (see `list`)."""
        backend, path = self._at(prefix)
        folders, objects = backend.children(path, self.join(prefix))
        return _last_parts(folders), _last_parts(objects)

    def put(
        self, key: str, data: bytes | memoryview, *, create: bool = False, replacing: ObjectState | None = None
    ) -> None:
        """Write an object in one step: a reader sees the old bytes or the new ones, never a part.

        Parameters
        ----------
        create
            Write only if there is none (``If-None-Match: *``): the server lets one of several writers win.  A request
            that was repeated after a late answer may find its own object.
        replacing
            Write only if it still has this version (``If-Match``).

        Raises
        ------
        DestinationExistsError
            With `create`, the object exists; with `replacing`, it has another version.
        DestinationError
            It cannot be written.
        """
        backend, path = self._at(key)
        backend.put(path, self.join(key), data, create, replacing)

    def delete(self, key: str) -> None:
        """Remove an object, if it exists.

        Raises
        ------
        DestinationError
            It cannot be removed.
        """
        backend, path = self._at(key)
        backend.delete(path, self.join(key))

    def zarr_store(self) -> tuple[zarr.storage.ObjectStore[Any], str]:
        """Return the bucket as a store of zarr-python, and the path of the folder in it."""
        import zarr.storage

        from ilastik_lazy.storage.object_store.cloud import CloudObjects

        backend, path = self._at("")
        if not isinstance(backend, CloudObjects):
            raise ArgumentError(f"{self.url} is on a web server, expected a bucket")
        return zarr.storage.ObjectStore(backend.store, read_only=True), path

    def _at(self, key: str) -> tuple[Backend, str]:
        """Return the bucket or server, and the full name of an object there."""
        scheme, host, path = url_parts(self.url)
        return _backend_at(scheme, host, self.options, _environment()), "/".join(part for part in (path, key) if part)


def _last_parts(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted(name.rstrip("/").rpartition("/")[2] for name in names))


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the nested options of s3fs, ``client_kwargs={"endpoint_url": ...}``."""
    nested = options.get("client_kwargs")
    own = {name: value for name, value in options.items() if name != "client_kwargs"}
    return {**(nested if isinstance(nested, Mapping) else {}), **own}


def _environment() -> tuple[tuple[str, str | None], ...]:
    """Return the variables that choose endpoint, credentials, certificates and proxies."""
    # 20 us for 40 variables, little beside a request.
    names = (name for name in os.environ if name.startswith(_PREFIXES) or name.endswith(_SUFFIXES))
    found = [(name, os.environ.get(name)) for name in names]
    # Keys that were renewed in ~/.aws take effect, too.
    return tuple(found + [(path, _modified(path)) for path in profile_files()])


def _modified(path: str) -> str | None:
    try:
        return str(os.stat(path).st_mtime_ns)
    except OSError:
        return None


# Equal folders share one pool of connections while the environment stays the same.
@functools.lru_cache(maxsize=64)
def _backend_at(
    scheme: str,
    host: str,
    options: tuple[tuple[str, str | bool], ...],
    environment: tuple[tuple[str, str | None], ...],  # read by the backends themselves
) -> Backend:
    if scheme == "memory":
        return _memory(host)
    root = f"{scheme}://{host}"
    try:
        if scheme in ("http", "https"):
            from ilastik_lazy.storage.object_store.web import WebObjects

            if options:
                raise ArgumentError(
                    f"{root}: storage_options {[name for name, _ in options]} are not for web servers: omit them"
                )
            return WebObjects.connect(root)
        from ilastik_lazy.storage.object_store.cloud import CloudObjects
    except ImportError as missing:
        raise MissingExtraError(f"{root} needs {missing.name}: pip install 'ilastik_lazy[remote]'") from missing
    return CloudObjects.connect(scheme, host, options)


@functools.cache
def _memory(name: str) -> Backend:
    """Return a store in the memory of this process, for tests."""
    from ilastik_lazy.storage.object_store.cloud import CloudObjects

    return CloudObjects.connect("memory", name, ())
