"""Children that do dangerous things to damaged files, a few hundred of them each, and are replaced where they die."""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ilastik_lazy.storage import isolation

# Seconds of the processor, which a busy machine does not shorten (a file takes 0.01), and of the clock.
CPU_SECONDS, SECONDS = 1.5, 60
MEMORY, BATCH = 3 * 2**30, 250
HANGS = (signal.SIGPROF, signal.SIGALRM)
FORKING = multiprocessing.get_context("fork")


class Job(Protocol):
    """What makes all damaged files of one seed, and tells what became of each."""

    seed: int
    sources: list[Path]
    """What is damaged: files, or folders."""

    def before(self, source: Path) -> object:
        """What is read of a source; kept."""

    def damaged(self, number: int) -> tuple[Path, str, Path]:
        """The source that is damaged, how, and the result, which the caller removes."""

    def judge(self, number: int, stage: Callable[[str], None]) -> dict[str, Any]:
        """Outcome of one damaged source; `stage` is told what is being done, in case that it never ends."""

    def more_seconds(self, number: int) -> int:
        """Seconds of the clock that one source takes beyond the usual."""

    def judge_the_dead(self, number: int, stage: str, ended: str) -> dict[str, Any]:
        """Outcome of one in which a child ended, by a crash or since it took too long, while it did `stage`."""


def limit_this_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ends in HANGS:
        signal.signal(ends, signal.SIG_DFL)  # ends the process, also where the GIL is held
    # Children of this child hang for the same reasons; here they need not do so for 20 seconds.
    isolation.CPU_SECONDS, isolation.WALL_SECONDS = 3, 30.0


def _work(job: Job, numbers: list[int], out: Any) -> None:
    limit_this_process()
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.alarm(SECONDS + job.more_seconds(number))
        out.send(job.judge(number, lambda text, n=number: out.send({"number": n, "stage": text})))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    out.send(None)
    os._exit(0)


def received(child: Any, pipe: Any) -> Iterator[Any]:
    """What a child sends, until it ends in any way."""
    with pipe:
        while True:
            try:
                yield pipe.recv()
            except EOFError:
                break
    child.join()


def started(target: Any, *arguments: Any) -> tuple[Any, Any]:
    reading, writing = FORKING.Pipe(duplex=False)
    child = FORKING.Process(target=target, args=(*arguments, writing))
    child.start()
    writing.close()
    return child, reading


def outcomes(job: Job, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Outcomes of these numbers; a child that dies is one of them."""
    left = list(numbers)
    while left:
        batch = left[:BATCH]
        child, pipe = started(_work, job, batch)
        done, last = 0, {"number": batch[0], "stage": "start"}
        for message in received(child, pipe):
            if message is None:
                continue
            if "counts" in message:
                done += 1
                yield message
            else:
                last = message
        if done < len(batch):
            code = child.exitcode
            ended = "hang" if -code in HANGS else f"crash {code}"
            yield job.judge_the_dead(last["number"], last["stage"], ended)
            done += 1
        left = left[done:]


def answer_of(target: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """What `target` sends through the pipe that is its last argument, None if nothing; how its process ended."""
    child, pipe = started(target, *arguments)
    answers = list(received(child, pipe))
    return answers[0] if answers else None, child.exitcode


def run(job: Job, count: int, minutes: float, jobs: int, show: Any) -> tuple[collections.Counter[str], list[str], int]:
    """Damage and open `count` files, or as many as fit into `minutes`; totals, findings, how many were done."""
    totals: collections.Counter[str] = collections.Counter()
    findings: list[str] = []
    done, end = 0, time.monotonic() + minutes * 60
    for source in job.sources:
        job.before(source)
    shares = dict(started(_share, job, range(first, count, jobs), end)[::-1] for first in range(jobs))
    while shares:
        for pipe in multiprocessing.connection.wait(list(shares)):
            try:
                found = pipe.recv()
            except EOFError:
                child = shares.pop(pipe)
                child.join()
                pipe.close()
                if child.exitcode != 0:
                    findings.append(f"a share of the work ended with {child.exitcode}")
                continue
            done += 1
            if done % 1000 == 0:
                print(f"{done} done", file=sys.stderr, flush=True)
            totals.update(found["counts"])
            totals[f"mutation {found['how']}" if "," not in found["how"] else "child died"] += 1
            for fault in found["faults"]:
                findings.append(
                    f"--seed {job.seed} --only {found['number']} ({found['how']} {found['source']}): {fault}"
                )
                show(findings[-1])
    return totals, findings, done


def _share(job: Job, numbers: Iterable[int], end: float, out: Any) -> None:
    for found in outcomes(job, numbers):
        out.send(found)
        if time.monotonic() > end:
            break
    out.close()
    os._exit(0)


def main(parser: argparse.ArgumentParser, make_job: Callable[[argparse.Namespace, Path], Job]) -> int:
    """Run the job that `make_job` makes of the options and a temporary folder; 1 if there are findings."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20_000, help="damaged files")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--only", type=int, help="one number: write the file, show its outcome")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        job = make_job(options, folder)
        if options.only is not None:
            _, how, damaged = job.damaged(options.only)
            kept = shutil.move(damaged, f"fuzz_{options.seed}_{options.only}{damaged.suffix}")
            print(f"damaged file: {kept}: {how}")
            for outcome in outcomes(job, [options.only]):
                print(json.dumps(outcome, indent=1))
            return 0
        start = time.monotonic()
        totals, findings, done = run(
            job, options.count, options.minutes, options.jobs, lambda text: print(text, flush=True)
        )
        print(
            f"seed {options.seed}: {done} damaged files made of {len(job.sources)} in {time.monotonic() - start:.0f} s"
        )
        for name, number in sorted(totals.items()):
            print(f"  {number:8} {name}")
        print(f"{len(findings)} findings")
        return 1 if findings else 0
    finally:
        shutil.rmtree(folder)
