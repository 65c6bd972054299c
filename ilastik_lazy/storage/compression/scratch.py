"""Provide buffers for chunks that cannot be decoded into their place."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

__all__ = ["scratch_bytes"]

_scratch = threading.local()


def scratch_bytes(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a buffer of this thread: fresh pages for each chunk would cost 20 to 30 % of the decoding time."""
    buffer: np.ndarray[Any, np.dtype[np.uint8]] | None = getattr(_scratch, "buffer", None)
    if buffer is None or buffer.size < size or buffer.size > 4 * size + 2**20:
        buffer = _scratch.buffer = np.empty(size, np.uint8)
    return buffer[:size]
