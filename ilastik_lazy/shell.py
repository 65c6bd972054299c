"""How the command line ends: exit codes, and errors and warnings as one line each.

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
    SourceNotFoundError,
    UnsafeFileError,
)

__all__ = ["exit_code", "interrupted", "run", "say"]

INTERRUPTED = 130

_BAD_INPUT = (FormatError, UnsafeFileError, ArgumentError, SourceNotFoundError, DestinationExistsError)

# The library says what to pass in Python; here the same is an option.
_IN_SHELL = (
    (r"internal_path=", "--dataset "),
    (r"pass axes=(\w)", r"pass --axes=\1"),
    (r"\baxes=", "--axes "),
    (r"\b(memory|levels|workers|table)=", r"--\1 "),
    (r"\bproject=", "--project"),
    (r"\ballow_external=\[folder\]", "--allow-external FOLDER"),
    (r"\ballow_external\b", "--allow-external"),
    (r"\bsource_roots=\[([^]]+)\]", r"--source-root FOLDER"),
    (r"\bsource_roots\b", "--source-root"),
    (r"\bkind='([^']*)'", r"--kind \1"),
    (r"without kind=, and convert it with \.astype\('uint32'\)", "without --kind"),
    (r"with resume=True \(--resume\)", "with --resume"),
    (r"with overwrite=True \(--overwrite\)", "with --overwrite"),
    (r"with on_error='mask'", "with --on-error mask"),
    (r"(pass|with) overwrite=True", r"\1 --overwrite"),
)


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
    except (OSError, MemoryError) as error:
        say("error", str(error) or type(error).__name__)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def interrupted(what_now: str) -> NoReturn:
    """Exit as a command does that was stopped with Ctrl-C; `what_now` is what its user may do next."""
    click.echo(f"ilastik-lazy: stopped; {what_now}", err=True)
    raise SystemExit(INTERRUPTED)


def exit_code(error: IlastikLazyError) -> int:
    """2 where the input is at fault, 1 otherwise."""
    return 2 if isinstance(error, _BAD_INPUT) else 1


def say(what: str, text: str) -> None:
    """Print an error or a warning, with the options of the command line for the arguments of Python."""
    text = text.replace(", or open all with open_dataset()", "")
    for pattern, replacement in _IN_SHELL:
        text = re.sub(pattern, replacement, text)
    click.echo(f"ilastik-lazy: {click.style(what, fg='red' if what == 'error' else 'yellow')}: {text}", err=True)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # Warnings of libraries speak to programmers; ours speak to whoever typed the command.
    if issubclass(category, IlastikLazyWarning):
        say("warning", str(message))
