"""Values as JSON and bytes, and back again, checked against the types that they should have.

For what another process found out about a file: nothing it says is believed before it has the
declared type.  Frozen values, tuples, numbers, texts and numpy arrays; no code, no references.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["PlainError", "packed", "unpacked"]

_ARRAY, _CLASS = "\0array", "\0class"


class PlainError(Exception):
    """The value is not of the type that was declared."""


def packed(value: object) -> tuple[bytes, list[bytes]]:
    """JSON of `value`, and the bytes of the arrays in it, in their order."""
    arrays: list[bytes] = []
    text = json.dumps(_plain(value, arrays), ensure_ascii=True).encode()
    return text, arrays


def _plain(value: Any, arrays: list[bytes]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        arrays.append(array.tobytes())
        return {_ARRAY: [_plain_dtype(array.dtype), list(np.shape(value)), len(arrays[-1])]}
    if isinstance(value, np.dtype):
        return _plain_dtype(value)
    if isinstance(value, slice):
        return [value.start, value.stop]
    if dataclasses.is_dataclass(value):
        found = {field.name: _plain(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
        return found | {_CLASS: type(value).__name__}
    if isinstance(value, Mapping):
        return {str(name): _plain(member, arrays) for name, member in value.items()}
    return [_plain(member, arrays) for member in value]


def _plain_dtype(dtype: np.dtype[Any]) -> Any:
    if dtype.names is None:
        return dtype.str
    fields = [(name, dtype.fields[name][0]) for name in dtype.names if dtype.fields is not None]
    return [[name, field.base.str, list(field.shape)] for name, field in fields]


def unpacked(expected: Any, text: bytes, data: memoryview) -> Any:
    """The value of type `expected` that `packed` made `text` and the bytes `data` of.

    Raises
    ------
    PlainError
        There is anything else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlainError("no JSON") from error
    reading = _Reading(data)
    try:
        found = reading.value(expected, value)
    except RecursionError as error:
        raise PlainError("too deep") from error
    if reading.at != len(data):
        raise PlainError(f"{len(data) - reading.at} bytes too many")
    return found


class _Reading:
    """Goes through a value once, in the order in which its arrays were packed."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def value(self, expected: Any, value: Any) -> Any:
        origin, arguments = typing.get_origin(expected), typing.get_args(expected)
        if origin in (typing.Union, types.UnionType):
            return self._one_of(arguments, value)
        if origin is typing.Literal:
            return self._require(value in arguments, value, expected)
        if origin is np.ndarray:
            return self._array(value)
        if origin is np.dtype:
            return _dtype(value)
        if origin is tuple and arguments[-1:] != (...,):
            members = self._require(isinstance(value, list) and len(value) == len(arguments), value, expected)
            return tuple(self.value(kind, member) for kind, member in zip(arguments, members, strict=True))
        if origin in (tuple, list, Sequence):
            self._require(isinstance(value, list), value, expected)
            made = (self.value(arguments[0], member) for member in value)
            return list(made) if origin is list else tuple(made)
        if origin in (dict, Mapping):
            self._require(isinstance(value, dict), value, expected)
            return {name: self.value(arguments[1], member) for name, member in value.items()}
        if dataclasses.is_dataclass(expected) and isinstance(expected, type):
            return self._dataclass(expected, value)
        return self._single(expected, value)

    def _single(self, expected: Any, value: Any) -> Any:
        if expected is Any:
            return self._array(value) if isinstance(value, dict) and _ARRAY in value else value
        if expected is slice:
            self._require(isinstance(value, list) and len(value) == 2, value, expected)
            return slice(self._single(int, value[0]), self._single(int, value[1]))
        if expected is float and type(value) is int:
            return value
        known = expected in (bool, int, float, str) or expected is type(None)
        return self._require(known and type(value) is expected, value, expected)

    def _one_of(self, kinds: tuple[Any, ...], value: Any) -> Any:
        if value is None and type(None) in kinds:
            return None
        if isinstance(value, dict) and _CLASS in value:
            kinds = tuple(kind for kind in kinds if getattr(kind, "__name__", "") == value[_CLASS])
        before = self.at
        for kind in kinds:
            try:
                return self.value(kind, value)
            except PlainError:
                self.at = before
        raise PlainError(f"{ascii(value)[:60]} is not one of {kinds}")

    def _dataclass(self, expected: type[Any], value: Any) -> Any:
        self._require(isinstance(value, dict) and value.get(_CLASS) == expected.__name__, value, expected)
        hints = typing.get_type_hints(expected)
        names = [field.name for field in dataclasses.fields(expected)]
        self._require(set(value) == {*names, _CLASS}, value, expected)
        return expected(**{name: self.value(hints[name], value[name]) for name in names})

    def _array(self, value: Any) -> np.ndarray[Any, Any]:
        if not (isinstance(value, dict) and isinstance(value.get(_ARRAY), list) and len(value[_ARRAY]) == 3):
            raise PlainError(f"{ascii(value)[:60]} is not an array")
        dtype, shape, size = value[_ARRAY]
        dtype, shape = _dtype(dtype), self.value(tuple[int, ...], shape)
        if any(length < 0 for length in shape) or size != dtype.itemsize * math.prod(shape):
            raise PlainError(f"an array of shape {shape} and {size} bytes")
        if size > len(self.data) - self.at:
            raise PlainError("an array that ends early")
        part = self.data[self.at : self.at + size]
        self.at += size
        return np.frombuffer(part, dtype).reshape(shape)

    @staticmethod
    def _require(fits: bool, value: Any, expected: Any) -> Any:
        if not fits:
            raise PlainError(f"{ascii(value)[:60]} instead of {expected}")
        return value


def _dtype(value: Any) -> np.dtype[Any]:
    """Numbers and texts of fixed length, or a table of them: never Python objects."""
    if isinstance(value, list):
        fields = [field for field in value if isinstance(field, list) and len(field) == 3]
        if len(fields) < len(value):
            raise PlainError("a table with strange columns")
        described = [(str(name), _dtype(kind), tuple(shape)) for name, kind, shape in fields]
    elif not isinstance(value, str):
        raise PlainError(f"{ascii(value)[:60]} is not a type")
    try:
        dtype = np.dtype(described) if isinstance(value, list) else np.dtype(value)
    except (TypeError, ValueError) as error:
        raise PlainError(f"{ascii(value)[:60]} is not a type") from error
    if dtype.hasobject or (dtype.names is None and dtype.kind not in "biufS"):
        raise PlainError(f"{ascii(value)[:60]} is not a type of numbers or text")
    return dtype
