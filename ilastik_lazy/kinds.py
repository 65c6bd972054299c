"""What the numbers of an export mean, where its file name tells.

ilastik writes no such thing into the file; its default name is ``{nickname}_{result_type}``, where
the result type is the export source's display name (``ilastik/utility/slot_name_enum.py``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.spec import Kind

__all__ = ["WHOLE_NUMBERS", "kind_from_name"]

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


def kind_from_name(path: str, dtype: np.dtype[Any], channels: int) -> Kind | None:
    """Kind of the export at `path`; None where its name is not one that ilastik gives by default.

    Parameters
    ----------
    path
        Path of the file.
    dtype
        Of the dataset; a name that contradicts it is not believed.
    channels
        Length of the ``c`` axis.  A one-channel ``_Probabilities`` may be a density map of
        ilastik's counting workflow, so it is left open.

    Examples
    --------
    >>> kind_from_name("brain_Simple Segmentation.h5", np.dtype("uint8"), 1)
    'segmentation'
    """
    stem = re.sub(r"[ _-]+", " ", Path(path).stem.lower())
    stem = re.sub(r" stage \d+$", "", stem)
    for name, kind in _RESULT_TYPES:
        if stem == name or stem.endswith(" " + name):
            if (kind in WHOLE_NUMBERS) != (dtype.kind in "ui") and not (kind == "probabilities" and dtype == np.uint8):
                return None
            return None if kind == "probabilities" and channels < 2 else kind
    return None
