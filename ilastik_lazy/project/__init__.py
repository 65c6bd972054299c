"""The contents of an ilastik project (`.ilp`): classes, inputs, drawn labels."""

__all__: list[str] = []
