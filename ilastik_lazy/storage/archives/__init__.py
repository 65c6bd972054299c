"""ZIP archives: find and read their entries without unpacking, and pack a folder."""

__all__: list[str] = []
