"""xarray backend: ``xr.open_dataset(path, engine="ilastik")``.

xarray instantiates every engine at the first ``open_dataset``, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from xarray.backends import BackendEntrypoint

from ilastik_lazy.errors import ArgumentError, IlastikLazyError
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES
from ilastik_lazy.storage.allowed import Folders, checked_options
from ilastik_lazy.storage.files import opened, read_up_to

if TYPE_CHECKING:
    import xarray as xr

    from ilastik_lazy.core.options import Axes, Limits, Trust
    from ilastik_lazy.core.spec import Kind
    from ilastik_lazy.core.views.stated import VoxelSizes
    from ilastik_lazy.formats.patterns import StackOrder

__all__ = ["IlastikBackendEntrypoint"]

# ilastik creates its dataset with all attributes before it writes the first chunk.
_END_BYTES = 2**16


class IlastikBackendEntrypoint(BackendEntrypoint):
    """Open what ilastik writes as labelled lazy arrays.

    With netCDF4 or h5netcdf installed, xarray never asks another engine about ``.h5`` files:
    write ``engine="ilastik"``.
    """

    description = "Open images of ilastik (HDF5 exports and projects) as labelled lazy arrays"
    url = "https://pypi.org/project/ilastik_lazy"
    supports_groups = True
    open_dataset_parameters = (
        "filename_or_obj", "drop_variables", "internal_path", "axes", "project", "kind", "voxel_size",
        "squeeze", "stack_along", "stack_order", "storage_options", "limits", "trust", "allow_external",
        "mask_and_scale", "decode_times", "concat_characters", "decode_coords", "use_cftime", "decode_timedelta",
    )  # fmt: skip

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        internal_path: str | None = None,
        axes: Axes | None = None,
        project: str | os.PathLike[str] | None = None,
        kind: Kind | None = None,
        voxel_size: VoxelSizes | None = None,
        squeeze: bool = False,
        stack_along: str | None = None,
        stack_order: StackOrder = "natural",
        storage_options: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        trust: Trust = "local",
        allow_external: Folders = (),
        mask_and_scale: Any = None,
        decode_times: Any = None,
        concat_characters: Any = None,
        decode_coords: Any = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
    ) -> xr.Dataset:
        """Open every image of a file; the parameters are those of `ilastik_lazy.open_dataset`.

        `mask_and_scale` is the only decoder of CF conventions with an effect: False leaves packed numbers packed.
        """
        from ilastik_lazy.api.sources import sources_of
        from ilastik_lazy.core.views.unpacked import packed_again
        from ilastik_lazy.lazy.dataset import to_dataset
        from ilastik_lazy.project.stated import Stated

        path, options = _path(filename_or_obj), checked_options(limits, trust, allow_external, axes, kind)
        sources = sources_of(
            path, internal_path, Stated(kind, project, voxel_size, squeeze), drop_variables, storage_options, options,
            stack_along, stack_order,
        )  # fmt: skip
        for name, source in sources.items():
            wanted = mask_and_scale.get(name, True) if isinstance(mask_and_scale, Mapping) else mask_and_scale
            sources[name] = packed_again(source) if wanted is False else source
        return to_dataset(sources)

    def open_datatree(  # the keywords that a tree takes
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        axes: Axes | None = None,
        source_roots: Any = (),
        storage_options: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        trust: Trust = "local",
        allow_external: Folders = (),
    ) -> xr.DataTree:
        """Open every image of a file, or every level of a pyramid, as a tree (`ilastik_lazy.open_datatree`)."""
        from ilastik_lazy.api import open_datatree

        tree = open_datatree(
            _path(filename_or_obj), chunks=None, axes=axes, source_roots=source_roots,
            storage_options=storage_options, limits=limits, trust=trust, allow_external=allow_external,
        )  # fmt: skip
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return tree if not dropped else tree.map_over_datasets(lambda node: node.drop_vars(dropped, errors="ignore"))

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, xr.Dataset]:
        """Return the nodes of `open_datatree` by path, for ``xr.open_groups``."""
        tree = self.open_datatree(filename_or_obj, **options)
        return {node.path: node.to_dataset() for node in tree.subtree}

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether the file is one that ilastik wrote: HDF5 by its first bytes, with ``axistags`` inside."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        text = os.fspath(filename_or_obj)
        return "://" not in text and _looks_like_ilastik(text)


def _path(filename_or_obj: Any) -> str | os.PathLike[str]:
    if not isinstance(filename_or_obj, str | os.PathLike):
        raise ArgumentError(f"engine='ilastik' opens paths, not {type(filename_or_obj).__name__} objects")
    return filename_or_obj


def _looks_like_ilastik(path: str) -> bool:
    try:
        location = Location.parse(path)
        if location.suffix not in HDF5_SUFFIXES or not os.path.isfile(location.path):
            return False
        with opened(location.path) as fd:
            size = os.fstat(fd).st_size
            # A dataset that was exported again lies after the old one, so the end is searched as well.
            starts = 0, max(0, size - _END_BYTES)
            ends = [read_up_to(fd, _END_BYTES, start, location.path) for start in starts]
    except (IlastikLazyError, OSError, ValueError):
        return False
    if b"\x89HDF\r\n\x1a\n" not in ends[0]:
        return False
    return location.suffix == ".ilp" or any(b"axistags" in end for end in ends)
