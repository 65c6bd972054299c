"""Small tables of objects, as ilastik writes them in HDF5 and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

# What pandas makes of text: "str" from pandas 3 on.
TEXT = str(pd.Series(["a"]).dtype)

ROWS = np.array(
    [
        (0, 0, 1, "0", "große Zelle", 0.25, 7.0),
        (1, 0, 2, "Kern", "Kern", 1.0, 3.0),
        (2, 4, 1, "0", "Kern", 0.5, np.nan),
    ],
    dtype=object,
)

COLUMNS = ["object_id", "timestep", "labelimage_oid", "User Label", "Predicted Class", "Probability of Kern", "Size"]


def written(rows: np.ndarray[Any, Any] = ROWS, **dtypes: str) -> np.ndarray[Any, Any]:
    """The rows as ilastik stores them; `dtypes` replace those of columns."""
    kinds = dict(zip(COLUMNS, ["<i8"] * 3 + ["S4", "S12", "<f4", "<f8"], strict=True)) | dtypes
    texts = [[v.encode() if isinstance(v, str) else v for v in row] for row in rows]
    return np.array([tuple(row) for row in texts], dtype=list(kinds.items()))


def write_table(path: Path, data: np.ndarray[Any, Any], name: str = "table", mode: str = "w", **options: Any) -> Path:
    libver = options.pop("libver", None)
    with h5py.File(path, mode, libver=libver) as file:
        file.create_dataset(name, data=data, **options)
    return path


HEADER = "object_id,timestep,labelimage_oid,User Label,Predicted Class,Probability of 1,Probability of 02,Size"

LINES = ["0,0,1,0,02,0.25,0.75,8.1", "1,0,2,1,1,1.0,0.0,nan", "2,1,1,0,NA,0.5,0.5,inf"]

SHORT = "object_id,timestep,labelimage_oid,Size"


def csv_file(folder: Path, lines: list[str], header: str = HEADER, encoding: str = "utf-8", end: str = "\n") -> Path:
    path = folder / "t.csv"
    path.write_bytes("".join(line + end for line in [header, *lines]).encode(encoding))
    return path
