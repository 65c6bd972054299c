"""Damage real files in thousands of ways, and see that each is refused or read right.

    python tests/fuzz.py --count 20000 --seed 1

Each damaged file is opened in a child process that does a few hundred of them.  Where the HDF5 library crashes
or hangs in it, the child is replaced, and the file is opened once more with ``trust="untrusted"``, which must
give a named error.  A finding is shown with its number: ``--seed S --only NUMBER`` makes the same file again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_outcomes
import numpy as np
from makers import DIRECT_LAYOUTS, H5PY_LAYOUTS, some_data, write_hdf5_export, write_ilp, write_layout
from mutations import mutated
from shared_files import SHARED
from table_makers import write_table, written

from ilastik_lazy import isolation
from ilastik_lazy.limits import Limits

# Seconds of the processor, which a busy machine does not shorten (a file takes 0.01), and of the clock.
CPU_SECONDS, SECONDS = 1.5, 60
MEMORY, BATCH = 3 * 2**30, 250
HANGS = (signal.SIGPROF, signal.SIGALRM)
LARGEST = 400_000
FORKING = multiprocessing.get_context("fork")


def real_files() -> list[Path]:
    """Small files that ilastik wrote; of many alike, as made by one script in many variants, a few."""
    found = [p for p in sorted((SHARED / "ilastik-files").rglob("*")) if p.suffix in (".h5", ".ilp") and p.is_file()]
    small = [path for path in found if 0 < path.stat().st_size <= LARGEST]
    taken: collections.Counter[tuple[Path, str]] = collections.Counter()
    chosen = []
    for path in small:
        taken[path.parent, path.suffix] += 1
        if taken[path.parent, path.suffix] <= 12:
            chosen.append(path)
    return chosen


def made_files(folder: Path) -> list[Path]:
    """One file in each layout that the tests know, a project and a table."""
    folder.mkdir(parents=True)
    for name, layout in (DIRECT_LAYOUTS | H5PY_LAYOUTS).items():
        write_layout(folder / f"{name.replace(' ', '_')}.h5", layout)
    write_hdf5_export(folder / "flat.h5", some_data((40, 50)), axes="yx", chunks=(9, 9), filters="gzip")
    write_ilp(folder / "project.ilp")
    write_table(folder / "cells_table.h5", written(), chunks=(2,), compression="gzip")
    return sorted(folder.iterdir())


@dataclass
class Job:
    """What makes all damaged files: the seed and the files that are damaged."""

    seed: int
    files: list[Path]
    folder: Path
    untrusted_every: int = 100
    originals: dict[Path, fuzz_outcomes.Values] = field(default_factory=dict)

    def damaged(self, number: int) -> tuple[Path, str, Path]:
        """The file that is damaged, how, and the result."""
        source = self.files[number % len(self.files)]
        how, data = mutated(source.read_bytes(), f"{self.seed}/{number}")
        # A name of its own for each: caches go by name, size and time.
        end = "_table.h5" if source.name.endswith("_table.h5") else source.suffix
        target = self.folder / f"{number}{end}"
        target.write_bytes(data)
        return source, how, target

    def before(self, source: Path) -> fuzz_outcomes.Values:
        if source not in self.originals:
            self.originals[source] = fuzz_outcomes.ours(str(source), Limits()).values
        return self.originals[source]


def judge(job: Job, number: int, stage: Any) -> dict[str, Any]:
    """Outcome of one damaged file."""
    source, how, path = job.damaged(number)
    before = job.before(source)
    one, other = (np.frombuffer(each.read_bytes(), np.uint8) for each in (source, path))
    shorter = min(len(one), len(other))
    changed = int(np.count_nonzero(one[:shorter] != other[:shorter])) + max(len(one), len(other)) - shorter
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(path.unlink)
        stage(f"reading, {how} of {source.name}")
        outcome = fuzz_outcomes.ours(str(path), Limits())
        stage(f"h5py, {how} of {source.name}")
        library = fuzz_outcomes.theirs(str(path), outcome)
        counts: collections.Counter[str] = collections.Counter()
        for name, values in outcome.values.items():
            # Under any name: that of a dataset may be damaged, too.
            if any(fuzz_outcomes.same(values, each) for each in (before.get(name), *before.values())):
                counts["as before"] += 1
            elif fuzz_outcomes.same(values, library.get(name)):
                counts["as h5py reads it"] += 1
            elif name in outcome.unchecked and fuzz_outcomes.nearly_same(values, before.get(name), changed):
                counts["as before, but for bytes without a checksum"] += 1
            elif name in outcome.szip:
                counts["szip, of which no reader can tell"] += 1
            elif path.suffix == ".ilp":
                # Labels are put together from blocks: h5py has no answer of its own.
                counts["labels changed"] += 1
            else:
                seen = "differs from h5py" if name in library else "data where h5py fails"
                outcome.faults.append(f"{name}: {seen}: {values.dtype} {values.shape}")
        counts.update(f"error {kind}" for kind in outcome.errors.values())
        if number % job.untrusted_every == 0:
            stage(f"untrusted, {how} of {source.name}")
            isolated = fuzz_outcomes.ours(str(path), Limits(trust="untrusted"))
            outcome.faults += [f"untrusted: {fault}" for fault in isolated.faults]
            for name, values in isolated.values.items():
                both = name in outcome.values and name not in outcome.szip
                if both and not fuzz_outcomes.same(values, outcome.values[name]):
                    outcome.faults.append(f"untrusted: {name}: other values")
            counts["also as untrusted"] += 1
    return {"number": number, "how": how, "source": source.name, "counts": counts, "faults": outcome.faults}


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ends in HANGS:
        signal.signal(ends, signal.SIG_DFL)  # ends the process, also where the GIL is held
    # Children of this child hang for the same reasons; here they need not do so for 20 seconds.
    isolation.CPU_SECONDS, isolation.WALL_SECONDS = 3, 30.0


def _work(job: Job, numbers: list[int], out: Any) -> None:
    _limit()
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.alarm(SECONDS + (100 if number % job.untrusted_every == 0 else 0))
        out.send(judge(job, number, lambda text, n=number: out.send({"number": n, "stage": text})))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    out.send(None)
    os._exit(0)


def _work_untrusted(job: Job, number: int, out: Any) -> None:
    _limit()
    signal.alarm(120)
    path = job.damaged(number)[2]
    outcome = fuzz_outcomes.ours(str(path), Limits(trust="untrusted"))
    path.unlink()
    out.send(outcome.faults)
    os._exit(0)


def _received(child: Any, pipe: Any) -> Iterator[Any]:
    """What a child sends, until it ends in any way."""
    with pipe:
        while True:
            try:
                yield pipe.recv()
            except EOFError:
                break
    child.join()


def _started(target: Any, *arguments: Any) -> tuple[Any, Any]:
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
        child, pipe = _started(_work, job, batch)
        done, last = 0, {"number": batch[0], "stage": "start"}
        for message in _received(child, pipe):
            if message is None:
                continue
            if "counts" in message:
                done += 1
                yield message
            else:
                last = message
        if done < len(batch):
            yield _of_the_dead(job, last, child.exitcode)
            done += 1
        left = left[done:]


def _of_the_dead(job: Job, last: dict[str, Any], code: int) -> dict[str, Any]:
    """The HDF5 library may end the process that trusts the file; whoever does not trust it must survive."""
    number, stage = last["number"], last["stage"]
    name = "hang" if -code in HANGS else f"crash {code}"
    child, pipe = _started(_work_untrusted, job, number)
    answers = list(_received(child, pipe))
    faults = [f"untrusted: {fault}" for fault in answers[0]] if answers else [f"untrusted: ended with {child.exitcode}"]
    if stage.startswith("untrusted"):
        faults.append(f"{name} while {stage}")
    counts = collections.Counter({f"{name} of the HDF5 library ({stage.split(',')[0]})": 1})
    return {"number": number, "how": stage, "source": "", "counts": counts, "faults": faults}


def run(job: Job, count: int, minutes: float, jobs: int, show: Any) -> tuple[collections.Counter[str], list[str], int]:
    """Damage and open `count` files, or as many as fit into `minutes`; totals, findings, how many were done."""
    totals: collections.Counter[str] = collections.Counter()
    findings: list[str] = []
    done, end = 0, time.monotonic() + minutes * 60
    for source in job.files:
        job.before(source)
    shares = dict(_started(_share, job, range(first, count, jobs), end)[::-1] for first in range(jobs))
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20_000, help="damaged files")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--files", nargs="*", type=Path, help="instead of ilastik's own and made ones")
    parser.add_argument("--only", type=int, help="one number: write the file, show its outcome")
    parser.add_argument(
        "--untrusted-every", type=int, default=100, help="of so many files, one is opened untrusted too"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        files = options.files or [*real_files(), *made_files(folder / "made")]
        job = Job(options.seed, files, folder, options.untrusted_every)
        if options.only is not None:
            kept = Path(shutil.copy(job.damaged(options.only)[2], f"fuzz_{options.seed}_{options.only}.h5"))
            print(f"damaged file: {kept}")
            for outcome in outcomes(job, [options.only]):
                print(json.dumps(outcome, indent=1))
            return 0
        start = time.monotonic()
        totals, findings, done = run(
            job, options.count, options.minutes, options.jobs, lambda text: print(text, flush=True)
        )
        print(f"seed {options.seed}: {done} damaged files made of {len(files)} in {time.monotonic() - start:.0f} s")
        for name, number in sorted(totals.items()):
            print(f"  {number:8} {name}")
        print(f"{len(findings)} findings")
        return 1 if findings else 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
