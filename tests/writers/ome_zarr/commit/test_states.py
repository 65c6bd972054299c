"""Every entry of `ACTIONS`, tried on a real folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import zarr

from ilastik_lazy.errors import DestinationError, DestinationExistsError, ResumeMismatchError
from ilastik_lazy.storage.stores import LOCK
from ilastik_lazy.writers.ome_zarr.commit.states import ACTIONS, State
from tests.support.ome_zarr.targets import a_source, assert_whole, contents, convert

pytestmark = pytest.mark.usefixtures("a_dozen_shards")
OPTIONS: list[dict[str, Any]] = [{}, {"overwrite": True}, {"resume": True}, {"overwrite": True, "resume": True}]
OTHER_PLAN = {"codec": "gzip"}


def stopped(target: Path, **options: Any) -> None:
    """A conversion that is interrupted after a quarter: six more of the 16 shards are begun, and may be finished."""

    def stop(done: int, total: int) -> None:
        if done > total // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(target, progress=stop, **options)


def without_lock(target: Path) -> dict[str, bytes]:
    return {key: data for key, data in contents(target).items() if not key.startswith(LOCK)}


def make(state: State, target: Path) -> None:
    match state:
        case "nothing":
            return
        case "empty folder":
            target.mkdir()
        case "conversion without a plan":
            (target / ".ilz").mkdir(parents=True)
        case "conversion with this plan":
            stopped(target)
        case "conversion with another plan":
            stopped(target, **OTHER_PLAN)
        case "image with this plan":
            convert(target)
        case "image with another plan":
            convert(target, **OTHER_PLAN)
        case "image of another program":
            zarr.create_array(target, data=np.arange(5))
        case "something else":
            zarr.create_group(target).create_array("precious", data=np.arange(5))


CASES = [
    pytest.param(state, options, action, id=f"{state}, {' and '.join(options) or 'neither'}")
    for state, actions in ACTIONS.items()
    for options, action in zip(OPTIONS, actions, strict=True)
]


@pytest.mark.parametrize(("state", "options", "action"), CASES)
def test_what_is_at_the_target_decides(tmp_path: Path, state: State, options: dict[str, Any], action: str) -> None:
    target = tmp_path / "a.zarr"
    make(state, target)
    before = without_lock(target) if target.exists() else None
    if action.startswith("refuse"):
        source = a_source()
        error = ResumeMismatchError if action == "refuse the plan" else DestinationExistsError
        with pytest.raises(DestinationError) as caught:
            convert(target, source=source, **options)
        assert type(caught.value) is error
        assert without_lock(target) == before
        assert source.regions == []
        return

    roots = []
    report = convert(target, **options, progress=lambda *_: roots.append([*target.glob("zarr.json")]))
    assert_whole(target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    resumed = {"continue": range(1, report.parts), "check": [report.parts]}
    assert report.resumed in resumed.get(action, [0])
    # An image is there all the time, or not before the last step.
    assert all(map(bool, roots)) if action in ("check", "replace") else not any(roots)
    if action == "check":
        assert without_lock(target) == before


@pytest.mark.parametrize(
    ("plan", "resume", "resumes"), [({}, False, False), ({}, True, True), (OTHER_PLAN, False, False)]
)
def test_a_conversion_beside_an_image_is_found_like_one_at_the_target(
    tmp_path: Path, plan: dict[str, Any], resume: bool, resumes: bool
) -> None:
    target = tmp_path / "a.zarr"
    make("image of another program", target)
    stopped(target, overwrite=True, **plan)
    assert bool(convert(target, overwrite=True, resume=resume).resumed) is resumes
    assert_whole(target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_conversion_beside_an_image_with_another_plan_is_not_continued(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    make("image of another program", target)
    stopped(target, overwrite=True, **OTHER_PLAN)
    with pytest.raises(ResumeMismatchError, match="codec"):
        convert(target, overwrite=True, resume=True)


def test_every_state_has_its_actions() -> None:
    assert list(ACTIONS) == list(get_args(State))
