"""What is in a file, and what will cause trouble with it."""

__all__: list[str] = []
