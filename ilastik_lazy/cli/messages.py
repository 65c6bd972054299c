"""How the command line begins and ends: options that are given twice, exit codes, errors and warnings as one line each.

0 done, 1 failed (disk, network, a file that changed), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, NoReturn

import click

from ilastik_lazy import errors
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

__all__ = ["Command", "Group", "exit_code", "interrupted", "run", "say"]

INTERRUPTED = 130

# What a loader, an allocator, threads and libraries in C say where memory is short.
_OUT_OF_MEMORY = ("failed to map segment", "allocate memory", "start new thread", "out of memory", "alloc failed")

_BAD_INPUT = (FormatError, UnsafeFileError, ArgumentError, SourceNotFoundError, DestinationExistsError)


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

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command whose messages advise options of commands."""
        errors.audience = "shell"
        ctx.call_on_close(lambda: setattr(errors, "audience", "python"))
        return super().invoke(ctx)


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


def say(what: str, text: str) -> None:
    """Print an error or a warning."""
    click.echo(f"ilastik-lazy: {click.style(what, fg='red' if what == 'error' else 'yellow')}: {text}", err=True)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # Warnings of libraries speak to programmers; ours speak to whoever typed the command.
    if issubclass(category, IlastikLazyWarning):
        say("warning", str(message))
