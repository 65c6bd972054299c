"""Optional packages: imported where they are needed, and named with their extra where they are missing."""

from __future__ import annotations

import importlib

from ilastik_lazy.errors import MissingExtraError

__all__ = ["require_package"]


def require_package(name: str, extra: str, need: str) -> None:
    """Raise unless the package `name` can be imported; `need` says what needs it.

    Raises
    ------
    MissingExtraError
        It is missing; the message names the `extra` of this package that brings it.
    """
    try:
        importlib.import_module(name)
    except ImportError as missing:
        raise MissingExtraError(f"{need}: pip install 'ilastik_lazy[{extra}]'") from missing
