"""Warn, and name the line of the caller: the first line outside this package."""

from __future__ import annotations

import inspect
import os
import warnings

from ilastik_lazy.errors import MetadataWarning

__all__ = ["warn"]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn(message: str, category: type[Warning] = MetadataWarning) -> None:
    """Issue a warning that is shown at the line that called this package, however deep its cause lies.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("the file names no axes")
    >>> caught[0].filename.startswith(_PACKAGE)
    False
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
