"""Run Python in a process of its own: for memory, for imports, and for what might crash."""

from __future__ import annotations

import subprocess
import sys


def run_python(code: str, *arguments: str, stdin: bytes = b"", timeout: float = 120) -> bytes:
    """Standard output of `code`, run by this interpreter; a failure shows what the child wrote."""
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments], input=stdin, capture_output=True, timeout=timeout, check=False
    )
    assert finished.returncode == 0, f"exit {finished.returncode}: {finished.stderr.decode(errors='replace')[-3000:]}"
    return finished.stdout
