"""File name extensions of the formats, in lower case; all other modules take them from here."""

from __future__ import annotations

import re

__all__ = [
    "CONTAINER", "HDF5_SUFFIXES", "IMAGE_SUFFIXES", "MRC_SUFFIXES", "PICTURE_SUFFIXES", "TABLE_SUFFIXES",
    "TIFF_SUFFIXES", "XML_SUFFIXES", "ZIP_SUFFIXES",
]  # fmt: skip

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".ilp", ".ims")
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
MRC_SUFFIXES = (".mrc", ".mrcs", ".map")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pnm", ".ppm", ".pgm", ".pbm", ".ras")
XML_SUFFIXES = (".xml",)
ZIP_SUFFIXES = (".ozx", ".zip")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
IMAGE_SUFFIXES = (*HDF5_SUFFIXES, ".n5", *TIFF_SUFFIXES, ".npy", ".npz", *MRC_SUFFIXES, *PICTURE_SUFFIXES)
"""Suffixes of all formats but Zarr, and but XML, which has many other uses."""

CONTAINER = (
    "(?:" + "|".join(map(re.escape, (*HDF5_SUFFIXES, ".n5", ".zarr", *ZIP_SUFFIXES, *XML_SUFFIXES, ".mat"))) + ")"
)
"""Pattern of the suffixes of files and folders that have paths inside; to be compiled with `re.IGNORECASE`."""
