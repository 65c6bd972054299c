"""What an ilastik project (`.ilp`) holds: classes, inputs, drawn labels."""

__all__: list[str] = []
