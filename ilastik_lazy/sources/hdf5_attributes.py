"""Attributes of HDF5 objects, in any of the spellings that writers use."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ilastik_lazy.errors import LimitExceededError, MetadataError
from ilastik_lazy.limits import Limits

__all__ = ["text_attribute", "texts_attribute"]


def text_attribute(dataset: h5py.Dataset, name: str, limits: Limits) -> str | None:
    """Text of an attribute in any of the spellings that writers use; None where it is not there.

    Scalar or one-element, variable or fixed length, ASCII or UTF-8, `str` or `bytes`.

    Raises
    ------
    MetadataError
        The attribute is no text, or not in UTF-8.
    LimitExceededError
        It is longer than `limits` allow.
    """
    if name not in dataset.attrs:
        return None
    where = f"{dataset.file.filename}: attribute {name!r} of {dataset.name!a}"
    value = _value(dataset, name, where, limits)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return _as_text(value, where, limits)


def texts_attribute(dataset: h5py.Dataset, name: str, limits: Limits) -> tuple[str, ...]:
    """Texts of an attribute that is a list of them, or a single one; () where it is not there.

    Raises
    ------
    MetadataError, LimitExceededError
    """
    if name not in dataset.attrs:
        return ()
    where = f"{dataset.file.filename}: attribute {name!r} of {dataset.name!a}"
    return tuple(_as_text(value, where, limits) for value in np.atleast_1d(_value(dataset, name, where, limits)).flat)


def _value(dataset: h5py.Dataset, name: str, where: str, limits: Limits) -> Any:
    attribute = h5py.h5a.open(dataset.id, name.encode())
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise MetadataError(f"{where} is empty")
    if attribute.get_storage_size() > limits.attribute_bytes:
        raise LimitExceededError(f"{where} is larger than {limits.attribute_bytes} bytes")
    return dataset.attrs[name]


def _as_text(value: Any, where: str, limits: Limits) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MetadataError(f"{where} is not UTF-8") from error
    if not isinstance(value, str):
        raise MetadataError(f"{where} is no text but {type(value).__name__}")
    if len(value) > limits.attribute_bytes:
        raise LimitExceededError(f"{where} is larger than {limits.attribute_bytes} bytes")
    return value
