"""Serve images as OME-Zarr over HTTP, read from their files as they are."""

from __future__ import annotations

from ilastik_lazy.serving.server import Server, serve

__all__ = ["Server", "serve"]
