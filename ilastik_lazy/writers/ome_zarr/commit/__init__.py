"""Publish a conversion as an image in one step: target, lock, journal and manifest."""

__all__: list[str] = []
