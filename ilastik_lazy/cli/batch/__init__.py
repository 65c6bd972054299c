"""Many files in one command: their names, one after the other or several at a time, and what came of them."""

from __future__ import annotations

__all__: list[str] = []
