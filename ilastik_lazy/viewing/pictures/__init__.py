"""Pictures of planes: which ones, their pixels, their colours, and the figure."""

__all__: list[str] = []
