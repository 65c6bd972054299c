"""Read single settings of a project: texts, numbers and groups.

A project also holds pickles and zip archives (`SerialSlot` in ilastik's ``appletSerializer``).  Only datasets of
texts or numbers are read here; links are not followed, and nothing is unpickled.
"""

from __future__ import annotations

import math
from typing import Any

import h5py

from ilastik_lazy.core.options import Limits
from ilastik_lazy.errors import ExternalReferenceError, LimitExceededError, MetadataError
from ilastik_lazy.formats.hdf5.file import dataset_at, key_of, link_of
from ilastik_lazy.warning import warn

__all__ = ["dataset_in", "group_in", "number_values", "optional_setting", "text_value", "where_of"]

_MOST_NUMBERS = 64


def where_of(group: h5py.Group, name: str) -> str:
    """Return the file and path of a member in printable characters."""
    path = f"{group.name}/{name}".replace("//", "/")
    return f"{group.file.filename}: {path!a}"


def _has(group: h5py.Group, name: str) -> bool:
    """Whether `group` has the member; a link in its place is an error."""
    link = link_of(group, name)
    if link is None or isinstance(link, h5py.HardLink):
        return link is not None
    if isinstance(link, h5py.ExternalLink):
        raise ExternalReferenceError(
            f"{where_of(group, name)} is a link into another file, {link.filename!a}; links are not followed: "
            "save the project again in ilastik"
        )
    raise MetadataError(f"{where_of(group, name)} is a link, which ilastik never writes: save the project again")


def group_in(group: h5py.Group, name: str) -> h5py.Group | None:
    """Return the group called `name`; None if there is none.

    Raises
    ------
    ExternalReferenceError, MetadataError
        The member is a link; it was not followed.
    """
    if not _has(group, name):
        return None
    found = group[key_of(name)]
    return found if isinstance(found, h5py.Group) else None


def dataset_in(group: h5py.Group, name: str) -> h5py.Dataset | None:
    """Return the dataset called `name`; None if there is none (see `group_in`)."""
    if not _has(group, name):
        return None
    return dataset_at(group.file, f"{group.name}/{name}")


def text_value(group: h5py.Group, name: str, limits: Limits) -> str | None:
    """Read a text setting, stored in any way that h5py has ever used; None if it is missing.

    Raises
    ------
    MetadataError
        It is not a text, or not UTF-8.
    LimitExceededError
        It is longer than `limits` allow.
    """
    dataset = dataset_in(group, name)
    if dataset is None:
        return None
    where = where_of(group, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.shape is None or math.prod(dataset.shape) != 1:
        raise MetadataError(f"{where} is not a text but {str(dataset.dtype)[:40]} of shape {dataset.shape}")
    if dataset.dtype.itemsize > limits.attribute_bytes:
        raise LimitExceededError(f"{where} is larger than {limits.attribute_bytes} bytes")
    value = dataset[()] if dataset.shape == () else dataset[...].reshape(-1)[0]
    if len(value) > limits.attribute_bytes:
        raise LimitExceededError(f"{where} is larger than {limits.attribute_bytes} bytes")
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MetadataError(f"{where} is not UTF-8: {bytes(value)[:40]!a}") from error


def number_values(group: h5py.Group, name: str) -> Any:
    """Read a number, a bool, or nested lists of numbers; None if the setting is missing.

    Raises
    ------
    MetadataError
        It is not a number, or holds more than 64.
    """
    dataset = dataset_in(group, name)
    if dataset is None:
        return None
    if dataset.dtype.kind not in "biuf" or dataset.shape is None or math.prod(dataset.shape) > _MOST_NUMBERS:
        kind = str(dataset.dtype)[:40]
        raise MetadataError(f"{where_of(group, name)} is not a number or a short list: {kind} of shape {dataset.shape}")
    return dataset[...].tolist()


def optional_setting(group: h5py.Group, name: str, limits: Limits) -> Any:
    """Read a text or numbers that are only shown to people: a malformed setting causes a warning and is None."""
    try:
        dataset = dataset_in(group, name)
        if dataset is None:
            return None
        return number_values(group, name) if dataset.dtype.kind in "biuf" else text_value(group, name, limits)
    except (MetadataError, ExternalReferenceError, LimitExceededError) as error:
        warn(f"{error}: ignored")
        return None
