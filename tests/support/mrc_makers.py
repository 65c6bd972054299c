"""MRC files, written byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}


def write_mrc(path: Path, data: np.ndarray[Any, Any], *, extended: bytes = b"", **fields: tuple[str, Any]) -> Path:
    """Write `data` as the standard says; `fields`, such as ``at_12=("i", 4)``, are put over its header."""
    order = ">" if data.dtype.str[0] == ">" else "<"
    header = bytearray(1024)
    sizes = data.shape[::-1]
    standard: dict[str, tuple[str, Any]] = {
        "at_0": ("3i", sizes),
        "at_12": ("i", MODES[data.dtype.str[1:]]),
        "at_28": ("3i", sizes),
        "at_40": ("3f", [length * step for length, step in zip(sizes, (1.5, 2.5, 8.25), strict=True)]),
        "at_52": ("3f", (90, 90, 90)),
        "at_64": ("3i", (1, 2, 3)),
        "at_88": ("2i", (1, len(extended))),
        "at_208": ("4s", b"MAP "),
        "at_212": ("4s", b"\x11\x11\0\0" if order == ">" else b"DD\0\0"),
    }
    for name, (kind, values) in (standard | fields).items():
        values = values if isinstance(values, list | tuple) else (values,)
        struct.pack_into(order + kind, header, int(name.removeprefix("at_")), *values)
    path.write_bytes(header + extended + data.tobytes())
    return path
