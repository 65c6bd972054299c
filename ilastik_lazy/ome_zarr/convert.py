"""`to_ome_zarr`: from anything that can be opened to an OME-Zarr that everything opens."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from ilastik_lazy.blockwise import in_order, threads_for
from ilastik_lazy.computed import AnySource, as_source
from ilastik_lazy.errors import ArgumentError, VerificationError
from ilastik_lazy.lazy import attributes_of
from ilastik_lazy.ome_zarr.documents import metadata_documents
from ilastik_lazy.ome_zarr.downsample import Method
from ilastik_lazy.ome_zarr.layout import Index
from ilastik_lazy.ome_zarr.metadata import ome_attributes
from ilastik_lazy.ome_zarr.plan import Plan, Version, plan_pyramid
from ilastik_lazy.ome_zarr.target import LocalTarget
from ilastik_lazy.ome_zarr.writer import ConversionReport, Progress, write_levels
from ilastik_lazy.sizes import parse_size
from ilastik_lazy.spec import ArraySource, ArraySpec

__all__ = ["method_for", "plan_conversion", "to_ome_zarr", "verify_level0"]

_OTHER_FORMATS = (".h5", ".hdf5", ".ilp", ".n5", ".npy", ".tif", ".tiff", ".png", ".jpg", ".nc", ".csv")


def to_ome_zarr(
    source: AnySource,
    target: str | os.PathLike[str],
    *,
    version: Version = "0.5",
    memory: str | int | None = None,
    levels: int | None = None,
    downsample: Literal["auto", "mean", "mode", "nearest"] = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    verify: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Write an image as OME-Zarr: sharded Zarr v3, a pyramid, physical positions, class names.

    One pass over the source; memory does not grow with the image.  The folder becomes an image only
    when all of it is written, so a conversion that was stopped never passes for a result.

    Parameters
    ----------
    source
        Path of a file that `open_dataarray` opens, what it returned, any DataArray with dims out
        of ``t, z, y, x, c``, or an `ArraySource`.
    target
        Folder to make, by custom ``something.zarr``.
    version
        Of OME-Zarr: ``"0.4"`` lies on Zarr v2, without shards, for older programs and for ilastik itself.
    memory
        Most bytes to use beside the interpreter, such as ``"2GB"``.
    levels
        Number of resolutions, the full one included; None goes on until the image is 256 voxels long.
        An image of which nothing is left to halve has fewer.
    downsample
        How levels are made of each other: ``mean`` for images, ``mode`` or ``nearest`` for labels.
        ``auto`` takes the mean of floats, the mode where the file is known to hold labels, and
        ``nearest`` for other integers, since a mean would invent ids if they are some.
    workers
        Threads; None takes all cores.
    overwrite
        Replace what is at `target`, once the new image is whole.
    verify
        Read level 0 back and compare every voxel with the source before the image is published.
    progress
        Called with the bytes done and all bytes, in the caller's thread; to verify counts them again.

    Returns
    -------
    ConversionReport
        Levels, bytes, seconds; its text is a summary.

    Raises
    ------
    DestinationExistsError
        There is something at `target`.
    MemoryLimitError
        `memory` is too small.
    VerificationError
        What was written differs from the source.

    Examples
    --------
    >>> import tempfile, pathlib, zarr, ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "nuclei.zarr"
    >>> report = il.to_ome_zarr(sample("probabilities"), folder)
    >>> zarr.open_array(folder / "scale0/image", mode="r").shape    # c, z, y, x
    (2, 40, 128, 160)
    """
    start = time.perf_counter()
    place = os.fspath(target)
    array = as_source(source)
    _check_target(place, array.spec.storage.location)
    plan = plan_conversion(
        array.spec, version=version, memory=memory, levels=levels, downsample=downsample, workers=workers
    )
    with LocalTarget(place, overwrite=overwrite) as folder:
        documents = metadata_documents(plan, ome_attributes(plan, _name_of(place)), attributes_of(array.spec))
        written = write_levels(plan, array, folder, _with_verification(progress) if verify else progress)
        folder.write_arrays(documents)
        if verify:
            verify_level0(array, plan, folder.building, progress)
        folder.publish(documents)
    shapes = tuple(level.shape for level in plan.levels)
    dims = tuple(axis.name for axis in plan.levels[0].axes)
    return ConversionReport(
        folder.path, shapes, dims, plan.method, plan.codec, plan.spec.nbytes, written,
        time.perf_counter() - start, verify,
    )  # fmt: skip


def _check_target(target: str, source: str) -> None:
    if "://" in target:
        raise ArgumentError(f"{target} is a URL: this release writes to local folders")
    if (suffix := os.path.splitext(target.rstrip("/"))[1].lower()) in _OTHER_FORMATS:
        raise ArgumentError(f"{target} becomes a folder, and {suffix} is the name of another format: call it .zarr")
    inside = os.path.realpath(source) + os.sep
    if inside.startswith(os.path.realpath(target) + os.sep):
        raise ArgumentError(f"{target} holds the source {source}: choose another folder")


def method_for(spec: ArraySpec, wanted: str) -> Method:
    """How levels are made of each other where the caller leaves it open."""
    if wanted in ("mean", "mode", "nearest"):
        return wanted  # type: ignore[return-value]  # a literal by the test before
    if wanted != "auto":
        raise ArgumentError(f"downsample={wanted!r}: expected 'auto', 'mean', 'mode' or 'nearest'")
    if spec.is_label_image or spec.display_mode == "random-colortable" or spec.dtype.kind == "b":
        return "mode"
    if spec.dtype.kind == "f" or spec.kind == "probabilities":
        return "mean"
    return "nearest"


def plan_conversion(
    spec: ArraySpec,
    *,
    version: Version = "0.5",
    memory: str | int | None = None,
    levels: int | None = None,
    downsample: str = "auto",
    workers: int | None = None,
) -> Plan:
    """What `to_ome_zarr` would do; nothing is read or written."""
    budget = None if memory is None else parse_size(memory, "memory")
    return plan_pyramid(
        spec,
        version=version,
        levels=levels,
        method=method_for(spec, downsample),
        workers=threads_for(workers),
        memory=budget,
    )


def _with_verification(progress: Progress | None) -> Progress | None:
    """`progress` told that as many bytes as are converted will be verified."""
    return None if progress is None else lambda done, total: progress(done, 2 * total)


def verify_level0(source: ArraySource, plan: Plan, path: str, progress: Progress | None = None) -> None:
    """Compare level 0 at `path` with the source, shard by shard, as zarr-python reads it.

    Raises
    ------
    VerificationError
        With the position of the first voxel that differs.
    """
    level, done = plan.levels[0], plan.spec.nbytes
    array = zarr.open_array(os.path.join(path, level.path), mode="r")

    def compare(shard: Index) -> int:
        region = level.region(shard)
        expected = source.read(plan.source_region(region)).transpose(plan.permutation)
        found: np.ndarray[Any, Any] = np.asarray(array[region])
        # NaN is what it was, too: compare bits.
        if expected.astype(plan.dtype).tobytes() != found.tobytes():
            wrong = np.argwhere(~((expected == found) | ((expected != expected) & (found != found))))
            where = [int(i) + part.start for i, part in zip(wrong[0], region, strict=True)] if len(wrong) else "?"
            raise VerificationError(
                f"{path}: voxel {where} of {level.path} differs from {source.spec.storage.location}"
            )
        return expected.nbytes

    with contextlib.closing(in_order(compare, plan.shards(), plan.workers)) as results:
        for _, compared in results:
            done += compared
            if progress is not None:
                progress(done, 2 * plan.spec.nbytes)


def _name_of(target: str) -> str:
    name = Path(target).name
    return name.removesuffix(".zarr").removesuffix(".ome") or name
