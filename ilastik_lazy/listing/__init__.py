"""What a file holds, listed for people and for programs: images, a table, or a project."""

__all__: list[str] = []
