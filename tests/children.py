"""Run Python in a process of its own: for memory, for imports, and for what might crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_python(code: str, *arguments: str, stdin: bytes = b"", timeout: float = 120) -> bytes:
    """Standard output of `code`, run by this interpreter; a failure shows what the child wrote."""
    return _run(["-c", code, *arguments], stdin, timeout)


def run_file(path: Path, *arguments: str, timeout: float = 120) -> bytes:
    """The same of a file, which processes that it starts can import."""
    return _run([str(path), *arguments], b"", timeout)


def _run(arguments: list[str], stdin: bytes, timeout: float) -> bytes:
    finished = subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, timeout=timeout, check=False
    )
    assert finished.returncode == 0, f"exit {finished.returncode}: {finished.stderr.decode(errors='replace')[-3000:]}"
    return finished.stdout
