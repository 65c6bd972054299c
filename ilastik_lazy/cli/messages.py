"""How the command line begins and ends: options that are given twice, exit codes, errors and warnings as one line each.

0 done, 1 failed (disk, network, a file that changed), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import Any, NoReturn

import click

from ilastik_lazy.errors import (
    ArgumentError,
    DestinationExistsError,
    FormatError,
    IlastikLazyError,
    IlastikLazyWarning,
    MemoryLimitError,
    SourceNotFoundError,
    UnsafeFileError,
)

__all__ = ["Command", "Group", "exit_code", "in_shell", "interrupted", "run", "say"]

INTERRUPTED = 130

# What a loader, an allocator, threads and libraries in C say where memory is short.
_OUT_OF_MEMORY = ("failed to map segment", "allocate memory", "start new thread", "out of memory", "alloc failed")

_BAD_INPUT = (FormatError, UnsafeFileError, ArgumentError, SourceNotFoundError, DestinationExistsError)

# Options of the commands by the names of the arguments that they are in Python.
_OPTIONS = {
    "internal_path": "dataset", "version": "ome-version", "source_roots": "source-root", "range": "range",
    "allow_external": "allow-external", "on_error": "on-error",
} | {
    name: name
    for name in (
        "axes", "bins", "by", "codec", "compression", "downsample", "kind", "levels", "memory", "overwrite", "project",
        "resume", "skipna", "table", "trust", "verify", "workers",
    )
}  # fmt: skip
# Not in a path, such as /data/version=2/a.h5.
_NAME = rf"(?<![\w/\\.-])({'|'.join(_OPTIONS)})"

# The library says what to do in Python; here the same is an option, a command, or cannot be done.
_IN_SHELL = (
    # What no command can do.
    (r", or open all with open_data\w+\(\)", ""),
    (r": pass limits= if that is meant", ""),
    (r", or storage_options=\{[^}]*\} for what is public", ""),
    (r"say storage_options=\{'account_name': \.\.\.\}", "set AZURE_STORAGE_ACCOUNT_NAME"),
    (r"storage_options or the environment", "the environment"),
    (r", and convert it with \.astype\('\w+'\)", ""),
    (r"; convert it with \.astype\(\)", ""),
    (r"(more), in `masked`", r"\1"),
    (r", reduce over more axes, or reduce what open_dataarray .*", ", or reduce over more axes"),
    (r", or name it with label=", ""),
    (r"for another order pass a list of files", "give the numbers in the names as many digits"),
    # Commands.
    (r"open_table\(\) opens it", "ilastik-lazy table prints it"),
    (r"tables are opened with open_table\(\)", "ilastik-lazy table prints tables"),
    (r"[Ii]mages are opened with open_dataarray\(\)", "ilastik-lazy info describes images"),
    (r"open the image itself with open_dataarray\(\)", "name the image itself"),
    (r"open the file with open_data\w+\(\)", "name the file itself"),
    # Options.
    (rf"{_NAME}=\[?(?:folder|roots)\]?", lambda found: f"--{_OPTIONS[found[1]]} FOLDER"),
    (rf"{_NAME}=\[folder [^]]*\]", lambda found: f"--{_OPTIONS[found[1]]} FOLDER"),
    (r"\brange=\(lower, upper\)", "--range LOWER UPPER"),
    (rf"{_NAME}=True \(--[a-z-]+\)", lambda found: f"--{_OPTIONS[found[1]]}"),
    (rf"{_NAME}=True\b", lambda found: f"--{_OPTIONS[found[1]]}"),
    (rf"{_NAME}='([^']*)'", lambda found: f"--{_OPTIONS[found[1]]} {found[2]}"),
    (rf"{_NAME}=(?=[\w'\"({{\[])", lambda found: f"--{_OPTIONS[found[1]]} "),
    (rf"{_NAME}=", lambda found: f"--{_OPTIONS[found[1]]}"),
    (r"(?<![\w/\\.-])(source_roots|allow_external|internal_path)\b", lambda found: f"--{_OPTIONS[found[1]]}"),
)


class Command(click.Command):
    """A command that refuses an option of one value that is given twice, where click forgets the first."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`, and count what is there."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in dict.fromkeys(given):
            if not isinstance(option, click.Option) or option.multiple or option.is_eager:
                continue
            is_switch = option.is_flag and not option.secondary_opts
            if given.count(option) > 1 and not is_switch:
                raise click.UsageError(f"{option.opts[-1]} is given {given.count(option)} times: give it once", ctx)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """All commands."""

    command_class = Command


def run(command: click.Group, arguments: list[str] | None) -> None:
    """Run `command`, say what went wrong in one line, and exit."""
    warnings.showwarning = _show_warning
    try:
        code = command.main(arguments, prog_name="ilastik-lazy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("ilastik-lazy: interrupted", err=True)
        # What was half made when the interrupt came, such as an event loop, complains when it is thrown away.
        sys.unraisablehook = lambda _: None
        code = INTERRUPTED
    except IlastikLazyError as error:
        say("error", str(error))
        code = exit_code(error)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (OSError, MemoryError, ImportError, RuntimeError, SystemError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            text = f"there is not enough memory ({text or type(error).__name__})"
        elif not isinstance(error, OSError):
            raise
        say("error", text or type(error).__name__)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def interrupted(what_now: str) -> NoReturn:
    """Exit as a command does that was stopped with Ctrl-C; `what_now` is what its user may do next."""
    click.echo(f"ilastik-lazy: stopped; {what_now}", err=True)
    raise SystemExit(INTERRUPTED)


def exit_code(error: IlastikLazyError) -> int:
    """2 where the input is at fault, 1 otherwise."""
    if isinstance(error, MemoryLimitError) and error.__cause__ is not None:
        return 1  # no plan that asks for too much, but a machine that lacked it
    return 2 if isinstance(error, _BAD_INPUT) else 1


def in_shell(text: str) -> str:
    """`text` of the library with commands and options for functions and arguments of Python.

    >>> in_shell("pass source_roots=[folder], with the folder that holds it, or raise memory=")
    'pass --source-root FOLDER, with the folder that holds it, or raise --memory'
    """
    for pattern, replacement in _IN_SHELL:
        text = re.sub(pattern, replacement, text)
    return text


def say(what: str, text: str) -> None:
    """Print an error or a warning, as `in_shell` has it."""
    text = in_shell(text)
    click.echo(f"ilastik-lazy: {click.style(what, fg='red' if what == 'error' else 'yellow')}: {text}", err=True)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # Warnings of libraries speak to programmers; ours speak to whoever typed the command.
    if issubclass(category, IlastikLazyWarning):
        say("warning", str(message))
