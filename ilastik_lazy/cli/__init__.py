"""The command line: ``ilastik-lazy info | convert | verify | reduce | objects | classes | table | export | ...``.

`running` defines how errors are shown, and exit codes.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any, Literal

import click

from ilastik_lazy import __version__
from ilastik_lazy.cli.classes import classes
from ilastik_lazy.cli.convert import convert, verify
from ilastik_lazy.cli.doctor import doctor
from ilastik_lazy.cli.info import info
from ilastik_lazy.cli.objects import objects
from ilastik_lazy.cli.options import (
    image_options,
    kind_option,
    memory_given,
    memory_option,
    options_given,
    source_at,
    trust_option,
)
from ilastik_lazy.cli.plot import plot
from ilastik_lazy.cli.running import Group, run
from ilastik_lazy.cli.serve import serve
from ilastik_lazy.cli.view import view
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import printable

__all__ = ["main"]

_PRINTED_COLUMNS = 30
_OPERATIONS = ("mean", "max", "min", "sum", "std", "histogram")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    run(cli, arguments)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ilastik-lazy")
def cli() -> None:
    """Look at, reduce and convert what ilastik writes, however large it is."""


cli.add_command(classes)
cli.add_command(info)
cli.add_command(convert)
cli.add_command(verify)
cli.add_command(objects)
cli.add_command(plot)
cli.add_command(doctor)
cli.add_command(serve)
cli.add_command(view)


@cli.command(short_help="Reduce an image: mean, max, histogram, ...")
@click.argument("file")
@click.argument("operation", type=click.Choice(_OPERATIONS))
@image_options("local")
@kind_option
@click.option(
    "--over",
    metavar="AXES",
    multiple=True,
    help="Axes to reduce, such as z, zyx or z,y; may be given several times [default: all].",
)
@click.option("--out", metavar="FILE", help="Write the result to FILE.npy or FILE.zarr instead of printing it.")
@click.option("--bins", type=int, metavar="N", help="Bins of the histogram [default: 64; one per value for uint8].")
@click.option(
    "--range", "limits", type=(float, float), metavar="LOWER UPPER", help="Outer edges of the histogram's bins."
)
@click.option("--by", type=click.Choice(["c"]), metavar="c", help="A histogram for each channel.")
@click.option("--skipna/--no-skipna", default=None, help="Ignore NaN [default: yes].")
@memory_option
@click.option("--workers", type=int, metavar="N", help="Threads [default: all cores].")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def reduce(
    file: str,
    operation: str,
    dataset: str | None,
    axes: str | None,
    project: str | None,
    over: tuple[str, ...],
    out: str | None,
    bins: int | None,
    limits: tuple[float, float] | None,
    by: str | None,
    skipna: bool | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Reduce the image in FILE block by block: its mean over z, its maximum, its histogram.

    \b
    ilastik-lazy reduce brain_Probabilities.h5 mean --over z --out mean.npy
    ilastik-lazy reduce brain_Probabilities.h5 histogram --by c
    """
    dims = tuple(name for name in "".join(over).lower() if name not in ", ")
    if operation != "histogram" and (bins is not None or by is not None or limits is not None):
        raise click.UsageError("--bins, --range and --by are for histogram")
    if operation == "histogram" and (dims or skipna is not None):
        raise click.UsageError(
            "a histogram covers the whole image and leaves out NaN: drop --over and --skipna, or use --by c"
        )
    from ilastik_lazy.cli.results import check_output, check_printable, result_text, write_result

    if out is not None:
        check_output(out)
    source = source_at(file, dataset, axes, project)
    from ilastik_lazy import reductions
    from ilastik_lazy.core.parallel import MEMORY, in_bytes
    from ilastik_lazy.core.size_text import parse_size
    from ilastik_lazy.showing.progress import progress_bar

    options: dict[str, Any] = {"workers": workers, "memory": parse_size(memory_given(str(MEMORY)), "memory")}
    if operation == "histogram":
        options |= {"bins": bins, "by": by, "range": limits}
    else:
        options |= {"over": dims, "skipna": skipna}
        plan = reductions.plan_reduction(source.spec, operation, **options)
        if out is None:
            kept = [dim for dim in source.spec.dims if dim not in plan.over]
            check_printable(f"{operation} over {''.join(plan.over)}", dict(zip(kept, plan.shape, strict=True)))
    with progress_bar(operation, quiet=quiet) as bar:
        options["progress"] = in_bytes(bar, source.spec)
        if operation == "histogram":
            result = reductions.histogram(source, **options).to_dataarray()
        else:
            result = reductions.reduce(source, operation, **options)
    if out is None:
        click.echo(result_text(result))
        return
    write_result(result, out)
    shape = "  ".join(f"{dim} {size}" for dim, size in result.sizes.items()) or "one number"
    click.echo(f"{out}: {operation} of {source.spec.storage.location}, {shape}, {result.dtype}")


@cli.command(short_help="Print a table of objects or tracks.")
@click.argument("file")
@click.option("--out", metavar="FILE.csv", help="Write all rows as CSV, quoted where needed.")
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="Rows to print.")
@memory_option
@trust_option("local")
def table(file: str, out: str | None, rows: int) -> None:
    """Print the table of objects or tracks in FILE: how many rows, which columns, the first rows.

    \b
    ilastik-lazy table brain_table.h5
    """
    from ilastik_lazy.cli.results import check_output
    from ilastik_lazy.listing.entries import columns_in_short
    from ilastik_lazy.tables import open_table

    if out is not None:
        check_output(out, (".csv",))
    found = open_table(file, memory=memory_given("4GB"), trust=options_given().trust)
    click.echo(click.style(printable(found.attrs["source"]), bold=True))
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


@cli.command(short_help="Write an image as ilastik's HDF5 or N5.")
@click.argument("file")
@click.argument("target")
@image_options("local")
@kind_option
@click.option("--compression", type=click.Choice(["gzip", "none"]), default="gzip", help="As in ilastik's two formats.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET once the new file is complete.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "mask"]),
    default="raise",
    show_default=True,
    help="Chunks of FILE that were never written: refuse it, or fill them.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def export(
    file: str,
    target: str,
    dataset: str | None,
    axes: str | None,
    project: str | None,
    compression: str,
    overwrite: bool,
    on_error: Literal["raise", "mask"],
    quiet: bool,
) -> None:
    """Write the image in FILE as ilastik opens it: TARGET.h5 or TARGET.n5, with its axes and voxel size.

    \b
    ilastik-lazy export stack.tif stack.h5
    """
    source = source_at(file, dataset, axes, project)
    from ilastik_lazy.showing.progress import progress_bar
    from ilastik_lazy.writers.ilastik import to_ilastik

    with progress_bar("exporting", quiet=quiet) as progress:
        report = to_ilastik(
            source,
            target,
            compression=None if compression == "none" else "gzip",
            overwrite=overwrite,
            on_error=on_error,
            progress=progress,
        )
    if not quiet:
        click.echo(str(report))


@cli.command(short_help="Try everything on a small sample.")
@click.option("--folder", default="ilastik-lazy-demo", show_default=True, help="Where the results go.")
def demo(folder: str) -> None:
    """Open, reduce, convert and draw a small sample, and check the result voxel by voxel."""
    from ilastik_lazy.demo import run_demo

    run_demo(folder, click.echo)


if __name__ == "__main__":
    main()
