"""Streams of bytes, compressed and decompressed in any thread."""

__all__: list[str] = []
