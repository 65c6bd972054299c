"""Files that are damaged after they were written."""

from __future__ import annotations

from pathlib import Path

import h5py

__all__ = ["damage"]


def damage(path: Path) -> None:
    """Flip the bits of a byte in the first chunk of ``exported_data``."""
    with h5py.File(path) as file:
        info = file["exported_data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + 5] ^= 255
    path.write_bytes(content)
