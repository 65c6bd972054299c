"""Look at images in Neuroglancer, in a browser, straight from their files."""

from __future__ import annotations

from ilastik_lazy.viewing.neuroglancer.page import View, view

__all__ = ["View", "view"]
