"""Objects at ``s3://``, ``gs://``, ``az://``, ``https://``: the one place through which they are read and written.

obstore does the work, in Rust and outside the interpreter's lock.  Its messages are not passed on: they repeat
what the server said, tokens in URLs and signatures included.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ilastik_lazy.errors import (
    ArgumentError,
    DestinationError,
    DestinationExistsError,
    LimitExceededError,
    MissingExtraError,
    SourceIOError,
    SourceNotFoundError,
)

if TYPE_CHECKING:
    import zarr.storage
    from obstore import PutMode
    from obstore.store import ObjectStore

__all__ = ["ObjectFolder", "ObjectState", "is_url", "shown_url"]

_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "https": "https", "http": "http"}
# What people know from fsspec, and from boto's configuration.
_ALIASES = {
    "s3": {"key": "access_key_id", "secret": "secret_access_key", "token": "session_token", "anon": "skip_signature"},
    "gs": {"token": "service_account_path", "anon": "skip_signature"},
    "az": {"anon": "skip_signature"},
}
_S3_ALIASES = {"endpoint_url": "endpoint", "region_name": "region", "aws_endpoint_url": "endpoint"}
# An endpoint that does not answer is given up after 20 to 40 seconds; the time for a body has no limit as long as
# bytes keep coming, since a shard of 1 GB over a slow line takes minutes.
_CLIENT = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "1h"}
_RETRY = {
    "max_retries": 5,
    "retry_timeout": datetime.timedelta(seconds=20),
    "backoff": {"max_backoff": datetime.timedelta(seconds=2)},
}


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


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What tells one version of an object from another."""

    size: int
    """Bytes."""
    tag: str
    """The ETag; empty where the server gives none."""


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """All objects whose names start with a common prefix.

    Keeps no connection: equal folders share one for each process.  A pickled copy holds `options`,
    credentials included, since another process needs them; no message and no `repr` shows them.
    """

    url: str
    """Without a slash at its end: ``s3://bucket/folder``."""
    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """As obstore names them, sorted: ``endpoint``, ``region``, ``access_key_id``, ``skip_signature`` ..."""

    def __post_init__(self) -> None:
        _split(self.url)
        if self.url.endswith("/"):
            raise ArgumentError(f"{self.url} ends with a slash: take ObjectFolder.parse")

    @classmethod
    def parse(cls, url: str, storage_options: Mapping[str, Any] | None = None) -> ObjectFolder:
        """The folder at `url`.

        Parameters
        ----------
        url
            ``s3://bucket/folder``, ``gs://bucket/folder``, ``az://container/folder``, ``https://host/folder``.
        storage_options
            As obstore or fsspec name them: ``endpoint_url``, ``region``, ``access_key_id`` or ``key``,
            ``secret_access_key`` or ``secret``, ``anon``, ...  What is not given is taken from the environment:
            ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ...

        Raises
        ------
        ArgumentError
            The URL or an option is of no kind that is known here.

        Examples
        --------
        >>> ObjectFolder.parse("s3://bucket/a/", {"endpoint_url": "http://127.0.0.1:9000", "key": "me"})
        ObjectFolder(url='s3://bucket/a')
        """
        scheme = _split(url)[0]
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
        """Whether the names of objects can be asked for: plain web servers have no way to tell them."""
        return _split(self.url)[0] not in ("http", "https")

    def child(self, key: str) -> ObjectFolder:
        """The folder with the name `key` in this one."""
        return ObjectFolder(self.join(key), self.options) if key else self

    def join(self, key: str) -> str:
        """URL of the object with the name `key`, for messages and for `child`."""
        return f"{self.url}/{key}" if key else self.url

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """All bytes of an object.

        Raises
        ------
        SourceNotFoundError
            There is no such object.
        SourceIOError
            It cannot be read: no access, no answer.
        LimitExceededError
            It has more than `limit` bytes.
        """
        return self.fetch(key, limit=limit)[0]

    def fetch(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectState]:
        """All bytes of an object, and what tells this version of it from another (see `get`)."""
        store, path = self._at(key)
        with _reading(self.join(key)):
            result = store.get(path)
            state = _state(result.meta)
            if limit is not None and state.size > limit:
                raise LimitExceededError(f"{self.join(key)} has {state.size} bytes, more than {limit}")
            return result.bytes().to_bytes(), state

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes of an object from byte `start` on; fewer are an error (see `get`)."""
        if length == 0:
            return b""
        store, path = self._at(key)
        with _reading(self.join(key)):
            data = store.get_range(path, start=start, length=length).to_bytes()
        if len(data) != length:
            raise SourceIOError(f"{self.join(key)} gave {len(data)} bytes from byte {start} on, not {length}: cut off")
        return data

    def get_tail(self, key: str, length: int) -> tuple[bytes, ObjectState]:
        """The last `length` bytes of an object, all where it has fewer; one request (see `get`)."""
        store, path = self._at(key)
        with _reading(self.join(key)):
            result = store.get(path, options={"range": {"suffix": length}})
            return result.bytes().to_bytes(), _state(result.meta)

    def state(self, key: str) -> ObjectState:
        """Size and version of an object (see `get`)."""
        store, path = self._at(key)
        with _reading(self.join(key)):
            return _state(store.head(path))

    def size(self, key: str) -> int:
        """Number of bytes of an object (see `get`)."""
        return self.state(key).size

    def exists(self, key: str) -> bool:
        """Whether there is such an object; where nobody can say, `SourceIOError`."""
        try:
            self.state(key)
        except SourceNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys of all objects in the folder `prefix` of this one, and in the folders below, in no promised order.

        Raises
        ------
        SourceIOError
            They cannot be listed: no access, or a web server (see `can_list`).
        """
        store, path = self._listed(prefix)
        own = self._at("")[1]
        with _reading(self.join(prefix)):
            for entries in store.list(path or None, chunk_size=1000):
                yield from (entry["path"].removeprefix(f"{own}/") if own else entry["path"] for entry in entries)

    def children(self, prefix: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the folders and of the objects that lie in the folder `prefix`, not deeper; sorted (see `list`)."""
        store, path = self._listed(prefix)
        with _reading(self.join(prefix)):
            found = store.list_with_delimiter(path or None)
        folders = [name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"]]
        objects = [entry["path"].rpartition("/")[2] for entry in found["objects"]]
        return tuple(sorted(folders)), tuple(sorted(objects))

    def put(self, key: str, data: bytes | memoryview, *, create: bool = False) -> None:
        """Write an object in one step: who reads it sees the old bytes or the new ones, never a part.

        Parameters
        ----------
        create
            Only if there is none: the server decides (``If-None-Match: *``), so of several writers one wins.  A
            request that was answered too late and sent again may find what it wrote itself.

        Raises
        ------
        DestinationExistsError
            `create`, and there is one.
        DestinationError
            It cannot be written.
        """
        store, path = self._at(key)
        mode: PutMode = "create" if create else "overwrite"
        with _writing(self.join(key)):
            # One request: an upload in parts that is broken off stays in the bucket, unseen and paid for.
            store.put(path, data, mode=mode, use_multipart=False)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises
        ------
        DestinationError
            It cannot be removed.
        """
        store, path = self._at(key)
        with _writing(self.join(key)), contextlib.suppress(FileNotFoundError):
            store.delete(path)

    def zarr_store(self) -> tuple[zarr.storage.ObjectStore[Any], str]:
        """The bucket as zarr-python reads it, and the path of the folder in it."""
        import zarr.storage

        store, path = self._at("")
        return zarr.storage.ObjectStore(store, read_only=True), path

    def _listed(self, prefix: str) -> tuple[ObjectStore, str]:
        if not self.can_list:
            raise SourceIOError(f"{self.join(prefix)}: a web server does not list its files: name one")
        return self._at(prefix)

    def _at(self, key: str) -> tuple[ObjectStore, str]:
        """The store, and the whole name of an object in it."""
        _, root, path = _split(self.url)
        return _store_at(root, self.options), "/".join(part for part in (path, key) if part)


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, URL of the bucket or host, and name of the folder in it."""
    found, _, rest = url.partition("://")
    scheme = "memory" if found == "memory" else _SCHEMES.get(found.lower())
    if scheme is None:
        raise ArgumentError(f"{shown_url(url)}: expected a URL with {', '.join(dict.fromkeys(_SCHEMES.values()))}")
    if re.search(r"[?#]", rest) and scheme in ("http", "https"):
        raise ArgumentError(f"{shown_url(url)}: a URL with a query names one object, and no folder: leave it out")
    host, _, path = rest.partition("/")
    if not host or "@" in host:
        raise ArgumentError(
            f"{shown_url(url)}: expected {scheme}://name/path; credentials go into storage_options or the environment"
        )
    if scheme in ("http", "https"):
        path = urllib.parse.unquote(path)  # obstore quotes it again
    return scheme, f"{scheme}://{host}", path.strip("/")


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without the nested ones of s3fs, ``client_kwargs={"endpoint_url": ...}``."""
    nested = options.get("client_kwargs")
    own = {name: value for name, value in options.items() if name != "client_kwargs"}
    return {**(nested if isinstance(nested, Mapping) else {}), **own}


# Equal folders share one pool of connections; a store is 100 kB.
@functools.lru_cache(maxsize=64)
def _store_at(root: str, options: tuple[tuple[str, str | bool], ...]) -> ObjectStore:
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError as missing:
        raise MissingExtraError(f"{root} is opened with obstore: pip install 'ilastik_lazy[remote]'") from missing
    scheme, _, name = root.partition("://")
    if scheme == "memory":
        return _memory(name)
    client: dict[str, Any] = dict(_CLIENT)
    endpoint = dict(options).get("endpoint") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    # Not encrypted only where the caller wrote "http://".
    client["allow_http"] = scheme == "http" or (scheme == "s3" and str(endpoint).startswith("http://"))
    given: dict[str, Any] = {"client_options": client, "retry_config": _RETRY}
    try:
        if scheme in ("http", "https"):
            if options:
                raise ArgumentError(f"{root}: storage_options {[name for name, _ in options]} are not for web servers")
            return obstore.store.HTTPStore.from_url(root, **given)
        kinds: dict[str, Any] = {
            "s3": obstore.store.S3Store,
            "gs": obstore.store.GCSStore,
            "az": obstore.store.AzureStore,
        }
        store: ObjectStore = kinds[scheme](name, config=dict(options), **given)
        return store
    except obstore.exceptions.UnknownConfigurationKeyError:
        names = ", ".join(name for name, _ in options)
        raise ArgumentError(f"{root}: one of the storage_options {names} is not known for {scheme}://") from None
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise ArgumentError(f"{root}: {_reason(error)}") from None


@functools.cache
def _memory(name: str) -> ObjectStore:
    """Objects in the memory of this process, for tests."""
    import obstore.store

    return obstore.store.MemoryStore()


def _state(meta: Any) -> ObjectState:
    return ObjectState(meta["size"], meta["e_tag"] or "")


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    """What the server says while something is read, as `SourceError`."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise SourceNotFoundError(f"no such object: {url}") from None
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, SourceIOError | LimitExceededError):
            raise
        raise SourceIOError(f"cannot read {url}: {_reason(error)}") from None


@contextlib.contextmanager
def _writing(url: str) -> Iterator[None]:
    """What the server says while something is written, as `DestinationError`."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError:
        raise DestinationExistsError(f"{url} exists already") from None
    except (BaseError, OSError, ValueError) as error:
        raise DestinationError(f"cannot write {url}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What of an error of obstore tells a person what is wrong, without what the server sent."""
    text = str(error)
    if "/latest/api/token" in text or "metadata.google.internal" in text:
        return (
            "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or those of your cloud), "
            "or storage_options={'anon': True} for what is public"
        )
    if status := re.search(r"status code: (\d{3}[A-Za-z ]*)", text):
        code = status[1].strip()
        denied = ": look at the credentials in storage_options or the environment" if code[:3] in ("401", "403") else ""
        return f"the server says {code}{denied}"
    for mark, reason in (
        ("dns error", "no such host"),
        ("invalid peer certificate", "the certificate of the server is not valid"),
        ("TimedOut", "no answer in time"),
        ("kind: Timeout", "no answer in time"),
        ("kind: Connect", "no connection"),
        ("kind: Body", "the connection broke off"),
        ("Account must be specified", "say storage_options={'account_name': ...}"),
        ("NotImplemented", "the server cannot do that"),
        ("URL scheme is not allowed", "not encrypted: name the endpoint with http:// to allow that"),
    ):
        if mark in text:
            system = re.search(r'message: "([^"]{1,60})"', text)
            return f"{reason} ({system[1]})" if system else reason
    return f"the request failed ({type(error).__name__})"
