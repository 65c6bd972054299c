"""One served image: what lies at which key of its OME-Zarr."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from ilastik_lazy.core.display import shows_labels
from ilastik_lazy.core.spec import COMPUTED
from ilastik_lazy.serving.contrast import measured_contrast
from ilastik_lazy.serving.documents import documents_of
from ilastik_lazy.serving.http import Answer, Request, accepts, answer_range, failure
from ilastik_lazy.serving.pyramid import Pyramid
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Version
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["ServedImage"]

_NUMBER = "(?:0|[1-9][0-9]{0,9})"
_KEY = re.compile(rf"(?:labels/([^/]+)/)?scale({_NUMBER})/image/(c/)?({_NUMBER}(?:/{_NUMBER}){{1,4}})")
_JSON = {"Content-Type": "application/json"}
_BYTES = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}


@dataclass(frozen=True, eq=False)
class ServedImage:
    """An image, its label images, and their metadata in both versions of OME-Zarr."""

    name: str
    pyramid: Pyramid
    labels: Mapping[str, Pyramid]
    others: Mapping[str, bytes] = field(default_factory=dict)
    """JSON documents of a viewer, by key."""

    def documents(self, version: Version) -> Mapping[str, bytes]:
        """Return metadata and coordinates by key."""
        return self._newer if version == "0.5" else self._older

    @functools.cached_property
    def _newer(self) -> dict[str, bytes]:
        return self._made("0.5")

    @functools.cached_property
    def _older(self) -> dict[str, bytes]:
        return self._made("0.4")

    def _made(self, version: Version) -> dict[str, bytes]:
        labels = {name: pyramid.plan for name, pyramid in self.labels.items()}
        stored = [name for name, pyramid in (("", self.pyramid), *self.labels.items()) if pyramid.coarser]
        return {**documents_of(self.pyramid.plan, self.name, labels, version, self._measured, stored), **self.others}

    @functools.cached_property
    def _measured(self) -> list[tuple[float, float]] | None:
        """Range of values of the channels, where the file notes none; none for label images and computations."""
        spec = self.pyramid.plan.spec
        # A computation may take any time.
        if shows_labels(spec) or spec.storage.access == COMPUTED:
            return None
        return measured_contrast(self.pyramid.source)

    def answer(self, version: Version, key: str, request: Request) -> Answer:
        """Return what lies at `key`.

        Raises
        ------
        IlastikLazyError
            It cannot be read.
        """
        wanted = request.headers.get("range", "") if request.method == "GET" else ""
        # Chunks first: for the documents, the contrast may have to be measured.
        if (found := self._chunk_at(version, key)) is None:
            if (document := self.documents(version).get(key)) is None:
                return failure(HTTPStatus.NOT_FOUND)
            is_json = key in self.others or key.rsplit("/", 1)[-1].startswith((".z", "zarr.json"))
            return answer_range(document, wanted, _JSON if is_json else _BYTES)
        pyramid, level, index = found
        if request.method == "HEAD":
            return Answer(HTTPStatus.OK, headers=_BYTES, length=pyramid.nbytes(level))
        # HTTP's "deflate" is a zlib stream, as HDF5's gzip filter writes it: the client decodes it as such, and what it
        # gets are the bytes of a chunk without compression.  Zarr's gzip would need a checksum of the decoded bytes.
        coded = _BYTES | {"Vary": "Accept-Encoding"}
        if not wanted and accepts(request.headers, "deflate"):
            stream = pyramid.stored(level, index)
            if stream is not None:
                return Answer(HTTPStatus.OK, stream, coded | {"Content-Encoding": "deflate"})
        return answer_range(pyramid.chunk(level, index), wanted, coded)

    def _chunk_at(self, version: Version, key: str) -> tuple[Pyramid, Level, Index] | None:
        """Return the chunk at a key; None if it is not the key of a chunk of an array."""
        if (found := _KEY.fullmatch(key)) is None or (found[3] is None) != (version == "0.4"):
            return None
        pyramid = self.pyramid if found[1] is None else self.labels.get(found[1])
        if pyramid is None or int(found[2]) >= len(pyramid.plan.levels):
            return None
        level = pyramid.plan.levels[int(found[2])]
        index = tuple(map(int, found[4].split("/")))
        inside = len(index) == len(level.grid) and all(i < n for i, n in zip(index, level.grid, strict=True))
        return (pyramid, level, index) if inside else None
