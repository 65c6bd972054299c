"""Bytes on disks and in buckets: system calls, locks, objects, compression."""

__all__: list[str] = []
