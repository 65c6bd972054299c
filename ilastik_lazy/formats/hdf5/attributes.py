"""Attributes of HDF5 objects, in any of the spellings that writers use."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.options import Limits
from ilastik_lazy.errors import LimitExceededError, MetadataError

__all__ = [
    "coordinates_of", "decorating_text", "is_matlab_text", "is_scale", "path_of", "plain_attribute", "raw_attribute",
    "text_attribute", "texts_attribute",
]  # fmt: skip


def text_attribute(dataset: h5py.Dataset, name: str, limits: Limits) -> str | None:
    """Return the text of an attribute in any of the spellings that writers use; None where it is not there.

    Scalar or one-element, variable or fixed length, ASCII or UTF-8, `str` or `bytes`.

    Raises
    ------
    MetadataError
        The attribute is not text, or not in UTF-8.
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
    """Return the texts of an attribute that is a list of them, or a single one; () where it is not there.

    Raises
    ------
    MetadataError, LimitExceededError
    """
    if name not in dataset.attrs:
        return ()
    where = f"{dataset.file.filename}: attribute {name!r} of {dataset.name!a}"
    return tuple(_as_text(value, where, limits) for value in np.atleast_1d(_value(dataset, name, where, limits)).flat)


def raw_attribute(dataset: h5py.Dataset, name: str, limits: Limits) -> Any:
    """Return the value of an attribute as it is, numbers in their own type, or a `str`; None where it is not there.

    What cannot be read is described by a text in its place.
    """
    if name not in dataset.attrs:
        return None
    try:
        value = _value(dataset, name, f"attribute {name!r}", limits)
    except (MetadataError, LimitExceededError) as error:
        return str(error)
    return value.decode("latin-1") if isinstance(value, bytes) else value


def plain_attribute(dataset: h5py.Dataset, name: str, limits: Limits) -> Any:
    """Return the value of an attribute as a list, number or `str` (see `raw_attribute`)."""
    value = raw_attribute(dataset, name, limits)
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list) and all(isinstance(each, bytes) for each in value):
        return [each.decode("latin-1") for each in value]
    return value


def decorating_text(dataset: h5py.Dataset, name: str) -> str | None:
    """Return the text of an attribute, or None if it is damaged: the image does not depend on it."""
    try:
        return text_attribute(dataset, name, Limits())
    except (MetadataError, LimitExceededError):
        return None


def path_of(node: h5py.Dataset) -> str:
    """Return the path of a dataset as text: h5py gives bytes if it is not UTF-8, and None if nothing links to it."""
    name = node.name or ""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


def is_scale(dataset: h5py.Dataset) -> bool:
    """Whether the dataset is a dimension scale, and so no image."""
    return "CLASS" in dataset.attrs and decorating_text(dataset, "CLASS") == "DIMENSION_SCALE"


def is_matlab_text(dataset: h5py.Dataset) -> bool:
    """Whether MATLAB stored text, or pointers to other arrays, as whole numbers."""
    return decorating_text(dataset, "MATLAB_class") in ("char", "cell", "struct", "function_handle")


def coordinates_of(dataset: h5py.Dataset) -> list[str]:
    """Return the paths of the arrays that are coordinates of this one, as CF's attributes say."""
    above = path_of(dataset).rpartition("/")[0]
    texts = [decorating_text(dataset, name) for name in ("coordinates", "bounds") if name in dataset.attrs]
    return [f"{above}/{name}".strip("/") for text in texts if text for name in text.split()]


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
        raise MetadataError(f"{where} is not text but {type(value).__name__}")
    if len(value) > limits.attribute_bytes:
        raise LimitExceededError(f"{where} is larger than {limits.attribute_bytes} bytes")
    return value
