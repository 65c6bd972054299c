"""How a conversion becomes an image all at once: its place, lock, journal and manifest."""

__all__: list[str] = []
