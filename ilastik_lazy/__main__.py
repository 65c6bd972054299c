"""The command ``ilastik-lazy``, also as ``python -m ilastik_lazy``: even its imports may find no memory."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    try:
        from ilastik_lazy import cli
    except (ImportError, MemoryError, OSError, SystemError) as error:
        text = " ".join(str(error).split()) or "there is not enough memory"
        sys.exit(f"ilastik-lazy: error: cannot start: {text}"[:500])
    cli.main()


if __name__ == "__main__":
    main()
