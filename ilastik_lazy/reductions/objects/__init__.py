"""Objects out of core: label what is connected, and measure it, from runs of voxels."""

from __future__ import annotations

from ilastik_lazy.reductions.objects.label_image import label_objects
from ilastik_lazy.reductions.objects.measuring import measure_objects

__all__ = ["label_objects", "measure_objects"]
