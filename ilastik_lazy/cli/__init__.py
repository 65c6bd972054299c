"""The command line: ``ilastik-lazy info | convert | verify | reduce | objects | classes | table | export | ...``.

`running` defines how errors are shown, and exit codes.
"""

from __future__ import annotations

import shutil
import sys

import click

from ilastik_lazy import __version__
from ilastik_lazy.cli.classes import classes
from ilastik_lazy.cli.convert import convert, verify
from ilastik_lazy.cli.doctor import doctor
from ilastik_lazy.cli.export import export
from ilastik_lazy.cli.info import info
from ilastik_lazy.cli.objects import objects
from ilastik_lazy.cli.options import memory_given, options_given, table_memory_option, trust_option
from ilastik_lazy.cli.plot import plot
from ilastik_lazy.cli.reduce import reduce
from ilastik_lazy.cli.running import Group, run
from ilastik_lazy.cli.serve import serve
from ilastik_lazy.cli.view import view
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import printable

__all__ = ["main"]

_PRINTED_COLUMNS = 30


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    run(cli, arguments)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ilastik-lazy")
def cli() -> None:
    """View, measure and convert the files that ilastik writes, however large they are."""


cli.add_command(classes)
cli.add_command(info)
cli.add_command(convert)
cli.add_command(verify)
cli.add_command(export)
cli.add_command(reduce)
cli.add_command(objects)
cli.add_command(plot)
cli.add_command(doctor)
cli.add_command(serve)
cli.add_command(view)


@cli.command(short_help="Print a table of objects or tracks.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--out", metavar="FILE.csv", help="Write all rows as CSV, quoted where needed.")
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="Number of rows to print.")
@table_memory_option
@trust_option("local")
def table(files: tuple[str, ...], out: str | None, rows: int) -> None:
    """Print the table of objects or tracks in FILE: the number of rows, the columns, and the first rows.

    Several FILEs, or a pattern in quotes, become one table; its column source names the file of each row.

    \b
    ilastik-lazy table brain_table.h5
    ilastik-lazy table '*_table.csv' --out all.csv
    """
    from ilastik_lazy.cli.results import check_output
    from ilastik_lazy.listing.entries import columns_in_short
    from ilastik_lazy.tables import open_table

    if out is not None:
        check_output(out, (".csv",))
    found = open_table(files[0] if len(files) == 1 else files, memory=memory_given("4GB"), trust=options_given().trust)
    source = found.attrs["source"]
    shown_source = source if isinstance(source, str) else counted(len(source), "table")
    click.echo(click.style(printable(shown_source), bold=True))
    click.echo(f"  {found.attrs['kind']}: {counted(len(found), 'row')}, {counted(len(found.columns), 'column')}")
    if out is not None:
        found.to_csv(out, index=False)
        click.echo(f"  written to {out}")
        return
    short = columns_in_short(found.columns, found.dtypes)
    longest = min(44, max((len(name) for name, _ in short), default=0))
    for name, dtype in short[:_PRINTED_COLUMNS]:
        click.echo(f"    {printable(name):{longest}} {dtype}")
    if len(short) > _PRINTED_COLUMNS:
        click.echo(f"    and {len(short) - _PRINTED_COLUMNS} more: --out table.csv has all columns")
    if not len(found) or not rows:
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = found.head(rows)
    lines = shown.to_string(max_cols=8, line_width=width, float_format=lambda value: f"{value:.6g}").split("\n")
    click.echo("\n".join(map(printable, lines)))


@cli.command(short_help="Try everything on a small sample.")
@click.option(
    "--folder", metavar="FOLDER", default="ilastik-lazy-demo", show_default=True, help="Folder for the results."
)
def demo(folder: str) -> None:
    """Open, reduce, convert and draw a small sample, and check the result voxel by voxel."""
    from ilastik_lazy.demo import run_demo

    run_demo(folder, click.echo)


if __name__ == "__main__":
    main()
