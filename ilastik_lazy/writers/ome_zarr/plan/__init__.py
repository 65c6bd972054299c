"""Plan a conversion before anything is read or written."""

__all__: list[str] = []
