"""Where the real and the hostile files lie that tests read but the repository does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def shared_path(*parts: str) -> Path:
    """Path below ``../shared``; without it the calling test is skipped, and says what is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is missing: the files written by ilastik lie beside the repository, not in it")
    return path
