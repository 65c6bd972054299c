"""What a conversion will write, worked out before anything is touched."""

__all__: list[str] = []
