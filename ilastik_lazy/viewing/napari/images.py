"""The images in a file as napari shows them: the levels of a pyramid together, named by their place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from ilastik_lazy.api import open_dataarray, open_datatree
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError
from ilastik_lazy.lazy.dataset import variable_names
from ilastik_lazy.lazy.from_xarray import source_of
from ilastik_lazy.viewing.napari.beside import stem_of, with_names_beside

__all__ = ["Image", "images_at"]

# napari draws every layer anew at each step through the image.
_MOST_IMAGES = 64
_LEVEL = re.compile(r"scale\d+")
# What ilastik writes into HDF5 tables: parts of the image, without their positions.
_CUT_OUT = re.compile(r"images/(\d+/)?(raw|labeling)")


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a file."""

    name: str
    levels: tuple[ArraySource, ...]
    """The image itself, then its coarser levels."""
    is_alone: bool = True
    """Whether the file holds no other, so that the names of its classes are enough to name its layers."""
    is_visible: bool = True

    @property
    def spec(self) -> ArraySpec:
        """What is known of the finest level."""
        return self.levels[0].spec


def images_at(path: str | Sequence[str]) -> list[Image]:
    """Open all images of a file, or a stack of files as one image; only metadata are read.

    Raises
    ------
    DatasetNotFoundError
        There is none: it is a table of objects, or the images of a project are elsewhere.
    ArgumentError
        There are too many to be looked at together.
    """
    paths = [path] if isinstance(path, str) else list(path)
    name = stem_of(paths[0]).removesuffix(".ome")
    if len(paths) > 1:
        return [Image(name, (with_names_beside(source_of(open_dataarray(paths))),))]
    tree = open_datatree(paths[0])
    found = _pyramids_in(tree)
    if all(map(_CUT_OUT.fullmatch, found)):
        raise DatasetNotFoundError(f"{paths[0]} holds no image to show: {_reason(tree, bool(found))}")
    if len(found) > _MOST_IMAGES:
        raise ArgumentError(
            f"{paths[0]} holds {len(found)} images, such as {next(iter(found))}: open those that you want with "
            "ilastik_lazy.open_dataarray(path, internal_path), and pass them to viewer.add_image()"
        )
    if paths[0].lower().endswith(".ilp"):
        return _lanes(found)
    is_alone = len(found) == 1
    return [
        Image(name if is_alone else shown or name, tuple(map(with_names_beside, found[place])), is_alone=is_alone)
        for shown, place in variable_names(list(found)).items()
    ]


def _lanes(found: Mapping[str, Sequence[ArraySource]]) -> list[Image]:
    """Name the images of a project, and show the first lane: all lie at the same place, one over the other."""
    lanes = list(dict.fromkeys(place.partition("/")[0] for place in found))
    places = {place.partition("/")[2] if len(lanes) == 1 else place: place for place in found}
    return [
        Image(name, tuple(found[places[inside]]), is_alone=False, is_visible=places[inside].startswith(f"{lanes[0]}/"))
        for name, inside in variable_names(list(places)).items()
    ]


def _reason(tree: xr.DataTree, is_table: bool) -> str:
    if is_table:
        return "it is a table of objects; open the image of their identities beside it, which shows the table's columns"
    problems = [str(node.attrs["problem"]) for node in tree.subtree if "problem" in node.attrs]
    return f"{problems[0]}; or open the image itself" if problems else "no image was added to this project in ilastik"


def _pyramids_in(tree: xr.DataTree) -> dict[str, list[ArraySource]]:
    """Return the levels of each image, by the place of the image in the file."""
    found: dict[str, list[ArraySource]] = {}
    for node in tree.subtree:
        for array in node.data_vars.values():
            source, place = source_of(array), node.path.strip("/")
            above, _, last = place.rpartition("/")
            if not _LEVEL.fullmatch(last):
                found[place] = [source]
            elif above in found and _is_coarser(source.spec, found[above][-1].spec):
                found[above].append(source)
            else:
                found[place if above in found else above] = [source]
    return found


def _is_coarser(spec: ArraySpec, finer: ArraySpec) -> bool:
    lengths = zip(spec.shape, finer.shape, strict=True) if spec.dims == finer.dims else [(1, 0)]
    return all(length <= other for length, other in lengths)
