"""Parse the type, byte order and fill value of the elements of a Zarr array."""

from __future__ import annotations

import math
import struct
from typing import Any, Literal

import numpy as np

from ilastik_lazy.errors import MetadataError, UnsafeFileError

__all__ = ["byte_order", "fill_bytes", "stored_type", "v2_type", "v3_type"]

_V3_TYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
# Bytes of a text of fixed length, such as the name of a channel.
_MOST_TEXT = 40_000
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def stored_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the bytes in a chunk: unsigned bytes for booleans."""
    # A byte other than 0 and 1 is not a valid boolean to numpy, and must be converted.
    return np.dtype("u1") if dtype.kind == "b" else dtype


def v2_type(text: object, kinds: str, where: str) -> np.dtype[Any]:
    """Return the dtype for a Zarr 2 name, which is numpy's, such as ``<f4``."""
    try:
        dtype = np.dtype(text) if isinstance(text, str) else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is not None and dtype.kind == "O":
        raise UnsafeFileError(f"{where} holds Python objects, which can run code when they are read: refused")
    if dtype is None or dtype.kind not in kinds or not 0 < dtype.itemsize <= (_MOST_TEXT if dtype.kind == "U" else 8):
        raise MetadataError(f"{where} is not an image: its elements are {ascii(text)[:60]}")
    if dtype.itemsize > 1 and str(text)[0] not in "<>":
        raise MetadataError(
            f"{where}: its elements are {ascii(text)[:60]}, without a byte order: expected < or > first"
        )
    return dtype


def v3_type(name: object, kinds: str, where: str) -> np.dtype[Any]:
    """Return the dtype for a Zarr 3 name, in the machine's byte order."""
    if "U" in kinds and isinstance(name, dict) and name.get("name") == "fixed_length_utf32":
        options = name.get("configuration")
        size = options.get("length_bytes") if isinstance(options, dict) else None
        if isinstance(size, int) and 4 <= size <= _MOST_TEXT:
            return np.dtype(f"U{size // 4}")
    if name not in _V3_TYPES:
        raise MetadataError(f"{where} is not an image: its elements are {ascii(name)[:60]}")
    return np.dtype(str(name))


def byte_order(endian: object, itemsize: int, where: str) -> Literal["<", ">"]:
    """Return numpy's sign of a byte order.  Assuming little-endian where it is unknown could turn 1 into 256."""
    if endian not in ("little", "big") and not (endian is None and itemsize == 1):
        raise MetadataError(f"{where}: its elements are {ascii(endian)[:20]}-endian, expected 'little' or 'big'")
    return ">" if endian == "big" else "<"


def fill_bytes(value: object, dtype: np.dtype[Any], where: str) -> bytes:
    """Return the fill value as one stored element."""
    if dtype.kind == "U":
        return np.array([value if isinstance(value, str) else ""]).astype(dtype).tobytes()
    number: Any = 0 if value is None else value
    if isinstance(value, str):
        number = _SPECIAL.get(value)
        if value.startswith("0x") and dtype.kind == "f" and len(value) == 2 + 2 * dtype.itemsize:
            try:
                return struct.pack(f"<{dtype.itemsize}s", bytes.fromhex(value[2:])[:: -1 if dtype.str[0] != ">" else 1])
            except ValueError:
                number = None
    try:
        if number is None or isinstance(number, list | dict):
            raise ValueError
        with np.errstate(over="ignore"):  # as zarr-python reads it: 1e300 as float32 is inf
            filled = np.array([number]).astype(dtype)
        if dtype.kind in "iu" and int(filled[0]) != number:
            raise ValueError
    except (ValueError, OverflowError, TypeError) as error:
        raise MetadataError(f"{where}: the fill value {ascii(value)[:40]} does not fit {dtype}") from error
    return filled.tobytes()
