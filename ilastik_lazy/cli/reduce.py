"""The command that reduces an image: mean, maximum, histogram, ..."""

from __future__ import annotations

from typing import Any

import click

from ilastik_lazy.cli.options import image_options, kind_option, memory_given, memory_option, source_at
from ilastik_lazy.cli.running import Command

__all__ = ["reduce"]

_OPERATIONS = ("mean", "max", "min", "sum", "std", "histogram")


@click.command(cls=Command, short_help="Reduce an image: mean, max, histogram, ...")
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
@click.option(
    "--out", metavar="FILE", help="Write the result to FILE.npy, FILE.zarr or FILE.tif instead of printing it."
)
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
    from ilastik_lazy.cli.results import check_image, check_output, check_printable, result_text, write_result
    from ilastik_lazy.formats.suffixes import TIFF_SUFFIXES

    if out is not None:
        check_output(out, (".npy", ".zarr", *TIFF_SUFFIXES))
    source = source_at(file, dataset, axes, project)
    from ilastik_lazy import reductions
    from ilastik_lazy.core.parallel import MEMORY, in_bytes
    from ilastik_lazy.core.size_text import parse_size
    from ilastik_lazy.showing.progress import progress_bar

    options: dict[str, Any] = {"workers": workers, "memory": parse_size(memory_given(str(MEMORY)), "memory")}
    if operation == "histogram":
        check_image("a histogram", out or "", ())
        options |= {"bins": bins, "by": by, "range": limits}
    else:
        options |= {"over": dims, "skipna": skipna}
        plan = reductions.plan_reduction(source.spec, operation, **options)
        what, kept = f"{operation} over {''.join(plan.over)}", [dim for dim in source.spec.dims if dim not in plan.over]
        if out is None:
            check_printable(what, dict(zip(kept, plan.shape, strict=True)))
        else:
            check_image(what, out, kept)
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
