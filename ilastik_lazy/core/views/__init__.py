"""Sources that show other sources in another way: cut, turned, stacked, unpacked, cached."""

__all__: list[str] = []
