"""How far long work is: lines in a log that come when they should, and a bar on a terminal."""

from __future__ import annotations

import functools
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ilastik_lazy import to_ome_zarr
from ilastik_lazy.cli import cli
from ilastik_lazy.core.parallel import in_bytes
from ilastik_lazy.core.size_text import human_seconds
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.reductions import histogram, normalise, percentile, reduce, standardise
from ilastik_lazy.showing import progress
from ilastik_lazy.showing.progress import progress_bar
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import write_hdf5_export

GB = 10**9


class Calls:
    """What a long call says of its progress."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def in_bytes(self, done: int, total: int) -> None:
        self.seen.append((done, total))

    def in_blocks(self, done: int, total: int, nbytes: int) -> None:
        self.seen.append((done, total))

    def check(self) -> None:
        totals = {total for _, total in self.seen}
        done = [done for done, _ in self.seen]
        assert len(totals) == 1
        assert done == sorted(done)
        assert done[-1] == totals.pop() > 0


NOISE = np.random.default_rng(0).normal(size=(40, 50, 60)).astype("f4")

IN_BLOCKS: dict[str, Callable[..., Any]] = {
    "mean": lambda source, **progress: reduce(source, "mean", **progress),
    "std over c": lambda source, **progress: reduce(source, "std", "zx", **progress),
    "histogram": histogram,
    "histogram by y": lambda source, **progress: histogram(source, by="y", **progress),
    "histogram in a range": lambda source, **progress: histogram(source, range=(0, 1), **progress),
    "percentile": lambda source, **progress: percentile(source, [5, 50], **progress),
    "percentile by x": lambda source, **progress: percentile(source, 50, by="x", **progress),
    "percentile by x, part by part": lambda source, **progress: percentile(
        source, 50, by="x", memory=60_000, **progress
    ),
    "normalise": normalise,
    "standardise": standardise,
}


@pytest.mark.parametrize("call", IN_BLOCKS)
def test_progress_of_what_is_measured_never_falls_and_ends_at_all_of_it(call: str) -> None:
    calls = Calls()
    IN_BLOCKS[call](ArrayInMemory(NOISE, "zyx", (16, 16, 16)), progress=calls.in_blocks)
    calls.check()


@pytest.mark.parametrize("operation", ["mean", "histogram"])
def test_in_bytes_all_passes_are_all(operation: str) -> None:
    source, calls = ArrayInMemory(NOISE, "zyx", (16, 16, 16)), Calls()
    call = histogram if operation == "histogram" else functools.partial(reduce, name=operation)
    call(source, progress=in_bytes(calls.in_bytes, source.spec))
    calls.check()
    assert calls.seen[-1][1] == NOISE.nbytes * (2 if operation == "histogram" else 1)


@pytest.mark.parametrize("shape", [(40, 50, 60), (1, 1, 1), (3, 1, 5)])
def test_progress_of_what_is_written_never_falls_and_ends_at_all_of_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    source = ArrayInMemory(NOISE[tuple(slice(length) for length in shape)], "zyx", (16, 16, 16))
    for name, options in (("a", {}), ("b", {"verify": True}), ("c", {"version": "0.4", "levels": 1})):
        calls = Calls()
        to_ome_zarr(source, tmp_path / f"{name}.zarr", progress=calls.in_bytes, **options)
        calls.check()
        for other in (None, source):
            calls = Calls()
            verify_image(tmp_path / f"{name}.zarr", other, progress=calls.in_bytes)
            calls.check()
    for name in ("a.h5", "a.n5"):
        calls = Calls()
        to_ilastik(source, tmp_path / name, progress=calls.in_bytes)
        calls.check()


@pytest.mark.parametrize("arguments", [("mean",), ("histogram",), ("histogram", "--by", "c")])
def test_the_command_ends_at_100_percent(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_hdf5_export(tmp_path / "a.h5", NOISE[..., None], axes="zyxc")
    found = CliRunner().invoke(cli, ["reduce", str(tmp_path / "a.h5"), *arguments])
    assert found.exit_code == 0, found.output
    shares = re.findall(r"(\d+) % of", found.output)
    assert shares[-1] == "100"
    assert len(shares) == 1 or max(map(int, shares[:-1])) < 100
    assert "B/s" not in found.output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 ms"), (0.0304, "30 ms"), (0.0996, "0.1 s"),
        (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (599, "9 min 59 s"),
        (600, "10 min"), (3599, "59 min"), (3600, "1 h 0 min"), (90_000, "25 h 0 min"),
    ],
)  # fmt: skip
def test_times_are_written_as_people_write_them(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(progress.time, "monotonic", made)
        yield made


def lines_of(capsys: pytest.CaptureFixture[str], clock: Clock, steps: list[tuple[float, int]], total: int) -> list[str]:
    """What is printed when so many bytes are done at these times, without the time of day."""
    start = clock.now
    with progress_bar("converting") as update:
        assert update is not None
        for at, done in steps:
            clock.now = start + at
            update(done, total)
    errors = capsys.readouterr().err
    assert "\r" not in errors
    assert "\x1b" not in errors
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in errors.splitlines()]


class TestProgressOfPython:
    def test_true_shows_a_bar_in_bytes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = ArrayInMemory(NOISE, "zyx", (16, 16, 16))
        to_ome_zarr(source, tmp_path / "a.zarr", progress=True)
        verify_image(tmp_path / "a.zarr", progress=True)
        to_ilastik(source, tmp_path / "a.h5", progress=True)
        lines = capsys.readouterr().err.splitlines()
        assert [re.sub(r"^[\d-]+ [\d:]+ | in .*", "", line) for line in lines] == [
            "converting: 100 % of 480 kB", lines[1].split(" ", 2)[2].split(" in ")[0], "exporting: 100 % of 480 kB",
        ]  # fmt: skip
        assert "verifying: 100 % of " in lines[1]

    @pytest.mark.parametrize("call", IN_BLOCKS)
    def test_true_shows_a_bar_in_blocks(self, call: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = IN_BLOCKS[call](ArrayInMemory(NOISE, "zyx", (16, 16, 16)), progress=True)
        assert re.search(r": 100 % of \d+ blocks? in ", capsys.readouterr().err)
        assert IN_BLOCKS[call](ArrayInMemory(NOISE, "zyx", (16, 16, 16)), progress=False) is not found
        assert capsys.readouterr().err == ""

    def test_a_notebook_gets_one_line(
        self, capsys: pytest.CaptureFixture[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ipykernel", None)
        with progress_bar("converting") as update:
            assert update is not None
            for i in range(5):
                update(i, 4)
                clock.now += 0.5
        sent = capsys.readouterr().err
        assert sent.count("\n") == 1
        shown = sent.rstrip("\n").split("\r")[1:]
        assert [line.split(",")[0].split(" in ")[0].rstrip() for line in shown] == [
            f"converting: {share} % of 4 B" for share in (0, 25, 50, 75, 100)
        ]

    def test_a_number_of_something_else_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="expected True, or a function of 2 numbers"):
            to_ilastik(ArrayInMemory(NOISE, "zyx", (16, 16, 16)), tmp_path / "a.h5", progress=1)  # type: ignore[arg-type]


def test_a_resumed_conversion_has_no_rate_of_what_was_there(tmp_path: Path) -> None:
    source, calls = ArrayInMemory(NOISE, "zyx", (16, 16, 16)), Calls()
    to_ome_zarr(source, tmp_path / "a.zarr")
    to_ome_zarr(source, tmp_path / "a.zarr", resume=True, progress=calls.in_bytes)
    assert calls.seen[0] == (NOISE.nbytes, NOISE.nbytes)


class TestLines:
    def test_come_with_each_tenth(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        steps = [(5.0 * i, i * GB // 100) for i in range(101)]
        lines = lines_of(capsys, clock, steps, GB)
        # 30 seconds are 6 of the steps: a tenth takes 50.
        assert lines[0] == "converting: 6 % of 1 GB, 2 MB/s, 7 min 50 s left"
        assert [int(line.split()[1]) for line in lines if int(line.split()[1]) % 10 == 0] == list(range(10, 101, 10))
        assert lines[-1] == "converting: 100 % of 1 GB in 8 min 20 s, 2 MB/s"

    def test_are_few_where_all_is_done_in_seconds(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        lines = lines_of(capsys, clock, [(0.05 * i, i * GB // 100) for i in range(101)], GB)
        assert [line.split(",")[0] for line in lines] == [
            "converting: 40 % of 1 GB", "converting: 80 % of 1 GB", "converting: 100 % of 1 GB in 5.0 s",
        ]  # fmt: skip

    def test_come_every_half_minute_where_a_tenth_takes_an_hour(
        self, capsys: pytest.CaptureFixture[str], clock: Clock
    ) -> None:
        lines = lines_of(capsys, clock, [(10.0 * i, i * GB // 3600) for i in range(361)], GB)
        assert len(lines) == 120
        assert lines[-1].endswith("% of 1 GB, 27.8 kB/s, 9 h 0 min left")

    def test_do_not_count_what_was_there_before(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        steps = [(0.0, GB // 2), (100.0, GB // 2 + GB // 10)]
        assert lines_of(capsys, clock, steps, GB) == ["converting: 60 % of 1 GB, 1 MB/s, 6 min 40 s left"]

    def test_have_no_rate_out_of_no_time(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        lines = lines_of(capsys, clock, [(0.0, 0), (0.003, GB), (0.004, GB)], GB)
        assert lines == ["converting: 100 % of 1 GB in 3 ms"]

    def test_have_the_time_before_the_first_call_too(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        assert lines_of(capsys, clock, [(5.0, GB)], GB) == ["converting: 100 % of 1 GB in 5.0 s"]

    def test_of_nothing_to_do_say_so(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        assert lines_of(capsys, clock, [(0.0, 0)], 0) == ["converting: 100 % of 0 B in 1 ms"]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("converting", quiet=True) as update:
        assert update is None
    assert capsys.readouterr().err == ""


WORK = """
import time
from ilastik_lazy.showing.progress import progress_bar
with progress_bar("converting") as update:
    for i in range(31):
        update(40_000_000 + i * 2_000_000, 100_000_000)
        time.sleep(0.05)
"""


def on_a_terminal(**environment: str) -> str:
    """What a terminal of 100 columns is sent."""
    ours, theirs = pty.openpty()
    variables = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment
    process = subprocess.Popen([sys.executable, "-c", WORK], stderr=theirs, env=variables)
    os.close(theirs)
    sent = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux: the other end was closed
            part = b""
        if not part:
            break
        sent += part
    os.close(ours)
    assert process.wait(60) == 0
    return sent.decode()


def test_a_terminal_gets_a_bar_with_rate_and_time_left() -> None:
    pytest.importorskip("rich", reason="pip install 'ilastik_lazy[cli]'")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_a_terminal())
    frames = [frame for frame in re.split(r"[\r\n]+", plain) if "converting" in frame]
    assert re.search(r"converting ━+.* \d+ % of 100 MB, [\d.]+ MB/s, [\d.]+ s left", plain)
    assert re.search(r"100 % of 100 MB in [\d.]+ s, [\d.]+ MB/s$", frames[-1].rstrip())
    # What was there before counts for the bar, not for the rate: about 40 MB/s, not 500 and more.
    rates = [float(rate) for rate in re.findall(r"([\d.]+) MB/s", plain)]
    assert 5 < max(rates) < 200


def test_a_terminal_that_cannot_go_back_gets_lines() -> None:
    sent = on_a_terminal(TERM="dumb")
    assert "\x1b" not in sent
    assert "converting: 100 % of 100 MB" in sent
