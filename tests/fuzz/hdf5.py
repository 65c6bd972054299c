"""Damage real files in thousands of ways, and see that each is refused or read right.

    python -m tests.fuzz.hdf5 --count 20000 --seed 1

Each damaged file is opened in a child process that does a few hundred of them.  Where the HDF5 library crashes
or hangs in it, the child is replaced, and the file is opened once more with ``trust="untrusted"``, which must
give a named error.  A finding is shown with its number: ``--seed S --only NUMBER`` makes the same file again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from tests.fuzz import children as fuzz_children
from tests.fuzz import outcomes as fuzz_outcomes
from tests.support.makers import DIRECT_LAYOUTS, H5PY_LAYOUTS, some_data, write_hdf5_export, write_ilp, write_layout
from tests.support.mutations import mutated
from tests.support.shared_files import FILES
from tests.support.table_makers import write_table, written

LARGEST = 400_000


def real_files() -> list[Path]:
    """Small files that ilastik wrote; of many alike, as made by one script in many variants, a few."""
    found = [p for p in sorted(FILES.rglob("*")) if p.suffix in (".h5", ".ilp") and p.is_file()]
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
class Hdf5Job:
    """What makes all damaged files: the seed and the files that are damaged."""

    seed: int
    sources: list[Path]
    folder: Path
    untrusted_every: int = 100
    originals: dict[Path, fuzz_outcomes.Values] = field(default_factory=dict)

    def damaged(self, number: int) -> tuple[Path, str, Path]:
        """The file that is damaged, how, and the result."""
        source = self.sources[number % len(self.sources)]
        how, data = mutated(source.read_bytes(), f"{self.seed}/{number}")
        # A name of its own for each: caches go by name, size and time.
        end = "_table.h5" if source.name.endswith("_table.h5") else source.suffix
        target = self.folder / f"{number}{end}"
        target.write_bytes(data)
        return source, how, target

    def before(self, source: Path) -> fuzz_outcomes.Values:
        if source not in self.originals:
            self.originals[source] = fuzz_outcomes.ours(str(source), DEFAULTS).values
        return self.originals[source]

    def judge(self, number: int, stage: Any) -> dict[str, Any]:
        """Outcome of one damaged file."""
        source, how, path = self.damaged(number)
        before = self.before(source)
        one, other = (np.frombuffer(each.read_bytes(), np.uint8) for each in (source, path))
        shorter = min(len(one), len(other))
        changed = int(np.count_nonzero(one[:shorter] != other[:shorter])) + max(len(one), len(other)) - shorter
        with contextlib.ExitStack() as cleaning:
            cleaning.callback(path.unlink)
            stage(f"reading, {how} of {source.name}")
            outcome = fuzz_outcomes.ours(str(path), DEFAULTS)
            stage(f"h5py, {how} of {source.name}")
            library = fuzz_outcomes.theirs(str(path), outcome)
            counts: collections.Counter[str] = collections.Counter()
            for name, values in outcome.values.items():
                # Under any name: that of a dataset may be damaged, too.
                if any(fuzz_outcomes.same(values, each) for each in before.values()):
                    counts["as before"] += 1
                elif fuzz_outcomes.same(values, library.get(name)):
                    counts["as h5py reads it"] += 1
                elif name in outcome.unchecked and any(
                    fuzz_outcomes.nearly_same(values, each, changed) for each in before.values()
                ):
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
            if number % self.untrusted_every == 0:
                stage(f"untrusted, {how} of {source.name}")
                isolated = fuzz_outcomes.ours(str(path), OpenOptions(trust="untrusted"))
                outcome.faults += [f"untrusted: {fault}" for fault in isolated.faults]
                for name, values in isolated.values.items():
                    both = name in outcome.values and name not in outcome.szip
                    if both and not fuzz_outcomes.same(values, outcome.values[name]):
                        outcome.faults.append(f"untrusted: {name}: other values")
                counts["also as untrusted"] += 1
        return {"number": number, "how": how, "source": source.name, "counts": counts, "faults": outcome.faults}

    def more_seconds(self, number: int) -> int:
        return 100 if number % self.untrusted_every == 0 else 0

    def judge_the_dead(self, number: int, stage: str, ended: str) -> dict[str, Any]:
        """The HDF5 library may end the process that trusts the file; whoever does not trust it must survive."""
        answer, code = fuzz_children.answer_of(_work_untrusted, self, number)
        faults = [f"untrusted: {fault}" for fault in answer] if code == 0 else [f"untrusted: ended with {code}"]
        if stage.startswith("untrusted"):
            faults.append(f"{ended} while {stage}")
        counts = collections.Counter({f"{ended} of the HDF5 library ({stage.split(',')[0]})": 1})
        return {"number": number, "how": stage, "source": "", "counts": counts, "faults": faults}


def _work_untrusted(job: Hdf5Job, number: int, out: Any) -> None:
    fuzz_children.limit_this_process()
    signal.alarm(120)
    path = job.damaged(number)[2]
    outcome = fuzz_outcomes.ours(str(path), OpenOptions(trust="untrusted"))
    path.unlink()
    out.send(outcome.faults)
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", nargs="*", type=Path, help="instead of ilastik's own and made ones")
    parser.add_argument(
        "--untrusted-every", type=int, default=100, help="of so many files, one is opened untrusted too"
    )

    def make_job(options: argparse.Namespace, folder: Path) -> Hdf5Job:
        files = options.files or [*real_files(), *made_files(folder / "made")]
        return Hdf5Job(options.seed, files, folder, options.untrusted_every)

    return fuzz_children.main(parser, make_job)


if __name__ == "__main__":
    sys.exit(main())
