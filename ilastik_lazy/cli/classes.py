"""The command that states how much of an image each class takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ilastik_lazy.cli.options import image_options, kind_option, memory_given, memory_option, source_at
from ilastik_lazy.cli.running import Command, end_with_failed
from ilastik_lazy.errors import ArgumentError, IlastikLazyError, printable

if TYPE_CHECKING:
    from ilastik_lazy.core.spec import ArraySource
    from ilastik_lazy.lazy.from_xarray import AnySource

__all__ = ["classes"]

_PRINTED_ROWS = 1000


@click.command(cls=Command, short_help="Measure the area or volume of each class, and its share.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("local")
@kind_option
@click.option(
    "--by", metavar="AXES", default="", help="Rows for each slice (z), frame (t), or slice of each frame (tz)."
)
@click.option("--out", metavar="FILE.csv", help="Write the table to FILE.csv instead of printing it.")
@memory_option
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def classes(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    by: str,
    out: str | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Count the voxels of each class in each FILE: their number, area or volume, and share, 0 to 1.

    FILE is a segmentation, or a probability map, where each voxel belongs to its most probable class. A pattern in
    quotes, such as 'exports/*_Probabilities.h5', stands for many files. A file that fails does not stop the others:
    it is listed at the end, and the exit code is 1.

    \b
    ilastik-lazy classes 'exports/*_Probabilities.h5' --project brain.ilp --out shares.csv
    """
    import pandas as pd

    from ilastik_lazy.cli.batch.names import expanded
    from ilastik_lazy.cli.results import check_output
    from ilastik_lazy.core.parallel import MEMORY, in_bytes
    from ilastik_lazy.reductions.classes import measure_classes
    from ilastik_lazy.showing.progress import progress_bar
    from ilastik_lazy.tables.measured import AREA_UNIT, with_unit_columns

    if out is not None:
        check_output(out, (".csv",))
    names = expanded(files)
    dims, memory = [axis for axis in by.lower() if axis not in ", "], memory_given(str(MEMORY))
    tables: list[pd.DataFrame] = []
    failed: dict[str, IlastikLazyError | MemoryError] = {}
    for name in names:
        try:
            source = source_at(name, dataset, axes, project, wants_classes=True)
            image = _in_classes(source)
            with progress_bar("counting", quiet=quiet) as bar:
                progress = in_bytes(bar, source.spec)
                found = measure_classes(image, dims, workers=workers, memory=memory, progress=progress)
        except (IlastikLazyError, MemoryError) as error:
            failed[name] = error
            continue
        made = with_unit_columns(found)[[*found.columns, AREA_UNIT]]
        made.insert(0, "source", name)
        tables.append(made)
    if not tables:
        raise failed[names[0]]
    table = pd.concat(tables, ignore_index=True)
    if out is not None:
        table.to_csv(out, index=False)
        click.echo(f"{out}: {len(table)} rows")
    elif len(table) > _PRINTED_ROWS:
        raise ArgumentError(f"the table has {len(table):,} rows, too many to print: add --out shares.csv")
    else:
        shown = table if len(names) > 1 else table.drop(columns="source")
        text = shown.to_string(index=False, float_format=lambda value: f"{value:.6g}")
        click.echo("\n".join(map(printable, text.split("\n"))))
    if failed:
        end_with_failed(failed, len(names))


def _in_classes(source: ArraySource) -> AnySource:
    """Return the classes of probabilities; other images as they are."""
    from ilastik_lazy.reductions.classify import classify
    from ilastik_lazy.reductions.thresholds import PROBABILITIES

    spec = source.spec
    if spec.kind not in PROBABILITIES:
        return source
    if "c" in spec.dims and spec.channels == 1:
        raise ArgumentError(
            f"{spec.storage.location} has one channel, and not the probabilities of several classes: "
            "pass --kind segmentation if its values are the numbers of classes"
        )
    return classify(source)
