"""Run commands: reject repeated options, print each error and warning on one line, return exit codes.

How advice is worded for the command line is in `errors` (`option`, `remedy`); this module only switches it on.

0 done, 1 failed (disk, network, a file that changed), 2 bad input, 130 interrupted, 143 ended by SIGTERM.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import click

from ilastik_lazy import errors
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import (
    ArgumentError,
    DestinationError,
    DestinationExistsError,
    FormatError,
    IlastikLazyError,
    IlastikLazyWarning,
    MemoryLimitError,
    SourceNotFoundError,
    UnsafeFileError,
    printable,
)

__all__ = [
    "Command",
    "Failure",
    "Group",
    "end_with_failed",
    "exit_code",
    "interrupted",
    "logged_to",
    "run",
    "say",
    "wait_for_interrupt",
]

INTERRUPTED, TERMINATED = 130, 143

Failure = IlastikLazyError | MemoryError | OSError
"""Errors of one file, which do not stop the work on others."""

_log = logging.getLogger("ilastik_lazy.cli")
_log.propagate = False
_log.addHandler(logging.NullHandler())

# Words in the errors of loaders, allocators, threads and C libraries that are short of memory.
_OUT_OF_MEMORY = (
    "failed to map segment", "allocate memory", "start new thread", "out of memory", "alloc failed",
    "without setting an exception", "without exception set",
)  # fmt: skip

# For outputs in an encoding that lacks them, such as cp1252 of Windows in a pipe.
_PLAIN = {"µ": "u", "×": "x", "→": "->", "…": "..."}

_BAD_INPUT = (FormatError, UnsafeFileError, ArgumentError, SourceNotFoundError, DestinationExistsError)


class Command(click.Command):
    """A command that rejects a repeated option; click would silently use the last value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`, and reject repeated options."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in dict.fromkeys(given):
            if not isinstance(option, click.Option) or option.multiple or option.is_eager:
                continue
            is_switch = option.is_flag and not option.secondary_opts
            if given.count(option) > 1 and not is_switch:
                raise click.UsageError(f"{option.opts[-1]} is given {given.count(option)} times: give it once", ctx)
        return super().parse_args(ctx, args)


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which a cluster or a service manager ends a process: treated as Ctrl-C."""


class Group(click.Group):
    """All commands."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command with messages that name its options."""
        errors.audience = "shell"
        ctx.call_on_close(lambda: setattr(errors, "audience", "python"))
        return super().invoke(ctx)


def run(command: click.Group, arguments: list[str] | None) -> None:
    """Run `command`, print any error on one line, and exit."""
    warnings.showwarning = _show_warning
    codecs.register_error("ilastik_lazy", _spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ilastik_lazy")
    try:
        with _terminable():
            code = command.main(arguments, prog_name="ilastik-lazy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo("ilastik-lazy: interrupted", err=True)
        # Objects that the interrupt left incomplete, such as an event loop, complain when they are deleted.
        sys.unraisablehook = lambda _: None
        code = TERMINATED if isinstance(error.__cause__, Terminated) else INTERRUPTED
    except IlastikLazyError as error:
        say("error", str(error))
        code = exit_code(error)
    except BrokenPipeError:
        # The reader of our output has closed the pipe, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (OSError, MemoryError, ImportError, RuntimeError, SystemError) as error:
        text = " ".join(str(error).split())
        reasons = [str(each) for each in _causes(error) if any(words in str(each) for words in _OUT_OF_MEMORY)]
        if isinstance(error, MemoryError) or reasons:
            text = " ".join((reasons or [text])[-1].split())
            text = f"there is not enough memory ({text or type(error).__name__})"
        elif not isinstance(error, OSError):
            raise
        say("error", text or type(error).__name__)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it: numpy words an import without memory as one of its source folder."""
    while error is not None:
        yield error
        error = error.__cause__


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """Spell the characters that the encoding of an output lacks: in ASCII, or as escape sequences."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or ascii(letter)[1:-1] for letter in lacking), error.end


def wait_for_interrupt() -> NoReturn:
    """Wait for Ctrl-C; on Windows it ends a sleep, but not the wait for an event."""
    while True:
        time.sleep(3600)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what is done as Ctrl-C would; only the main thread may ask for it."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def logged_to(path: str | None) -> Iterator[None]:
    """Append what the package logs to a file, with date and time.

    Raises
    ------
    DestinationError
        The file cannot be written.
    """
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise DestinationError(f"cannot write {path}: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("ilastik_lazy")
    level = package.level
    package.setLevel(logging.INFO)
    for logger in (package, _log):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in (package, _log):
            logger.removeHandler(handler)
        package.setLevel(level)
        handler.close()


def interrupted(what_now: str) -> NoReturn:
    """Exit as after Ctrl-C; `what_now` says what the user can do next."""
    click.echo(f"ilastik-lazy: stopped; {what_now}", err=True)
    _log.warning("stopped; %s", what_now)
    raise SystemExit(TERMINATED if isinstance(sys.exception(), Terminated) else INTERRUPTED)


def exit_code(error: IlastikLazyError) -> int:
    """Return 2 for bad input, 1 for any other failure."""
    if isinstance(error, MemoryLimitError) and error.__cause__ is not None:
        return 1  # the machine ran out of memory; the plan was within its limit
    return 2 if isinstance(error, _BAD_INPUT) else 1


def end_with_failed(failed: Mapping[str, Failure], count: int, again: str = "", *, done: str = "measured") -> NoReturn:
    """Print the error of each file that could not be measured (or `done`), of `count` files, and exit with 1."""
    for name, error in failed.items():
        reason = "there is not enough memory" if isinstance(error, MemoryError) else str(error)
        say("error", reason if name in reason else f"{printable(name)}: {reason}")
    say("error", f"{len(failed)} of {counted(count, 'file')} could not be {done}{again}")
    raise SystemExit(1)


def say(what: str, text: str) -> None:
    """Print, and log, an error or a warning."""
    _log.log(logging.ERROR if what == "error" else logging.WARNING, "%s", text)
    click.echo(f"ilastik-lazy: {click.style(what, fg='red' if what == 'error' else 'yellow')}: {text}", err=True)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # Warnings of other libraries are for programmers, and are not shown.
    if issubclass(category, IlastikLazyWarning):
        say("warning", str(message))
