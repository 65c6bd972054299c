"""ilastik's images as labelled lazy arrays.

Examples
--------
>>> import ilastik_lazy as il
>>> from ilastik_lazy.demo import sample
>>> prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
>>> prob.sizes["z"], prob.coords["z"].attrs["units"]
(40, 'micrometer')
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ilastik_lazy import doctor as doctor
    from ilastik_lazy import errors as errors
    from ilastik_lazy import reductions as reductions
    from ilastik_lazy.api import open_dataarray as open_dataarray
    from ilastik_lazy.api import open_dataset as open_dataset
    from ilastik_lazy.api import open_datatree as open_datatree
    from ilastik_lazy.core.options import Limits as Limits
    from ilastik_lazy.listing.info import info as info
    from ilastik_lazy.reductions.classes import measure_classes as measure_classes
    from ilastik_lazy.reductions.classify import classify as classify
    from ilastik_lazy.reductions.objects import label_objects as label_objects
    from ilastik_lazy.reductions.objects import measure_objects as measure_objects
    from ilastik_lazy.reductions.select_classes import select_classes as select_classes
    from ilastik_lazy.serving import serve as serve
    from ilastik_lazy.tables import open_table as open_table
    from ilastik_lazy.tables.paint import paint as paint
    from ilastik_lazy.tables.unique_ids import unique_ids as unique_ids
    from ilastik_lazy.viewing.neuroglancer import view as view
    from ilastik_lazy.viewing.plot import plot as plot
    from ilastik_lazy.writers.ilastik import to_ilastik as to_ilastik
    from ilastik_lazy.writers.ome_zarr import to_ome_zarr as to_ome_zarr
    from ilastik_lazy.writers.ome_zarr.verify import verify_image as verify
    from ilastik_lazy.writers.tiff import to_tiff as to_tiff

__version__ = "0.1.0"

_MODULES = ("doctor", "errors", "reductions")
_HOME = {
    "Limits": "ilastik_lazy.core.options",
    "label_objects": "ilastik_lazy.reductions.objects",
    "measure_objects": "ilastik_lazy.reductions.objects",
    "classify": "ilastik_lazy.reductions.classify",
    "measure_classes": "ilastik_lazy.reductions.classes",
    "info": "ilastik_lazy.listing.info",
    "open_dataarray": "ilastik_lazy.api",
    "open_dataset": "ilastik_lazy.api",
    "open_datatree": "ilastik_lazy.api",
    "open_table": "ilastik_lazy.tables",
    "paint": "ilastik_lazy.tables.paint",
    "plot": "ilastik_lazy.viewing.plot",
    "select_classes": "ilastik_lazy.reductions.select_classes",
    "serve": "ilastik_lazy.serving",
    "to_ilastik": "ilastik_lazy.writers.ilastik",
    "to_ome_zarr": "ilastik_lazy.writers.ome_zarr",
    "to_tiff": "ilastik_lazy.writers.tiff",
    "unique_ids": "ilastik_lazy.tables.unique_ids",
    "verify": "ilastik_lazy.writers.ome_zarr.verify",
    "view": "ilastik_lazy.viewing.neuroglancer",
}
__all__ = [
    "Limits",
    "__version__",
    "classify",
    "doctor",
    "errors",
    "info",
    "label_objects",
    "measure_classes",
    "measure_objects",
    "open_dataarray",
    "open_dataset",
    "open_datatree",
    "open_table",
    "paint",
    "plot",
    "reductions",
    "select_classes",
    "serve",
    "to_ilastik",
    "to_ome_zarr",
    "to_tiff",
    "unique_ids",
    "verify",
    "view",
]


# PEP 562: xarray, dask and zarr take a second to import, so they wait for the first use.
def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"ilastik_lazy.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), "verify_image" if name == "verify" else name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
