"""How an image is read and how large its voxels are, in words: the same in ``info`` and in ``doctor``."""

from __future__ import annotations

from ilastik_lazy.core.spec import ArraySpec

__all__ = ["access_of", "is_read_directly", "voxel_size_of"]


def is_read_directly(spec: ArraySpec) -> bool:
    """Whether chunks are read in threads, past libraries with a lock; also for several datasets that are one image."""
    return spec.storage.access == "direct" or spec.storage.access.endswith(", direct")


def access_of(spec: ArraySpec) -> str:
    """Say by what the chunks are read, and in how many threads."""
    if not is_read_directly(spec):
        return f"through {spec.storage.access}: correct, but one thread at a time"
    if "gzip" not in spec.storage.compression:
        return "directly, in threads"
    from ilastik_lazy.storage.compression.inflating import inflater_name

    return f"directly, in threads ({inflater_name()})"


def voxel_size_of(spec: ArraySpec) -> str:
    """Say which steps and units the file states, and what of its statements was not understood."""
    space = [axis for axis in spec.axes if axis.name != "c"]
    known = [f"{axis.name} {axis.scale:g} {axis.unit}".rstrip() for axis in space if axis.scale is not None]
    parts = ["  ".join(known)] if known else []
    alone = [f"{axis.name} {axis.unit}" for axis in space if axis.scale is None and axis.unit]
    parts += [f"{'' if known else 'unknown, '}units without a size: {'  '.join(alone)}"] if alone else []
    if spec.remarks:
        parts.append(f"{'' if parts else 'unknown: '}not understood: {'; '.join(spec.remarks)}")
    return "; ".join(parts) or "unknown: the file states no voxel size"
