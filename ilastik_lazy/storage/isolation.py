"""Calls into the HDF5 library in a process of its own, for files from strangers.

libhdf5 was not made for malicious files: one changed byte makes it crash, or hang while it holds
the interpreter's lock, where no thread and no Ctrl-C can end it.  Here a child asks it, with
limits of time and memory, and hands over plain values; the caller only reads bytes of the file.

The child is a new interpreter (0.2 s): a fork of a process with threads may never come back.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import time
import typing
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from ilastik_lazy import errors
from ilastik_lazy.core.options import Trust
from ilastik_lazy.errors import CorruptFileError, IlastikLazyError, IlastikLazyWarning, MemoryLimitError
from ilastik_lazy.storage.wire import PlainError, packed, unpacked
from ilastik_lazy.warning import warn

__all__ = ["ask_hdf5", "in_child", "serve"]

_Answer = TypeVar("_Answer")

MEMORY_BYTES = 2 * 2**30
"""Address space of a child."""
CPU_SECONDS = 20
WALL_SECONDS = 30.0
"""Longer than `CPU_SECONDS`, for a child that waits for something."""
_JSON_BYTES = 64 * 2**20
_HEAD = struct.Struct("<QQQ")
_MOST_LETTERS = 480

# -I: nothing from the current folder or the environment; the caller's own path is handed over instead.
_START = "import sys; sys.path[:] = sys.argv[1:]; from ilastik_lazy.storage.isolation import serve; serve()"

_Notes = tuple[list[tuple[str, str]], tuple[str, str] | None]


class _NoAnswerError(Exception):
    """Why there is none."""


def ask_hdf5(
    trust: Trust, path: str, function: Callable[..., _Answer], *arguments: object, most_bytes: int = 2**20
) -> _Answer:
    """Call `function`, which asks the HDF5 library about the file at `path`: here, or `in_child` if it is untrusted."""
    if trust == "local":
        return function(*arguments)
    return in_child(path, function, *arguments, most_bytes=most_bytes)


def in_child(path: str, function: Callable[..., _Answer], *arguments: object, most_bytes: int = 2**20) -> _Answer:
    """Call `function` with `arguments` in a process of its own, and return its result.

    Parameters
    ----------
    path
        The file that it is about, for messages.
    function
        A function of a module of this package, with annotations: a result of another type is an error.
    most_bytes
        Bytes of all arrays in the result.

    Raises
    ------
    CorruptFileError
        The child crashed, hung, ran out of memory, or answered nonsense.
    IlastikLazyError
        What the function raised; its warnings are given, too.
    """
    name, expected = f"{function.__module__}:{function.__name__}", typing.get_type_hints(function)["return"]
    order = packed([MEMORY_BYTES, CPU_SECONDS, errors.audience, name])[0]
    with _started() as child:
        try:
            notes, text, data = _exchanged(path, child, _framed(order, *packed(list(arguments))), most_bytes)
        except _NoAnswerError as why:
            raise CorruptFileError(f"{path}: {why}: the file is damaged or malicious") from None
    try:
        warned, error = unpacked(_Notes, notes, memoryview(b""))
        value: Any = unpacked(expected, text, data) if error is None else None
    except (PlainError, IlastikLazyError, ValueError, TypeError, OverflowError) as problem:
        raise CorruptFileError(f"{path}: the process that inspected it answered nonsense: damaged or malicious") from (
            problem
        )
    for name, message in warned:
        warn(_printable(message), _class_of(name, IlastikLazyWarning))
    if error is not None:
        raise _class_of(error[0], CorruptFileError)(_printable(error[1]))
    answer: _Answer = value
    return answer


def _class_of(name: str, default: type[Any]) -> type[Any]:
    """The error or warning of this package that is called `name`."""
    found = getattr(errors, name, None) if name in errors.__all__ else None
    base = IlastikLazyWarning if issubclass(default, Warning) else IlastikLazyError
    return found if isinstance(found, type) and issubclass(found, base) else default


def _printable(message: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", message)[:_MOST_LETTERS]


def _framed(notes: bytes, text: bytes, arrays: list[bytes]) -> list[bytes]:
    return [_HEAD.pack(len(notes), len(text), sum(map(len, arrays))), notes, text, *arrays]


@contextlib.contextmanager
def _started() -> Iterator[subprocess.Popen[bytes]]:
    """A child that waits for a request; dead and reaped afterwards, whatever happened."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HDF5_")}
    # Two colons: no plugins.  One thread: libraries of linear algebra reserve memory for each.
    environment |= {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-c", _START, *(os.path.abspath(part) for part in sys.path if part)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        yield child
    finally:
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                # What could not be sent to a dead child.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        child.wait()


def _exchanged(
    path: str, child: subprocess.Popen[bytes], request: list[bytes], most_bytes: int
) -> tuple[bytes, bytes, memoryview]:
    """Send the request and read the answer, within limits on its size and time."""
    deadline = time.monotonic() + WALL_SECONDS
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        for part in request:
            child.stdin.write(part)
        child.stdin.flush()
    lengths = _HEAD.unpack(_received(path, child, _HEAD.size, deadline))
    if max(lengths[:2]) > _JSON_BYTES or lengths[2] > most_bytes:
        raise _NoAnswerError("what the HDF5 library found in it is too large to be true")
    notes, text, data = (_received(path, child, length, deadline) for length in lengths)
    return bytes(notes), bytes(text), memoryview(data)


def _received(path: str, child: subprocess.Popen[bytes], size: int, deadline: float) -> bytearray:
    assert child.stdout is not None
    # Grows with what has come: a child that announces much and sends little costs little.
    received, fd = bytearray(), child.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while len(received) < size:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise _NoAnswerError(f"the HDF5 library hung on this file (more than {WALL_SECONDS:g} s)")
            part = os.read(fd, min(size - len(received), 2**20))
            if not part:
                raise _NoAnswerError(_cause_of_death(path, child, deadline))
            received += part
    return received


def _cause_of_death(path: str, child: subprocess.Popen[bytes], deadline: float) -> str:
    try:
        code = child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = 0
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"the HDF5 library hung on this file (more than {CPU_SECONDS} s of computing)"
    if code == _OUT_OF_MEMORY:
        if (most := _granted()) < MEMORY_BYTES:
            raise MemoryLimitError(
                f"there is not enough memory to read {path}: the HDF5 library may take {most // 2**20} MiB here"
            )
        return f"the HDF5 library ran out of memory on this file (more than {MEMORY_BYTES // 2**20} MiB)"
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the HDF5 library crashed on this file ({name})"


_OUT_OF_MEMORY = 77


def serve() -> None:
    """Answer one request on the standard streams; what the child runs."""
    # What libraries print must not get between the bytes of the answer.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _answer(sys.stdin.buffer, out)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except ImportError as error:
        # The loader of shared libraries says so in its own words.
        if not re.search("memory|map segment", str(error)):
            raise
        os._exit(_OUT_OF_MEMORY)
    out.flush()
    # Without libhdf5's own clean-up, which may fall over what a damaged file left behind.
    os._exit(0)


def _answer(source: IO[bytes], out: IO[bytes]) -> None:
    order, text, data = (source.read(length) for length in _HEAD.unpack(source.read(_HEAD.size)))
    memory, seconds, errors.audience, name = unpacked(tuple[int, int, errors.Audience, str], order, memoryview(b""))
    _limit(memory, seconds)
    module, _, function = name.partition(":")
    called = getattr(importlib.import_module(module), function)
    hints = typing.get_type_hints(called)
    hints.pop("return")
    arguments = unpacked(tuple[*hints.values()], text, memoryview(data))  # type: ignore[misc]
    error, value = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = called(*arguments)
        except IlastikLazyError as problem:
            if isinstance(problem, MemoryLimitError):
                raise MemoryError from problem
            error = (type(problem).__name__, str(problem)[:2000])
    warned = [(one.category.__name__, str(one.message)[:2000]) for one in caught]
    for part in _framed(packed([warned, error])[0], *packed(value)):
        out.write(part)


def _granted() -> int:
    """Bytes of memory that a child may have where this process is limited itself."""
    try:
        import resource
    except ImportError:  # Windows
        return MEMORY_BYTES
    limits = [resource.getrlimit(resource.RLIMIT_AS)[1], *resource.getrlimit(resource.RLIMIT_DATA)]
    return min([MEMORY_BYTES, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])


def _limit(memory: int, seconds: int) -> None:
    import resource

    wanted = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_AS: (memory, memory),
    }
    for limit, (soft, hard) in wanted.items():
        # What is limited more strictly already stays so: nobody may raise it.
        _, most = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        # macOS knows no limit of the address space, and says that it is out of range.
        with contextlib.suppress(*([ValueError, OSError] if sys.platform == "darwin" else [])):
            resource.setrlimit(limit, (soft, hard))
