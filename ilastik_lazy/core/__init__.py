"""What every other layer speaks of: axes, specs, sources, grids of chunks, limits; nothing here knows a file."""

__all__: list[str] = []
