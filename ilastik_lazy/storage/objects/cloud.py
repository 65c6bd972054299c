"""Objects in clouds, through obstore: S3 and whatever speaks like it, Google's and Azure's.

obstore works in Rust and outside the interpreter's lock.  Its messages are not passed on: they repeat
what the server said, tokens in URLs and signatures included.
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
from ilastik_lazy.storage.objects.backend import ObjectState, Span

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore

__all__ = ["CloudObjects"]

# An endpoint that does not answer is given up after 20 to 40 seconds; the time for a body has no limit as long as
# bytes keep coming, since a shard of 1 GB over a slow line takes minutes.
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
        """The bucket; nothing is asked of it yet.

        Raises
        ------
        ArgumentError
            obstore knows no such option.
        """
        if scheme == "memory":
            return cls(obstore.store.MemoryStore())
        kinds: dict[str, Any] = {
            "s3": obstore.store.S3Store,
            "gs": obstore.store.GCSStore,
            "az": obstore.store.AzureStore,
        }
        endpoint = dict(options).get("endpoint") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
        # Not encrypted only where the caller wrote "http://".
        client = {**_CLIENT, "allow_http": scheme == "s3" and str(endpoint).startswith("http://")}
        try:
            return cls(kinds[scheme](bucket, config=dict(options), client_options=client, retry_config=_RETRY))
        except obstore.exceptions.UnknownConfigurationKeyError:
            names = ", ".join(name for name, _ in options)
            raise ArgumentError(f"one of the storage_options {names} is not known for {scheme}://") from None
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise ArgumentError(f"{scheme}://{bucket}: {_reason(error)}") from None

    def fetch(self, path: str, url: str, span: Span | None, limit: int | None) -> tuple[bytes, ObjectState]:
        """Bytes and state (see `Backend`)."""
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
        """Size and version of an object."""
        with _reading(url):
            return _state(self.store.head(path))

    def names(self, path: str, url: str) -> Iterator[str]:
        """All names (see `Backend`)."""
        with _reading(url):
            for entries in self.store.list(path or None, chunk_size=1000):
                yield from (entry["path"] for entry in entries)

    def children(self, path: str, url: str) -> tuple[list[str], list[str]]:
        """Names just below (see `Backend`)."""
        with _reading(url):
            found = self.store.list_with_delimiter(path or None)
        return list(found["common_prefixes"]), [entry["path"] for entry in found["objects"]]

    def put(self, path: str, url: str, data: bytes | memoryview, create: bool, replacing: ObjectState | None) -> None:
        """Write an object (see `Backend`)."""
        mode: PutMode = "create" if create else "overwrite"
        if replacing is not None:
            # S3 and Azure compare the ETag, Google the generation.
            mode = {"e_tag": replacing.tag}
            if replacing.version:
                mode["version"] = replacing.version
        with _writing(url):
            # One request: an upload in parts that is broken off stays in the bucket, unseen and paid for.
            self.store.put(path, data, mode=mode, use_multipart=False)

    def delete(self, path: str, url: str) -> None:
        """Remove an object, if it is there."""
        with _writing(url), contextlib.suppress(FileNotFoundError):
            self.store.delete(path)


def _state(meta: Any) -> ObjectState:
    return ObjectState(meta["size"], meta["e_tag"] or "", meta["version"] or "")


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    """What the server says while something is read, as `SourceError`."""
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
            # An object that is missing was told above: only the listing of a bucket is left.
            raise SourceNotFoundError(f"no such bucket: {'/'.join(url.split('/')[:3])} ({reason})") from None
        kind = AccessDeniedError if "credentials" in reason else SourceIOError
        raise kind(f"cannot read {url}: {reason}") from None


@contextlib.contextmanager
def _writing(url: str) -> Iterator[None]:
    """What the server says while something is written, as `DestinationError`."""
    try:
        yield
    except obstore.exceptions.AlreadyExistsError:
        raise DestinationExistsError(f"{url} exists already") from None
    except obstore.exceptions.PreconditionError:
        raise DestinationExistsError(f"{url} is another version by now") from None
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        raise DestinationError(f"cannot write {url}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What of an error of obstore tells a person what is wrong, without what the server sent."""
    text = str(error)
    if "/latest/api/token" in text or "metadata.google.internal" in text:
        public = remedy(", or storage_options={'anon': True} for what is public")
        return f"no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or those of your cloud){public}"
    if status := re.search(r"status code: (\d{3}[A-Za-z ]*)", text):
        code = status[1].strip()
        look = f": look at the credentials in {remedy('storage_options or ')}the environment"
        return f"the server says {code}{look if code[:3] in ('401', '403') else ''}"
    account = remedy("say storage_options={'account_name': ...}", "set AZURE_STORAGE_ACCOUNT_NAME")
    for mark, reason in (
        ("dns error", "no such host"),
        ("invalid peer certificate", "the certificate of the server is not valid"),
        ("TimedOut", "no answer in time"),
        ("kind: Timeout", "no answer in time"),
        ("kind: Connect", "no connection"),
        ("kind: Body", "the connection broke off"),
        ("Account must be specified", account),
        ("NotImplemented", "the server cannot do that"),
        ("URL scheme is not allowed", "not encrypted: name the endpoint with http:// to allow that"),
    ):
        if mark in text:
            system = re.search(r'message: "([^"]{1,60})"', text)
            return f"{reason} ({system[1]})" if system else reason
    return f"the request failed ({type(error).__name__})"
