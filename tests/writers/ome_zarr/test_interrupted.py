"""Ctrl-C at every step that touches the target: what is whole stays, and what is not goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import ArrayBackedSource
from tests.support.ome_zarr.targets import assert_no_image, assert_resumes, assert_whole, convert

STEPS = ("make", "put", "add_line", "delete", "sync", "lock", "replace_by")


def interrupted(monkeypatch: pytest.MonkeyPatch, step: int, *, after: bool, run: Callable[[], Any]) -> bool:
    """Whether `run` came to its step number `step`, and was stopped before or after it."""
    count = itertools.count()

    def watched(name: str) -> Any:
        real = getattr(LocalStore, name)

        def method(*args: Any, **options: Any) -> Any:
            here = next(count) == step
            if here and not after:
                raise KeyboardInterrupt
            result = real(*args, **options)
            if here:
                if name == "lock":
                    result.release()  # as the end of a process would
                raise KeyboardInterrupt
            return result

        return method

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(LocalStore, name, watched(name))
        try:
            run()
        except KeyboardInterrupt:
            return True
    return False


DATA = some_data((9, 8), "uint8")


def small(target: Path, **options: Any) -> Any:
    """A conversion in two shards, or there would be hundreds of steps."""
    return to_ome_zarr(ArrayBackedSource(DATA, "yx"), target, levels=2, workers=1, **options)


@pytest.mark.parametrize(("after", "version"), [(False, "0.5"), (True, "0.5"), (True, "0.4")])
def test_what_is_an_image_stays_and_all_else_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool, version: str
) -> None:
    whole = 0
    for step in itertools.count():
        target = tmp_path / str(step) / "a.zarr"
        if not interrupted(monkeypatch, step, after=after, run=lambda target=target: small(target, version=version)):
            break
        # Version 0.4 is in Zarr's format 2.
        is_image = (target / "zarr.json").exists() or (target / ".zgroup").exists()
        whole += is_image
        if not is_image:
            assert_no_image(target)
        small(target, resume=True, version=version)
        assert_whole(target, DATA)
    assert step > 10
    # The root's metadata, two files in version 0.4, are there before the last step, which removes the journal.
    assert whole == (2 if version == "0.4" else 1) + after


def test_an_image_is_never_lost_when_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in itertools.count():
        target = tmp_path / str(step) / "a.zarr"
        to_ome_zarr(ArrayBackedSource(255 - DATA, "yx"), target, levels=1)
        if not interrupted(monkeypatch, step, after=True, run=lambda target=target: small(target, overwrite=True)):
            break
        assert (target / "zarr.json").exists()
        small(target, resume=True, overwrite=True)
        assert_whole(target, DATA)
        assert [path.name for path in target.parent.iterdir()] == ["a.zarr"]
    assert step > 10


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_replacement_that_was_stopped_is_removed_when_the_old_image_is_wanted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    target, beside = tmp_path / "a.zarr", tmp_path / ".a.zarr.ilz-new"
    small(target)
    other = ArrayBackedSource(255 - DATA, "yx")
    assert interrupted(monkeypatch, 6, after=True, run=lambda: to_ome_zarr(other, target, levels=1, overwrite=True))
    assert beside.exists()
    small(target, resume=True)
    assert beside.exists()  # it may go on
    lock = LocalStore(str(beside)).lock() if is_busy else None
    small(target, resume=True, overwrite=True)
    assert beside.exists() == is_busy  # another process is writing it
    assert_whole(target, DATA)
    if lock is not None:
        lock.release()


def test_the_last_step_of_a_whole_image_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = LocalStore.delete

    def stopped(store: LocalStore, prefix: str) -> None:
        delete(store, prefix)
        if prefix == ".ilz":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", stopped)
        with pytest.raises(KeyboardInterrupt):
            convert(tmp_path / "a.zarr")
    assert_whole(tmp_path / "a.zarr")
    assert_resumes(tmp_path / "a.zarr")
