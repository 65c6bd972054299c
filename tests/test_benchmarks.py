"""Every benchmark runs once, on tiny data, so that none of them rots."""

import importlib
import inspect
import itertools

import pytest


def cases():
    for module in ("reading", "reducing", "converting"):
        for name, value in vars(importlib.import_module(f"benchmarks.{module}")).items():
            if inspect.isclass(value) and value.__module__ == f"benchmarks.{module}":
                for method in dir(value):
                    if method.startswith(("time_", "peakmem_", "track_")):
                        yield pytest.param(module, name, method, id=f"{module}-{name}-{method}")


@pytest.mark.parametrize(("module", "name", "method"), list(cases()))
def test_benchmark_runs_once_on_tiny_data(module, name, method, tmp_path, monkeypatch):
    pytest.importorskip("pyfive", reason="pyfive is one of the peers: pip install '.[bench]'")
    monkeypatch.chdir(tmp_path)
    home = importlib.import_module(f"benchmarks.{module}")
    monkeypatch.setattr(home, "SIDE", 70)
    benchmark = getattr(home, name)
    for params in itertools.product(*benchmark.params):
        instance = benchmark()
        try:
            instance.setup(*params)
        except NotImplementedError:
            continue
        getattr(instance, method)(*params)
        if hasattr(instance, "teardown"):
            instance.teardown(*params)
