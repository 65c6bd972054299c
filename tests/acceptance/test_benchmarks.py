"""Every benchmark runs once, on tiny data, so that none of them rots."""

import importlib
import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import LONG

pytestmark = pytest.mark.slow


def cases():
    for module in ("reading", "reducing", "converting", "objects", "formats"):
        for name, value in vars(importlib.import_module(f"benchmarks.{module}")).items():
            if inspect.isclass(value) and value.__module__ == f"benchmarks.{module}":
                for method in dir(value):
                    if method.startswith(("time_", "peakmem_", "track_")):
                        yield pytest.param(module, name, method, id=f"{module}-{name}-{method}")


def parameters(benchmark):
    """Each value of each parameter once; each with each of the others with ILASTIK_LAZY_LONG=1."""
    if LONG:
        return list(itertools.product(*benchmark.params))
    most = max(map(len, benchmark.params))
    return [tuple(values[number % len(values)] for values in benchmark.params) for number in range(most)]


@pytest.mark.parametrize(("module", "name", "method"), list(cases()))
def test_benchmark_runs_once_on_tiny_data(module, name, method, tmp_path, monkeypatch):
    pytest.importorskip("pyfive", reason="pyfive is one of the peers: pip install '.[bench]'")
    monkeypatch.chdir(tmp_path)
    home = importlib.import_module(f"benchmarks.{module}")
    monkeypatch.setattr(home, "SIDE", 70)
    benchmark = getattr(home, name)
    for params in parameters(benchmark):
        instance = benchmark()
        try:
            instance.setup(*params)
        except NotImplementedError:
            continue
        getattr(instance, method)(*params)
        if hasattr(instance, "teardown"):
            instance.teardown(*params)


BARS = {
    "converting_bars.py": (["--size", "0.2", "--rounds", "1", "--slow-once"], 6),
    "memory_bars.py": (["--sizes", "0.002", "--rounds", "1", "--objects", "0.002", "0.01"], 9),
    "serving_bars.py": (["--size", "0.01", "--large", "0.02", "--rounds", "1"], 4),
    "formats_bars.py": (["--files", "2", "--rounds", "1"], None),
    "objects_bars.py": (["--size", "2", "--rounds", "1", "--fill", "0.05"], None),
}


@pytest.mark.skipif(not LONG, reason="ILASTIK_LAZY_LONG=1 runs the bars, in 20 seconds")
@pytest.mark.parametrize("script", BARS)
def test_promises_are_measured_on_tiny_data(script, tmp_path):
    pytest.importorskip("tensorstore", reason="tensorstore is one of the peers: pip install '.[test]'")
    if script == "memory_bars.py" and sys.platform != "linux":
        pytest.skip("reads VmHWM from /proc")
    arguments, rows = BARS[script]
    path = Path(__file__).parents[2] / "benchmarks" / script
    run = subprocess.run(
        [sys.executable, str(path), "--folder", str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ILASTIK_LAZY_BENCH_SIDE": "70"},
    )
    # With so little data some rows fall short, and the exit code says so.
    assert run.returncode == ("SHORT" in run.stdout), run.stderr
    header, table = run.stdout.split("at least\n")
    assert header
    # None: fewer where peers are not installed.
    assert len(table.splitlines()) == (rows or len(table.splitlines())) > 0
    assert all("x" in line for line in table.splitlines())
