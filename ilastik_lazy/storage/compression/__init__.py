"""Compress and decompress streams of bytes, in any thread."""

__all__: list[str] = []
