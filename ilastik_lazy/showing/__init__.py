"""What a person sees while work runs and when it is done: progress bars, and tables for notebooks."""

__all__: list[str] = []
