"""Read and write objects of S3, compatible servers, Google and Azure, through obstore.

obstore is written in Rust and releases the interpreter's lock.  Its messages are not passed on: they repeat the
server's answer, with tokens in URLs and signatures.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore.exceptions
import obstore.store

from ilastik_lazy.errors import (
    AccessDeniedError,
    ArgumentError,
    DestinationError,
    DestinationExistsError,
    IlastikLazyError,
    LimitExceededError,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
    remedy,
)
from ilastik_lazy.storage.object_store.aws_profile import with_profile
from ilastik_lazy.storage.object_store.backend import ObjectState, Span

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore

__all__ = ["CloudObjects"]

# A silent endpoint fails after 20 to 40 seconds; a body may take an hour as long as bytes keep coming, since a shard
# of 1 GB over a slow line takes minutes.
_CLIENT = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "1h"}
_RETRY = {
    "max_retries": 5,
    "retry_timeout": datetime.timedelta(seconds=20),
    "backoff": {"max_backoff": datetime.timedelta(seconds=2)},
}


@dataclass(frozen=True, slots=True)
class CloudObjects:
    """One bucket (see `Backend`)."""

    store: ObjectStore

    @classmethod
    def connect(cls, scheme: str, bucket: str, options: tuple[tuple[str, str | bool], ...]) -> CloudObjects:
        """Return the bucket, without a request.

        Raises
        ------
        ArgumentError
            obstore does not support an option.
        """
        if scheme == "memory":
            return cls(obstore.store.MemoryStore())
        kinds: dict[str, Any] = {
            "s3": obstore.store.S3Store,
            "gs": obstore.store.GCSStore,
            "az": obstore.store.AzureStore,
        }
        config = with_profile(dict(options)) if scheme == "s3" else dict(options)
        endpoint = config.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
        # Unencrypted only if the caller wrote "http://".
        client = {**_CLIENT, "allow_http": scheme == "s3" and str(endpoint).startswith("http://")}
        try:
            return cls(kinds[scheme](bucket, config=config, client_options=client, retry_config=_RETRY))
        except obstore.exceptions.UnknownConfigurationKeyError:
            names = ", ".join(name for name, _ in options)
            raise ArgumentError(f"one of the storage_options {names} is not known for {scheme}://") from None
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise ArgumentError(f"{scheme}://{bucket}: {_reason(error)}") from None

    def fetch(self, path: str, url: str, span: Span | None, limit: int | None) -> tuple[bytes, ObjectState]:
        options: dict[str, Any] = {}
        if span is not None:
            inside = (span.start, span.start + span.length)
            options["range"] = inside if span.start >= 0 else {"suffix": span.length}
            if span.tag:
                options["if_match"] = span.tag
        with _reading(url):
            result = self.store.get(path, options=options)  # type: ignore[arg-type]
            state = _state(result.meta)
            if span is None and limit is not None and state.size > limit:
                raise LimitExceededError(f"{url} has {state.size} bytes, more than {limit}")
            return result.bytes().to_bytes(), state

    def state(self, path: str, url: str) -> ObjectState:
        with _reading(url):
            return _state(self.store.head(path))

    def names(self, path: str, url: str) -> Iterator[str]:
        with _reading(url):
            for entries in self.store.list(path or None, chunk_size=1000):
                yield from (entry["path"] for entry in entries)

    def children(self, path: str, url: str) -> tuple[list[str], list[str]]:
        with _reading(url):
            found = self.store.list_with_delimiter(path or None)
        return list(found["common_prefixes"]), [entry["path"] for entry in found["objects"]]

    def put(self, path: str, url: str, data: bytes | memoryview, create: bool, replacing: ObjectState | None) -> None:
        mode: PutMode = "create" if create else "overwrite"
        if replacing is not None:
            # S3 and Azure compare the ETag, Google the generation.
            mode = {"e_tag": replacing.tag}
            if replacing.version:
                mode["version"] = replacing.version
        with _writing(url):
            # One request: an interrupted multipart upload would stay in the bucket, invisible and charged for.
            self.store.put(path, data, mode=mode, use_multipart=False)

    def delete(self, path: str, url: str) -> None:
        with _writing(url), contextlib.suppress(FileNotFoundError):
            self.store.delete(path)


def _state(meta: Any) -> ObjectState:
    return ObjectState(meta["size"], meta["e_tag"] or "", meta["version"] or "")


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    """Translate errors of a read to `SourceError`."""
    try:
        yield
    except IlastikLazyError:
        raise
    except FileNotFoundError:
        raise SourceNotFoundError(f"no such object: {url}") from None
    except obstore.exceptions.PreconditionError:
        raise SourceChangedError(f"{url} changed since it was opened: open it again") from None
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        reason = _reason(error)
        if "404" in reason:
            # A missing object is handled above: this is the listing of a missing bucket.
            raise SourceNotFoundError(f"no such bucket: {'/'.join(url.split('/')[:3])} ({reason})") from None
        kind = AccessDeniedError if "credentials" in reason else SourceIOError
        raise kind(f"cannot read {url}: {reason}") from None


@contextlib.contextmanager
def _writing(url: str) -> Iterator[None]:
    """Translate errors of a write to `DestinationError`."""
    try:
        yield
    except obstore.exceptions.AlreadyExistsError:
        raise DestinationExistsError(f"{url} exists already") from None
    except obstore.exceptions.PreconditionError:
        raise DestinationExistsError(f"{url} was replaced by another version") from None
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        raise DestinationError(f"cannot write {url}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the cause of an error of obstore, without the server's answer."""
    text = str(error)
    if "/latest/api/token" in text or "metadata.google.internal" in text:
        public = remedy(", or storage_options={'anon': True} for public data")
        return f"no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or those of your cloud){public}"
    if status := re.search(r"status code: (\d{3}[A-Za-z ]*)", text):
        code = status[1].strip()
        look = f": check the credentials in {remedy('storage_options or ')}the environment"
        return f"the server answers {code}{look if code[:3] in ('401', '403') else ''}"
    account = remedy("say storage_options={'account_name': ...}", "set AZURE_STORAGE_ACCOUNT_NAME")
    for mark, reason in (
        ("dns error", "no such host"),
        ("invalid peer certificate", "the certificate of the server is not valid"),
        ("TimedOut", "no answer in time"),
        ("kind: Timeout", "no answer in time"),
        ("kind: Connect", "no connection"),
        ("kind: Body", "the connection broke off"),
        ("Account must be specified", account),
        ("NotImplemented", "the server does not support that"),
        ("URL scheme is not allowed", "not encrypted: name the endpoint with http:// to allow that"),
    ):
        if mark in text:
            system = re.search(r'message: "([^"]{1,60})"', text)
            return f"{reason} ({system[1]})" if system else reason
    return f"the request failed ({type(error).__name__})"
