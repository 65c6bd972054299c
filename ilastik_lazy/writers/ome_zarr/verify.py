"""`verify`: check that an image is unchanged since it was written, and equal to its source."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np
import xarray as xr

from ilastik_lazy.core.grid import Region, regions_of_blocks
from ilastik_lazy.core.parallel import in_order, threads_for, work_block
from ilastik_lazy.core.size_text import counted, human_bytes
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.window import without_single_channel
from ilastik_lazy.errors import ArgumentError, DestinationExistsError, VerificationError, remedy
from ilastik_lazy.formats.location import checked_path
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.showing.html import html_table
from ilastik_lazy.showing.progress import shows_progress
from ilastik_lazy.storage.stores import WORK, ReadableStore
from ilastik_lazy.tables.unique_ids import with_unique_ids
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit, checksum
from ilastik_lazy.writers.ome_zarr.commit.manifest import MANIFEST, read_manifest
from ilastik_lazy.writers.ome_zarr.commit.target import readable_store
from ilastik_lazy.writers.ome_zarr.conversion.shards import damage
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Shard
from ilastik_lazy.writers.opening import Opening, open_any, takes_opening
from ilastik_lazy.writers.progress import Counter, Progress

__all__ = ["Verification", "verify_image"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a comparison that found no difference."""

    target: str
    units: int
    """Shards whose length and checksum are those of the manifest; 0 if there is no manifest.

    Metadata and coordinates were compared, too.
    """

    nbytes: int
    """Bytes of these shards."""

    voxels: int
    """Voxels that are equal to those of the source; 0 if no source was named."""

    labels: Mapping[str, int] = field(default_factory=dict)
    """Shards of each label image below the image that are as they were written; 0 if it has no manifest."""

    def _repr_html_(self) -> str:
        return html_table(self.target, [("verified", self._result())])

    def __str__(self) -> str:
        return f"{self.target}\n  {self._result()}"

    def _result(self) -> str:
        parts = []
        if self.units:
            how = "is as it was" if self.units == 1 else "are as they were"
            number = "1 shard" if self.units == 1 else f"{self.units} shards"
            parts.append(f"{number} ({human_bytes(self.nbytes)}) {how} written")
        if self.voxels:
            parts.append(f"{counted(self.voxels, 'voxel')} {'is' if self.voxels == 1 else 'are'} equal to the source")
        if noted := [name for name, units in self.labels.items() if units]:
            names = f"{'label image' if len(noted) == 1 else 'label images'} {', '.join(noted)}"
            parts.append(f"{names} {'is as it was' if len(noted) == 1 else 'are as they were'} written")
        if others := [name for name, units in self.labels.items() if not units]:
            parts.append(f"not checked, since another program wrote it: {', '.join(others)}")
        return "; ".join(parts)


@takes_opening
@shows_progress("verifying", 2)
def verify_image(
    target: str | os.PathLike[str],
    source: AnySource | None = None,
    *,
    unique_ids: bool = False,
    workers: int | None = None,
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | bool | None = None,
    **opening: Unpack[Opening],
) -> Verification:
    """Compare an OME-Zarr with the checksums that its conversion noted, and level 0 with the source.

    The label images below it are compared with their checksums, too.
    Metadata that were edited since count as a difference, which is reported after all shards were compared.

    Parameters
    ----------
    target
        The image; any OME-Zarr if `source` is given, else one that `to_ome_zarr` wrote.
    source
        What the image was made from, in any order of axes: a path, a DataArray or an `ArraySource`.
    unique_ids
        Whether the image was written with ``unique_ids=True``.
    workers
        Threads; None takes all cores.
    progress
        True shows a progress bar; a function is called with the bytes that were compared and all of them, in the
        caller's thread.

    internal_path, axes, project, kind, voxel_size, storage_options, limits, trust, allow_external
        How the file at a path `source` is opened, see `open_dataarray`.

    Returns
    -------
    Verification
        How many shards (``units``), bytes and voxels were compared; its text is a summary.

    Raises
    ------
    VerificationError
        The message names the first shard, file of metadata or voxel that differs.
    ArgumentError
        There is no manifest, and no source to compare with.

    Examples
    --------
    >>> import tempfile, pathlib, ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "nuclei.zarr"
    >>> report = il.to_ome_zarr(sample("raw"), folder)
    >>> il.verify(folder, sample("raw")).voxels
    819200
    """
    assert not isinstance(progress, bool)
    place = checked_path(target, "the image to verify")
    store = readable_store(place, storage_options)
    try:
        names = store.names()
    except DestinationExistsError as error:
        raise ArgumentError(f"{place} is a file, not an OME-Zarr: name the folder first, then its source") from error
    if names is None:
        raise ArgumentError(f"{place} does not exist")
    manifest = read_manifest(store)
    below = [_Below(store, f"labels/{name}") for name in sorted(store.names("labels") or ()) if "." not in name]
    images = [(store, manifest), *((each, read_manifest(each)) for each in below if each.names())]
    for each, noted in images:
        if noted is None and WORK in (each.names() or ()):
            how = remedy("to_ome_zarr(..., resume=True)", "ilastik-lazy convert --resume")
            raise VerificationError(f"{each.place} is an unfinished conversion: continue it with {how}")
    if manifest is None and source is None:
        raise ArgumentError(f"{place} has no {MANIFEST}: name the source to compare it with")
    crew = threads_for(workers)
    expected = None if source is None else open_any(source, internal_path, storage_options, **opening)
    if unique_ids and expected is not None:
        expected, _ = with_unique_ids(expected, source if isinstance(source, xr.DataArray) else expected, None)
    rows = [[] if noted is None else _expected_units(each, noted) for each, noted in images]
    nbytes = [sum(unit.nbytes for _, unit in units) for units in rows]
    counter = Counter(sum(nbytes) + (0 if expected is None else expected.spec.nbytes), progress)
    for (each, _), units in zip(images, rows, strict=True):
        _compare_units(each, units, crew, counter.add)
    for each, noted in images:
        if noted is not None:
            _compare_documents(each, noted)
    voxels = 0 if expected is None else _compare_voxels(as_source(place, storage_options), expected, crew, counter.add)
    labels = {each.name: len(units) for (each, _), units in zip(images, rows, strict=True) if isinstance(each, _Below)}
    return Verification(place, len(rows[0]), nbytes[0], voxels, labels)


@dataclass(frozen=True, slots=True)
class _Below:
    """A folder in a store, as a `ReadableStore`."""

    store: ReadableStore
    folder: str

    @property
    def name(self) -> str:
        return posixpath.basename(self.folder)

    @property
    def place(self) -> str:
        return f"{self.store.place}/{self.folder}"

    def names(self, folder: str = "") -> list[str] | None:
        return self.store.names(posixpath.join(self.folder, folder).rstrip("/"))

    def get(self, key: str) -> bytes | None:
        return self.store.get(f"{self.folder}/{key}")

    def size(self, key: str) -> int | None:
        return self.store.size(f"{self.folder}/{key}")


def _compare_units(
    store: ReadableStore, expected: list[tuple[Shard, Unit]], workers: int, advance: Callable[[int], None]
) -> None:
    """Raise unless all units are sound."""

    def check(row: tuple[Shard, Unit]) -> int:
        shard, unit = row
        if found := damage(store, shard, unit):
            raise VerificationError(f"{store.place}: {found}")
        return unit.nbytes

    for _, size in in_order(check, expected, workers):
        advance(size)


def _compare_documents(store: ReadableStore, manifest: Mapping[str, Any]) -> None:
    """Compare metadata and coordinates."""
    noted = manifest.get("documents", {})
    # These names come from a file: none may lead out of the image.
    if not isinstance(noted, dict) or any({"", ".", ".."} & set(key.replace("\\", "/").split("/")) for key in noted):
        raise VerificationError(f"{store.place}: {MANIFEST} is damaged")
    for key, crc in noted.items():
        if (data := store.get(key)) is None:
            raise VerificationError(f"{store.place}: {key} is missing")
        if checksum([data]) != crc:
            raise VerificationError(
                f"{store.place}: {key} is not as it was written: it was edited, or is damaged; all shards are sound"
            )


def _expected_units(store: ReadableStore, manifest: Mapping[str, Any]) -> list[tuple[Shard, Unit]]:
    """Every shard in the plan of a manifest, and its length and checksum."""
    made = []
    try:
        for number, noted in enumerate(manifest["plan"]["levels"]):
            for shard in Level.from_settings(number, noted).all_shards():
                nbytes, crc = manifest["units"][shard.name]
                made.append((shard, Unit(shard.name, int(nbytes), int(crc))))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise VerificationError(f"{store.place}: {MANIFEST} is damaged") from error
    return made


def _compare_voxels(found: ArraySource, expected: ArraySource, workers: int, advance: Callable[[int], None]) -> int:
    """Raise unless all voxels are equal; returns their number."""
    if "c" not in found.spec.dims:
        expected = without_single_channel(expected)
    here, there = found.spec, expected.spec
    sizes = dict(zip(there.dims, there.shape, strict=True))
    if sorted(here.dims) != sorted(there.dims) or any(
        sizes[dim] != n for dim, n in zip(here.dims, here.shape, strict=True)
    ):
        raise VerificationError(
            f"{here.storage.location} has {_shown(here)}, and {there.storage.location} has {_shown(there)}: "
            "is it the source?"
        )
    order = [there.dims.index(dim) for dim in here.dims]
    back = [here.dims.index(dim) for dim in there.dims]

    def compare(region: Region) -> int:
        values = expected.read(region)
        other = found.read(tuple(region[i] for i in order)).transpose(back)
        same = _equal(values, other) | ((values != values) & (other != other))
        if not same.all():
            first = np.argwhere(~same)[0]
            where = ", ".join(
                f"{dim}={int(i) + part.start}" for dim, i, part in zip(there.dims, first, region, strict=True)
            )
            raise VerificationError(
                f"{here.storage.location} differs from {there.storage.location} at {where}: "
                f"{other[tuple(first)]} instead of {values[tuple(first)]}"
            )
        return values.nbytes

    regions = regions_of_blocks(there.shape, work_block(there))
    for _, size in in_order(compare, regions, workers):
        advance(size)
    return math.prod(there.shape)


def _equal(values: Array, other: Array) -> Array:
    """Where numbers are equal; numpy would round 64-bit integers to compare them with floats."""
    same: Array = values == other
    if {values.dtype.kind, other.dtype.kind} & {"f"} and values.dtype != other.dtype:
        whole, real = (values, other) if values.dtype.kind in "iu" else (other, values)
        if whole.dtype.kind in "iu":
            # 2**53 + 1 rounds to 2**53, which is another integer.
            with np.errstate(invalid="ignore"):
                same &= real.astype(whole.dtype) == whole
    return same


def _shown(spec: ArraySpec) -> str:
    return " ".join(f"{dim}={n}" for dim, n in zip(spec.dims, spec.shape, strict=True))
