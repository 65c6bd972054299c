"""One pass over the source: read a shard, encode it, write it, here or on a cluster."""

__all__: list[str] = []
