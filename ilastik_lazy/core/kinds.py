"""What the numbers of an export mean, where its file name says so.

ilastik writes no such thing into the file; its default name is ``{nickname}_{result_type}``, where
the result type is the export source's display name (``ilastik/utility/slot_name_enum.py``).
"""

from __future__ import annotations

import re
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.core.spec import COMPUTED, ArraySource, Kind
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.whole_numbers import whole_numbers
from ilastik_lazy.errors import ArgumentError, option

__all__ = [
    "WHOLE_NUMBERS",
    "kind_from_name",
    "kind_of_role",
    "name_of_ids",
    "nickname_of",
    "with_classes_of_name",
    "with_kind",
]

# The longest name comes first: "Object Probabilities" ends like "Probabilities".
_RESULT_TYPES: tuple[tuple[str, Kind], ...] = (
    ("blockwise object predictions", "object predictions"),
    ("object predictions", "object predictions"),
    ("blockwise object probabilities", "object probabilities"),
    ("object probabilities", "object probabilities"),
    ("object identities", "object identities"),
    ("simple segmentation", "segmentation"),
    ("multicut segmentation", "segmentation"),
    ("tracking result", "tracking"),
    ("merger result", "tracking"),
    ("manual tracking", "tracking"),
    ("probabilities all stages", "probabilities"),  # of each stage; they sum to the number of stages
    ("pixel probabilities", "probabilities"),
    ("probabilities", "probabilities"),
    ("uncertainty", "uncertainty"),
    ("features", "features"),
    ("labels", "labels"),
)
WHOLE_NUMBERS = ("segmentation", "labels", "object identities", "object predictions", "tracking")
# Probabilities and uncertainty may be exported as integers of 8 or 16 bits, whose ``drange`` stands for 0 to 1.
_REAL_NUMBERS = ("features", "density")

# Columns of ilastik's input tables, of all its workflows.
_ROLES: dict[str, Kind] = {
    "Raw Data": "intensity",
    "Prediction Maps": "probabilities",
    "Probabilities": "probabilities",
    "Segmentation Image": "segmentation",
    "Prediction Mask": "segmentation",
    "Label Image": "object identities",
    "Atlas": "object identities",
    "Superpixels": "object identities",
    "Groundtruth": "object identities",
}
_IDS = re.compile(
    r"labels?|masks?|seg(ment(s|ed|ation|ations)?)?|ids?|instances?|objects?|class(es)?|annotations?|"
    r"ground ?truth|gt|watersheds?|super(pixels|voxels)|tracks|tracking"
)

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


def kind_from_name(path: str, dtype: np.dtype[Any], channels: int) -> Kind | None:
    """Return the kind of the export at `path`; None where its name is not one that ilastik gives by default.

    Parameters
    ----------
    path
        Path of the file.
    dtype
        Dtype of the dataset; a name that contradicts it is ignored.
    channels
        Length of the ``c`` axis.  A one-channel ``_Probabilities`` may be a density map of
        ilastik's counting workflow, so it is left open: the project states it.

    Examples
    --------
    >>> kind_from_name("brain_Simple Segmentation.h5", np.dtype("uint8"), 1)
    'segmentation'
    """
    stem = _stem_of(path)
    for name, kind in _RESULT_TYPES:
        if stem == name or stem.endswith(" " + name):
            if (kind in WHOLE_NUMBERS) != (dtype.kind in "ui") and not (
                kind == "probabilities" and dtype in (np.uint8, np.uint16)
            ):
                return None
            # ilastik's labels are drawn in at most 255 classes; ids of objects have this name in other programs.
            if kind == "labels" and dtype.itemsize > 1:
                return None
            return None if kind == "probabilities" and channels < 2 else kind
    return None


def _stem_of(path: str) -> str:
    stem = re.sub(r"[ _-]+", " ", Path(path).stem.lower().removesuffix(".ome"))
    return re.sub(r" stage \d+$", "", stem)


def nickname_of(path: str) -> str:
    """Return what precedes the result type in the name of the export at `path`: ilastik's name of the image.

    It is in lower case, with spaces for ``_`` and ``-``, and empty where the name is not one that ilastik gives.

    Examples
    --------
    >>> nickname_of("Brain_1_Simple Segmentation.h5"), nickname_of("brain.h5")
    ('brain 1', '')
    """
    stem = _stem_of(path)
    return next((stem[: -len(name)].rstrip() for name, _ in _RESULT_TYPES if f" {stem}".endswith(f" {name}")), "")


def kind_of_role(role: str, dtype: np.dtype[Any]) -> Kind | None:
    """Return what the role of a project's input says about its numbers; None if nothing, or if they contradict it.

    Examples
    --------
    >>> kind_of_role("Raw Data", np.dtype("uint8"))
    'intensity'
    """
    kind = _ROLES.get(role)
    if kind in WHOLE_NUMBERS and dtype.kind not in "iu":
        return None
    return None if kind == "probabilities" and dtype.kind != "f" and dtype != np.uint8 else kind


def name_of_ids(*names: str) -> str:
    """Return the first word in `names` that people use for classes and ids; empty where there is none.

    Examples
    --------
    >>> name_of_ids("img_01_cp_masks.tif", "exported_data"), name_of_ids("nucleiLabels.h5"), name_of_ids("brain.h5")
    ('masks', 'labels', '')
    """
    # "LabelImage" has two words, "GTMask" too, "IDs" one; "SEG" and "groundTruth" are words as they are.
    parts = (part for name in names for part in (name, re.sub(_CAMEL, " ", name)))
    words = (word for part in parts for word in re.split(r"[^a-z]+", part.lower()))
    return next((word for word in words if _IDS.fullmatch(word)), "")


def with_kind(source: ArraySource, kind: Kind) -> ArraySource:
    """Return the same source with the kind that the caller states.

    Classes and ids that are stored as floating-point numbers become uint32, and must be whole where they are read.

    Raises
    ------
    ArgumentError
        There is no such kind, or the numbers cannot mean that.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> il.open_dataarray(sample("probabilities"), kind="features").attrs["ilastik_kind"]
    'features'
    """
    spec = source.spec
    if kind not in typing.get_args(Kind):
        raise ArgumentError(f"{option('kind', kind)}: expected one of {', '.join(typing.get_args(Kind))}")
    if kind in WHOLE_NUMBERS and spec.kind not in WHOLE_NUMBERS and spec.channel_names:
        # They are names of channels, and would be taken for those of values.
        spec = replace(spec, channel_names=(), channel_colors=())
        source = DescribedSource(spec, source)
    if kind in WHOLE_NUMBERS and spec.dtype.kind == "f":
        return whole_numbers(source, kind)
    if kind in WHOLE_NUMBERS and spec.dtype.kind not in "iu":
        raise ArgumentError(
            f"{spec.storage.location} holds {spec.dtype}, and the kind {kind!r} needs whole numbers: "
            f"open it without {option('kind')}"
        )
    if kind in _REAL_NUMBERS and spec.dtype.kind != "f":
        raise ArgumentError(
            f"{spec.storage.location} holds {spec.dtype}, and the kind {kind!r} needs floating-point numbers"
        )
    return source if spec.kind == kind else DescribedSource(replace(spec, kind=kind), source)


def with_classes_of_name(source: ArraySource) -> ArraySource:
    """Return the classes of a segmentation that is stored as floating-point numbers, if its file name states the kind.

    ilastik exports a segmentation as float32 if its user chose that; other sources are returned as they are.
    """
    spec = source.spec
    if spec.kind is not None or spec.dtype.kind != "f" or spec.storage.access == COMPUTED:
        return source
    is_segmentation = kind_from_name(spec.storage.path, np.dtype("uint8"), 1) == "segmentation"
    return with_kind(source, "segmentation") if is_segmentation else source
