"""Any sequence of deaths, damages, changed sources and changed wishes: no image, or the right one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from fakes import ArrayBackedSource, small_plans
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from makers import some_data

from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError, ResumeMismatchError, VerificationError
from ilastik_lazy.ome_zarr import to_ome_zarr
from ilastik_lazy.ome_zarr.check import verify_image
from ilastik_lazy.ome_zarr.stores import LocalStore

# A conversion makes about 45 writes; drawn evenly, unlike integers, most of which are small.
WRITES = st.sampled_from([*range(1, 50), None, None, None])


class Died(BaseException):
    """Stands for a death that no code has time to notice."""


def source(seed: int) -> ArrayBackedSource:
    return ArrayBackedSource(some_data((23, 31), "uint8", seed), "yx", chunks=(5, 7))


class Conversions(RuleBasedStateMachine):
    """A target, and what people and machines do to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.target = self.folder / "a.zarr"

    @initialize(puts=WRITES, seed=st.integers(0, 1))
    def begins(self, puts: int | None, seed: int) -> None:
        self.converts(seed=seed, puts=puts, resume=False, overwrite=False, levels=None)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def convert(self, seed: int, puts: int | None, **options: Any) -> None:
        """Convert, and die before the `puts`-th write."""
        left = puts

        def counted(original: Any) -> Any:
            def call(*arguments: Any) -> Any:
                nonlocal left
                if left is not None:
                    left -= 1
                    if left < 0:
                        raise Died
                return original(*arguments)

            return call

        with pytest.MonkeyPatch.context() as patch, small_plans(shard=100, smallest=6):
            for name in ("put", "add_line", "delete"):
                patch.setattr(LocalStore, name, counted(getattr(LocalStore, name)))
            to_ome_zarr(source(seed), self.target, workers=2, **options)

    @rule(
        seed=st.integers(0, 1),
        puts=WRITES,
        resume=st.booleans(),
        overwrite=st.booleans(),
        levels=st.sampled_from([None, None, 2]),
    )
    def converts(self, seed: int, puts: int | None, resume: bool, overwrite: bool, levels: int | None) -> None:
        was_there = self.target.exists()
        try:
            self.convert(seed, puts, resume=resume, overwrite=overwrite, levels=levels)
        except Died:
            return
        except (DestinationExistsError, ResumeMismatchError):
            assert was_there
            assert not overwrite or resume
        except DestinationBusyError as error:
            raise AssertionError("nobody else is there") from error

    @rule(which=st.integers(0, 1000), how=st.sampled_from(["cut", "flip", "delete", "empty"]))
    def a_shard_is_damaged(self, which: int, how: str) -> None:
        """Only of an unfinished image: of a finished one, `verify` tells."""
        shards = sorted(path for path in self.target.glob("scale*/image/c/*/*"))
        shards = [path for path in shards if path.stat().st_size]
        if self.is_image() or not shards:
            return
        path = shards[which % len(shards)]
        data = path.read_bytes()
        if how == "delete":
            path.unlink()
        else:
            flipped = bytearray(data)
            flipped[which % len(data)] ^= 1
            path.write_bytes({"cut": data[: len(data) // 2], "flip": bytes(flipped), "empty": b""}[how])

    @rule(tail=st.binary(max_size=20))
    def the_journal_is_torn(self, tail: bytes) -> None:
        for path in self.target.glob(".ilz/journal/*"):
            data = path.read_bytes()
            path.write_bytes(data[: -len(tail) - 1] + tail)

    @rule()
    def resuming_without_a_death_completes_it(self) -> None:
        if not self.target.exists() or self.is_image():
            return
        for seed in (0, 1):
            for levels in (None, 2):
                try:
                    self.convert(seed, None, resume=True, levels=levels)
                except ResumeMismatchError:
                    continue
                assert self.is_image()
                return
        raise AssertionError("nobody can go on with what somebody began")

    def is_image(self) -> bool:
        return (self.target / "zarr.json").exists()

    @invariant()
    def what_is_there_is_no_image_or_the_right_one(self) -> None:
        if not self.is_image():
            with pytest.raises((FileNotFoundError, ValueError)):
                zarr.open_group(self.target, mode="r")
            return
        found = np.asarray(zarr.open_array(self.target / "scale0" / "image", mode="r")[...])
        candidates = [source(seed).data for seed in (0, 1)]
        assert any(np.array_equal(found, data) for data in candidates)
        try:
            verify_image(self.target, source(0 if np.array_equal(found, candidates[0]) else 1))
        except VerificationError as error:
            raise AssertionError("an image that does not verify") from error


TestConversions = Conversions.TestCase
TestConversions.settings = settings(
    settings.get_profile(os.environ.get("ILASTIK_LAZY_HYPOTHESIS", "default")),
    max_examples=5000 if "ILASTIK_LAZY_LONG" in os.environ else 40,
    stateful_step_count=12,
)
