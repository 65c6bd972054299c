"""Convert any source to OME-Zarr: plan, write, verify."""

from __future__ import annotations

from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.report import ConversionReport

__all__ = ["ConversionReport", "to_ome_zarr"]
