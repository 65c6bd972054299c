"""Unpack values that are stored by the CF conventions with a factor, an offset, and marks for missing values.

https://cfconventions.org/cf-conventions/cf-conventions.html#packed-data; the results are those of xarray's
``mask_and_scale``, to the dtype and the last bit.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.errors import MetadataError

__all__ = ["PACKING_ATTRIBUTES", "Packing", "packing_from"]

Number = int | float
_MOST_MARKS = 64

PACKING_ATTRIBUTES = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned", "dtype")


@dataclass(frozen=True, slots=True)
class Packing:
    """How stored numbers become values: ``stored * scale + offset``, and NaN where one of `missing` is stored."""

    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    """Dtype of the values."""
    scale: Number | None = None
    offset: Number | None = None
    missing: tuple[Number, ...] = ()
    """In the numbers that are stored, after `sign`."""
    sign: str = ""
    """``true`` where signed numbers stand for unsigned ones, ``false`` for the opposite."""

    def unpacked(self, stored: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the values of an array of stored numbers: a new array."""
        if self.sign:
            stored = stored.astype(_resigned(self.stored, self.sign), copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            values = stored.astype(self.dtype)
            if self.missing:
                # Compared as values, as xarray does, so that both see the same ones.
                values[np.isin(values, np.array(self.missing).astype(values.dtype))] = np.nan
            if self.scale is not None:
                values *= self.scale
            if self.offset is not None:
                values += self.offset
        return values

    def attributes(self) -> dict[str, Any]:
        """Return the CF attributes of this packing, for xarray's ``encoding`` or the ``attrs`` of stored numbers."""
        found: dict[str, Any] = {}
        if self.dtype.kind == "b":
            return {"dtype": "bool"}
        # Their type decides that of the values.
        as_stored: Any = self.dtype.type if self.dtype.kind == "f" else lambda number: number
        if self.scale is not None:
            found["scale_factor"] = as_stored(self.scale)
        if self.offset is not None:
            found["add_offset"] = as_stored(self.offset)
        if self.missing:
            first = np.array(self.missing[0], _resigned(self.stored, self.sign))
            found["_FillValue"] = first.view(self.stored)[()]
        if self.sign:
            found["_Unsigned"] = self.sign
        return found

    def __str__(self) -> str:
        parts = [f"stored as {self.stored.name}{' without its sign' if self.sign == 'true' else ''}"]
        if self.scale is not None or self.offset is not None:
            factor = f" * {self.scale:g}" if self.scale is not None else ""
            parts.append(f"value = stored{factor}{f' {self.offset:+g}' if self.offset is not None else ''}")
        if self.missing:
            parts.append(f"NaN where {', '.join(f'{number:g}' for number in self.missing)} is stored")
        return "; ".join(parts)


def packing_from(attributes: Mapping[str, Any], stored: np.dtype[Any]) -> Packing | None:
    """Return the packing that attributes state, numbers in the types they are stored in; None for plain values.

    Raises
    ------
    MetadataError
        One of the attributes is not a number.
    """
    if not any(name in attributes for name in PACKING_ATTRIBUTES) or stored.kind not in "iuf":
        return None
    if attributes.get("dtype") == "bool" and stored == np.int8:
        return Packing(stored, np.dtype(bool))  # xarray's note of what it made bytes of
    sign = str(attributes.get("_Unsigned", ""))
    # As in xarray, any other spelling ("True") is ignored.
    sign = sign if (stored.kind, sign) in (("i", "true"), ("u", "false")) else ""
    numbers = _resigned(stored, sign)
    scale, offset = (_number(name, attributes[name]) if name in attributes else None for name in PACKING_ATTRIBUTES[:2])
    missing = dict.fromkeys(
        number
        for name in ("_FillValue", "missing_value")
        if name in attributes
        for number in _missing(name, attributes[name], stored, numbers)
    )
    if scale is None and offset is None and not missing:
        return Packing(stored, numbers, sign=sign) if sign else None
    dtype = _value_type(numbers, scale, offset)
    if missing and dtype.kind != "f":
        dtype = np.dtype(np.float64)  # whole numbers have no NaN
    return Packing(stored, dtype, _plain(scale), _plain(offset), tuple(missing), sign)


def _resigned(stored: np.dtype[Any], sign: str) -> np.dtype[Any]:
    return np.dtype(f"{'u' if sign == 'true' else 'i'}{stored.itemsize}") if sign else stored


def _plain(number: Any) -> Any:
    return number.item() if isinstance(number, np.generic) else number


def _number(name: str, value: object) -> Number | np.number[Any]:
    if isinstance(value, np.ndarray | list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(float(value)):
        return value
    raise MetadataError(f"{name} is {ascii(value)[:60]}, not a number")


def _missing(name: str, value: object, stored: np.dtype[Any], numbers: np.dtype[Any]) -> list[Number]:
    """Return the marks in one attribute, as elements of `numbers`; NaN marks itself."""
    if isinstance(value, str) and stored.kind == "f":
        value = _float_from(value)
    found: list[Number] = []
    marks: Any = value.reshape(-1) if isinstance(value, np.ndarray) else value if isinstance(value, list) else [value]
    if len(marks) > _MOST_MARKS:
        raise MetadataError(f"{name} has {len(marks):,} values")
    for each in marks:
        if isinstance(each, bool) or not isinstance(each, int | float | np.number):
            raise MetadataError(f"{name} is {ascii(value)[:60]}, not a number")
        if each != each:
            continue
        resigned = numbers != stored and isinstance(each, int | np.integer)
        found.append(_plain(np.array(int(each)).astype(stored).view(numbers)[()] if resigned else each))
    return found


def _float_from(text: str) -> float | str:
    """Parse a number as xarray writes it in Zarr 3, or as others do in JSON."""
    special: dict[str, float] = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    try:
        return special[text] if text in special else struct.unpack("<d", base64.b64decode(text, validate=True))[0]
    except (binascii.Error, struct.error, ValueError):
        return text


def _value_type(stored: np.dtype[Any], scale: Any, offset: Any) -> np.dtype[Any]:
    """Return the type of the values, by xarray's rule."""
    types = {np.dtype(type(number)) for number in (scale, offset) if number is not None}
    if not types:
        if stored.kind == "f":
            return stored
        return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)
    if scale is not None and offset is not None and types in ({np.dtype("f4")}, {np.dtype("f8")}):
        return np.dtype(np.float64) if stored.itemsize == 4 and stored.kind in "iu" else types.pop()
    # A large offset would take digits from values of single precision.
    return np.dtype(np.float64) if offset is not None else types.pop()
