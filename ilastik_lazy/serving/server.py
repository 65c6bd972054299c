"""`serve`: images as OME-Zarr over HTTP, read from their files as they are."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ArgumentError, IlastikLazyError, NetworkWarning, SourceChangedError, option, printable
from ilastik_lazy.lazy.from_xarray import AnySource, as_labels, as_source
from ilastik_lazy.serving.addresses import (
    is_loopback,
    listening,
    may_be_called,
    name_in_url,
    name_of_image,
    names_of_server,
    unused,
    url_host,
)
from ilastik_lazy.serving.connections import Connections
from ilastik_lazy.serving.http import Answer, Request, failure
from ilastik_lazy.serving.image import ServedImage
from ilastik_lazy.serving.pyramid import Blocks, Pyramid
from ilastik_lazy.showing.html import html_table
from ilastik_lazy.warning import warn
from ilastik_lazy.writers.ome_zarr.plan.plan import Version

__all__ = ["Server", "serve", "served_images"]

_log = logging.getLogger(__name__)

# Upper levels of a 20 GB image are 2.9 GB; those of what is looked at are less.
_BLOCK_BYTES = 256 * 2**20
# Chunks of sources that hold several chunks as they are served; for each image.
_SPARE = 64 * 2**20
_METHODS = ("GET", "HEAD", "OPTIONS")

Labels = AnySource | Sequence[AnySource] | Mapping[str, AnySource]


def serve(
    *images: AnySource,
    labels: Labels = (),
    host: str = "127.0.0.1",
    port: int = 0,
) -> Server:
    """Serve images as OME-Zarr over HTTP, without converting them.

    Every program that reads OME-Zarr can look at them while the server is open: voxels are read from the files when
    they are asked for.  Chunks of plain gzip are sent as they are stored.  Levels of lower resolution are those of the
    OME-Zarr that is opened; others are made when they are asked for, with the voxels that `to_ome_zarr` writes.

    The address contains a secret, and only programs of this machine reach it; nothing but these images is served.
    A chunk that is damaged, or whose file has changed, is an error for the client (status 500 or 409) and a line in
    the log ``ilastik_lazy.serving``.  A damaged chunk that is sent as stored is an error when the client decodes it.

    Parameters
    ----------
    images
        Paths of files that `open_dataarray` opens, what it returned, any DataArray with dims out of ``t, z, y, x, c``,
        or `ArraySource` objects.
    labels
        Label images that belong to the first image, with names if wanted; viewers show them above it.
    host
        Address to listen at.  ``"0.0.0.0"`` is all interfaces of this machine: whoever knows the address of
        an image can then read it from other machines, and a warning says so.
    port
        Port to listen at; 0 takes a free one.

    Returns
    -------
    Server
        Serves until it is closed; use it in a ``with`` statement.

    Raises
    ------
    ArgumentError
        There is no image, an image cannot be OME-Zarr, or this machine has no such address.

    Examples
    --------
    >>> import ilastik_lazy as il, zarr
    >>> from ilastik_lazy.demo import sample
    >>> with il.serve(sample("probabilities")) as server:
    ...     zarr.open_group(server.url, mode="r")["scale0/image"].shape
    (2, 40, 128, 160)
    """
    if not images:
        raise ArgumentError("there is no image to serve: pass at least one")
    return Server(served_images(map(as_source, images), _label_sources(labels)), host, port)


def served_images(sources: Iterable[ArraySource], labels: Mapping[str, ArraySource] | None = None) -> list[ServedImage]:
    """Plan how images are served, under names that differ; `labels` belong to the first of them."""
    blocks = Blocks(lambda block: block.nbytes, _BLOCK_BYTES)
    beneath = _pyramids(labels or {}, blocks, "labels/")
    pyramids = _pyramids(_by_name(sources), blocks, "")
    return [
        ServedImage(name, pyramid, {} if number else beneath) for number, (name, pyramid) in enumerate(pyramids.items())
    ]


def _by_name(sources: Iterable[ArraySource]) -> dict[str, ArraySource]:
    found: dict[str, ArraySource] = {}
    for source in sources:
        found[unused(name_of_image(source.spec), found)] = source
    return found


def _label_sources(labels: Labels) -> dict[str, ArraySource]:
    if isinstance(labels, Mapping):
        found: dict[str, ArraySource] = {}
        for name, image in labels.items():
            found[unused(name_in_url(name), found)] = as_labels(image)
        return found
    return _by_name(map(as_labels, labels if isinstance(labels, list | tuple) else [labels]))


def _pyramids(sources: Mapping[str, ArraySource], blocks: Blocks, place: str) -> dict[str, Pyramid]:
    return {name: Pyramid.of(source, blocks, place + name, _SPARE) for name, source in sources.items()}


class Server:
    """A server of images, made by `serve`.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> with il.serve(sample("probabilities")) as server:
    ...     server.url.endswith("/nuclei_Probabilities.zarr")
    True
    """

    def __init__(self, images: Sequence[ServedImage], host: str, port: int) -> None:
        self._images = {image.name: image for image in images}
        self._token = secrets.token_urlsafe(16)
        listener = listening(host, port)
        self._host = host
        self._address: str = listener.getsockname()[0]
        self._port: int = listener.getsockname()[1]
        self._names = names_of_server(host, self._address)
        if not self.is_local:
            warn(
                f"the images are served at {self._address}: whoever learns their addresses can read them from other "
                f"machines; with {option('host', '127.0.0.1')} and a tunnel of ssh only you can",
                NetworkWarning,
            )
        self._connections = Connections(listener, self._refusal, self._answer, self._failure)

    @property
    def url(self) -> str:
        """Address of the first image."""
        return self.urls[0]

    @property
    def urls(self) -> tuple[str, ...]:
        """Address of each image, as OME-Zarr 0.5."""
        return tuple(f"{self._root}/{name}.zarr" for name in self._images)

    @property
    def older_urls(self) -> tuple[str, ...]:
        """Address of each image as OME-Zarr 0.4, for programs that read Zarr v2 only."""
        return tuple(f"{self._root}/v2/{name}.zarr" for name in self._images)

    @property
    def images(self) -> tuple[ServedImage, ...]:
        """What is served, in the order of `urls`."""
        return tuple(self._images.values())

    @property
    def port(self) -> int:
        """The port that the server listens at."""
        return self._port

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return is_loopback(self._address)

    @property
    def _root(self) -> str:
        return f"http://{url_host(self._host, self._address)}:{self._port}/{self._token}"

    def close(self) -> None:
        """End all connections and stop serving."""
        self._connections.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {' '.join(self.urls)}>"

    def _repr_html_(self) -> str:
        return html_table("served as OME-Zarr until it is closed", zip(self._images, self.urls, strict=True))

    def _refusal(self, request: Request) -> Answer | None:
        """Refuse what no client of this server would ask for."""
        if (host := request.headers.get("host")) is None:
            return failure(HTTPStatus.BAD_REQUEST, "the request names no host")
        if not may_be_called(host, self._names, by_address=not self.is_local):
            return failure(HTTPStatus.MISDIRECTED_REQUEST, "this server is not called so: take the address it printed")
        if request.method not in _METHODS:
            return failure(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_METHODS)})
        if self._found(request) is None:
            return failure(HTTPStatus.NOT_FOUND)
        if request.method == "OPTIONS":
            # A browser asks whether a page of another server may send these.
            allowed = {"Methods": ", ".join(_METHODS), "Headers": "Range"}
            return Answer(HTTPStatus.NO_CONTENT, headers={f"Access-Control-Allow-{k}": v for k, v in allowed.items()})
        return None

    def _found(self, request: Request) -> tuple[ServedImage, Version, str] | None:
        """Return image, version and key at a path; None if there is no such image, or the secret is wrong."""
        root, _, rest = request.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(root.encode(), self._token.encode()):
            return None
        version: Version = "0.4" if rest.startswith("v2/") else "0.5"
        store, _, key = rest.removeprefix("v2/").partition("/")
        image = self._images.get(store.removesuffix(".zarr")) if store.endswith(".zarr") else None
        return None if image is None else (image, version, key)

    def _answer(self, request: Request) -> Answer:
        found = self._found(request)
        assert found is not None
        image, version, key = found
        return image.answer(version, key, request)

    def _failure(self, request: Request, error: BaseException) -> Answer:
        """Log why a chunk cannot be read, and say so to the client."""
        # Without the secret: logs are read by others.
        what = printable(request.path.partition("/")[2].partition("/")[2])
        if isinstance(error, IlastikLazyError):
            _log.error("%s: %s", what, error)
            status = HTTPStatus.CONFLICT if isinstance(error, SourceChangedError) else HTTPStatus.INTERNAL_SERVER_ERROR
            return failure(status, str(error))
        _log.error("%s: %s", what, type(error).__name__, exc_info=error)
        return failure(HTTPStatus.INTERNAL_SERVER_ERROR)
