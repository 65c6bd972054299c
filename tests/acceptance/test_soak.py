"""A short run of what `tests.acceptance.soak` does for a minute, and of what the fuzzers do for ten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import LONG
from tests.support.mutations import MUTATIONS, mutated

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MANY = 4 if LONG else 1


def run(program: str, *options: str) -> str:
    """Output of a program of this folder, in a process without threads: it forks."""
    command = [sys.executable, "-m", program, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_threads_of_forked_and_spawned_processes_read_right_values():
    said = run("tests.acceptance.soak", "--seconds", "1", "--threads", "8", "--processes", "2")
    assert said.count("regions read") == 2
    assert said.endswith("in 1 s, 0 troubles\n")
    grown = [float(line.split("memory ")[1].split(" MiB")[0]) for line in said.splitlines() if "memory" in line]
    assert max(grown) < 12


def test_chains_of_steps_are_those_of_plain_arrays():
    assert ", 0 differences in " in run("tests.fuzz.arrays", "--count", f"{15 * MANY}", "--seed", "1")


def test_damaged_files_are_refused_or_read_right():
    count = ("--count", f"{100 * MANY}", "--untrusted-every", "50")
    said = run("tests.fuzz.hdf5", *count, "--minutes", "4", "--seed", "11")
    assert said.endswith("0 findings\n")
    assert "as before" in said


def test_damaged_stores_pictures_and_tables_are_refused_or_read_right():
    said = run("tests.fuzz.formats", "--count", f"{75 * MANY}", "--minutes", "4", "--seed", "7")
    assert said.endswith("0 findings\n")
    assert {"as before", "as another program reads it", "error MetadataError", "error CorruptChunkError"} <= {
        line.strip().partition(" ")[2] for line in said.splitlines()
    }


def test_a_seed_makes_the_same_damage_again():
    data = bytes(range(256)) * 40 + b'{"axes": [{"key": "x", "resolution": 0.5}]}TREE' + bytes(500)
    kinds = set()
    for number in range(300):
        name, damaged = mutated(data, f"1/{number}")
        assert (name, damaged) == mutated(data, f"1/{number}")
        kinds.add(name)
    assert kinds == set(MUTATIONS)
