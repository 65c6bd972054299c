"""Run Python in a process of its own: for memory, for imports, and for what might crash."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.storage import isolation

# Forks of a process that has imported, but not run, all that commands and sources need: a second of importing less for
# each.
METHOD = "spawn" if os.name == "nt" else "forkserver"
_SERVER: Any = multiprocessing.get_context(METHOD)
_SERVER.set_forkserver_preload(["tests.support.everything"])


def run_python(code: str, *arguments: str, stdin: bytes = b"", timeout: float = 120) -> bytes:
    """Standard output of `code`, run by this interpreter; a failure shows what the child wrote."""
    return _run(["-c", code, *arguments], stdin, timeout)


def run_file(path: Path, *arguments: str, timeout: float = 120) -> bytes:
    """The same of a file, which processes that it starts can import."""
    return _run([str(path), *arguments], b"", timeout)


def _run(arguments: list[str], stdin: bytes, timeout: float) -> bytes:
    finished = subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, timeout=timeout, check=False
    )
    assert finished.returncode == 0, f"exit {finished.returncode}: {finished.stderr.decode(errors='replace')[-3000:]}"
    return finished.stdout


def run_command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``ilastik-lazy`` with these arguments, as people run it: in a process of its own, without a terminal."""
    return run_forked("from ilastik_lazy.__main__ import main; main()", *arguments, cwd=cwd)


def run_forked(code: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fork of a process that has all imports, for tests of which no import is the subject."""
    command = ["ilastik-lazy", *map(str, arguments)]
    exit_code, out, err = _in_a_fork(_execute, code, command, str(cwd or os.getcwd()), dict(os.environ))
    return subprocess.CompletedProcess(command, exit_code, out.decode(), err.decode())


def _execute(code: str, command: list[str], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    exec(compile(code, "<code of a test>", "exec"), {"__name__": "__main__"})


def read_elsewhere(source: ArraySource, region: Region) -> bytes:
    """Bytes of `region`, as a pickled copy of `source` reads them in another process."""
    code, out, err = _in_a_fork(_read, pickle.dumps((source, region)))
    assert code == 0, err.decode()[-3000:]
    return out


def _read(pickled: bytes) -> None:
    source, region = pickle.loads(pickled)
    sys.stdout.buffer.write(np.ascontiguousarray(source.read(region)).tobytes())


class _ForkedChild:
    """What `isolation` uses of a `subprocess.Popen`."""

    def __init__(self) -> None:
        request, stdin = _SERVER.Pipe(duplex=False)
        stdout, answer = _SERVER.Pipe(duplex=False)
        self._process = _SERVER.Process(target=_serve, args=(request, answer, os.getcwd()))
        self._process.start()
        self.stdin = os.fdopen(os.dup(stdin.fileno()), "wb")
        self.stdout = os.fdopen(os.dup(stdout.fileno()), "rb")
        for end in (request, stdin, stdout, answer):
            end.close()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        return self._process.exitcode


def _serve(request: Connection, answer: Connection, folder: str) -> None:
    for number, end in enumerate((request, answer)):
        os.dup2(end.fileno(), number)
        end.close()
    os.chdir(folder)
    sys.stdin = io.TextIOWrapper(os.fdopen(0, "rb"))
    isolation.serve()


@contextlib.contextmanager
def forked_child() -> Iterator[Any]:
    """A child for `isolation`, like `isolation._started`, in a fortieth of a second instead of half of one."""
    child = _ForkedChild()
    try:
        yield child
    finally:
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        child.wait()


def _in_a_fork(function: Any, *arguments: Any) -> tuple[int, bytes, bytes]:
    """Exit code, output and errors of a process that calls `function`."""
    # The server hands no files down, and only Linux has paths to those that are open here.
    with tempfile.TemporaryDirectory() as folder:
        out, err = paths = [Path(folder, name) for name in ("out", "err")]
        for path in paths:
            path.touch()
        child = _SERVER.Process(target=_redirected, args=(paths, function, *arguments))
        child.start()
        child.join(120)
        if child.is_alive():
            child.kill()
            raise TimeoutError(f"{function.__name__}{arguments} takes more than 120 seconds")
        assert child.exitcode is not None
        return child.exitcode, out.read_bytes(), err.read_bytes()


def _redirected(paths: list[Path], function: Any, *arguments: Any) -> None:
    for number, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    try:
        function(*arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
