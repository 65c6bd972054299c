"""Fixtures of the tests of conversions."""

from __future__ import annotations

import os

import pytest

from tests.support.ome_zarr import targets

# What waits for the disk, or for a system that fails.
_NEED_THE_DISK = ("test_power_loss", "test_full_disk")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions sync each file, 5 to 10 ms: half of the time of these tests, of which none loses its power."""
    if request.module.__name__.rpartition(".")[2] not in _NEED_THE_DISK:
        monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def a_dozen_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of a dozen shards instead of forty, where their number does not matter."""
    monkeypatch.setattr(targets, "SHAPE", (33, 50))
