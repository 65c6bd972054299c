"""Which image the brightness of each file's objects is measured in, and where its label image goes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ilastik_lazy.cli.batch.names import expanded, stem_of
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.formats.patterns import is_pattern

__all__ = ["label_targets", "paired"]


def paired(sources: Sequence[str], given: Sequence[str]) -> list[str | None]:
    """Return the intensity image of each source.

    One image belongs to one source.  Otherwise names decide: the image of ``control_1_Probabilities.h5`` is the one
    whose stem the source's begins with, ``control_1.tif``.  If no names match, and as many images as sources are
    named one by one, they are in the same order.

    Raises
    ------
    ArgumentError
        It is not clear which image belongs to a source.
    """
    if not given:
        return [None] * len(sources)
    images = [image for image in expanded(given) if image not in sources]
    if len(sources) == len(images) == 1:
        return list(images)
    found = [_images_of(source, images) for source in sources]
    if not any(found) and len(images) == len(sources) and not any(map(is_pattern, given)):
        return list(images)
    for source, fitting in zip(sources, found, strict=True):
        if len(fitting) > 1:
            raise ArgumentError(f"--intensity has {' and '.join(fitting[:2])}, and both fit {source}: name one of them")
        if not fitting:
            raise ArgumentError(
                f"no image of --intensity fits {source}: expected a name that "
                f"{stem_of(source)} begins with, or one image for each file, named in the same order"
            )
    return [fitting[0] for fitting in found]


def _images_of(source: str, images: Sequence[str]) -> list[str]:
    """The images with the longest stem that the source's begins with; those beside it, where folders differ."""
    stem = stem_of(source)
    fitting = [image for image in images if _begins(stem, stem_of(image))]
    longest = max((len(stem_of(image)) for image in fitting), default=0)
    fitting = [image for image in fitting if len(stem_of(image)) == longest]
    beside = [image for image in fitting if os.path.dirname(image) == os.path.dirname(source)]
    return beside or fitting


def _begins(stem: str, start: str) -> bool:
    # "img_1" is not the raw image of "img_10_Probabilities".
    return stem.startswith(start) and not stem[len(start) : len(start) + 1].isalnum()


def label_targets(sources: Sequence[str], target: str | None) -> list[str | None]:
    """Return where the label image of each source goes: to `target`, or for several sources into that folder.

    Raises
    ------
    ArgumentError
        Two sources have the same name.
    """
    if target is None or len(sources) == 1:
        return [target] * len(sources)
    stems = [stem_of(source) for source in sources]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise ArgumentError(f"two files are called {twice}, and so would be their label images in {target}: rename one")
    return [f"{target.rstrip('/')}/{stem}_objects.zarr" for stem in stems]
