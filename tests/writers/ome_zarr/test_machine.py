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
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError, ResumeMismatchError, VerificationError
from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.makers import some_data, write_hdf5_export
from tests.support.ome_zarr.fakes import small_plans

pytestmark = pytest.mark.slow

# A conversion makes about 45 writes; drawn evenly, unlike integers, most of which are small.
WRITES = st.sampled_from([*range(1, 50), None, None, None])


class Died(BaseException):
    """Stands for a death that no code has time to notice."""


VALUES = [some_data((23, 31), "uint8", seed) for seed in (0, 1)]


class Conversions(RuleBasedStateMachine):
    """A target, and what people and machines do to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.target = self.folder / "a.zarr"
        self.sources = [self.folder / f"{seed}.h5" for seed in (0, 1)]
        for path, data in zip(self.sources, VALUES, strict=True):
            write_hdf5_export(path, data, axes="yx", chunks=(5, 7))
        self.was_touched = False
        """Whether a source changed since somebody may have begun with it."""
        self.seen: dict[Path, tuple[int, int, int]] = {}
        """All files, as they were when they were last found right."""

    @initialize(puts=WRITES, seed=st.integers(0, 1))
    def begins(self, puts: int | None, seed: int) -> None:
        self.converts(seed=seed, puts=puts, resume=False, overwrite=False, levels=None)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def convert(self, seed: int, puts: int | None, *, rival: int | None = None, **options: Any) -> None:
        """Convert, and die before the `puts`-th write; before the `rival`-th, somebody else tries."""
        count = 0

        def counted(original: Any) -> Any:
            def call(store: LocalStore, *arguments: Any, **named: Any) -> Any:
                nonlocal count
                count += 1
                if puts is not None and count > puts:
                    raise Died
                if count == rival:
                    with pytest.raises(DestinationBusyError):
                        to_ome_zarr(self.sources[seed], self.target, workers=1, **options)
                return original(store, *arguments, **named)

            return call

        with pytest.MonkeyPatch.context() as patch, small_plans(shard=100, smallest=6):
            for name in ("put", "add_line", "delete"):
                patch.setattr(LocalStore, name, counted(getattr(LocalStore, name)))
            to_ome_zarr(self.sources[seed], self.target, workers=2, **options)

    @rule(
        seed=st.integers(0, 1),
        puts=WRITES,
        resume=st.booleans(),
        overwrite=st.booleans(),
        levels=st.sampled_from([None, None, 2]),
        rival=st.none() | WRITES,
    )
    def converts(
        self, seed: int, puts: int | None, resume: bool, overwrite: bool, levels: int | None, rival: int | None = None
    ) -> None:
        was_there = self.target.exists()
        try:
            self.convert(seed, puts, rival=rival, resume=resume, overwrite=overwrite, levels=levels)
        except Died:
            return
        except (DestinationExistsError, ResumeMismatchError):
            assert was_there
            assert not overwrite or resume
        except DestinationBusyError as error:
            raise AssertionError("nobody else is there") from error
        else:
            self.was_touched = False

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

    @rule(seed=st.integers(0, 1))
    def a_source_is_touched(self, seed: int) -> None:
        now = self.sources[seed].stat()
        os.utime(self.sources[seed], ns=(now.st_atime_ns, now.st_mtime_ns + 10**6))
        self.was_touched = self.target.exists()

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
        assert self.was_touched, "nobody can go on with what somebody began"

    def is_image(self) -> bool:
        return (self.target / "zarr.json").exists()

    @invariant()
    def what_is_there_is_no_image_or_the_right_one(self) -> None:
        if not self.is_image():
            with pytest.raises((FileNotFoundError, ValueError)):
                zarr.open_group(self.target, mode="r")
            return
        now = {path: path.stat() for path in self.target.rglob("*")}
        files = {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in now.items()}
        if files == self.seen:
            return
        found = np.asarray(zarr.open_array(self.target / "scale0" / "image", mode="r")[...])
        equal = [path for path, data in zip(self.sources, VALUES, strict=True) if np.array_equal(found, data)]
        assert equal
        try:
            verify_image(self.target, equal[0])
        except VerificationError as error:
            raise AssertionError("an image that does not verify") from error
        self.seen = files


# 5000 runs with ILASTIK_LAZY_LONG=1; in parts, which run side by side.
_RUNS, _PARTS = 5000 if "ILASTIK_LAZY_LONG" in os.environ else 30, 2


@pytest.mark.parametrize("part", range(_PARTS))
def test_whatever_happens_there_is_no_image_or_the_right_one(part: int) -> None:
    run_state_machine_as_test(Conversions, settings=settings(max_examples=_RUNS // _PARTS, stateful_step_count=12))
