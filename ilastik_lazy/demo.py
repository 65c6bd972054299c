"""The embedded sample: a small volume of synthetic nuclei, and what ilastik made of it.

Voxels of (0.8, 0.25, 0.25) micrometer; a project with the classes ``nucleus`` and ``background``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["sample"]

_FILES = {
    "raw": "nuclei.h5",
    "project": "nuclei.ilp",
    "probabilities": "nuclei_Probabilities.h5",
    "segmentation": "nuclei_Simple_Segmentation.h5",
}


def sample(name: Literal["raw", "project", "probabilities", "segmentation"]) -> str:
    """Path of a file of the embedded sample.

    >>> from pathlib import Path
    >>> Path(sample("probabilities")).name
    'nuclei_Probabilities.h5'
    """
    return str(Path(__file__).with_name("data") / _FILES[name])
