"""The command that reduces an image: mean, maximum, histogram, ..."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from ilastik_lazy.cli.batch.options import batch_given, batch_options
from ilastik_lazy.cli.options import (
    image_options,
    kind_option,
    memory_given,
    memory_option,
    source_at,
)
from ilastik_lazy.cli.running import Command
from ilastik_lazy.errors import ArgumentError

if TYPE_CHECKING:
    from ilastik_lazy.showing.progress import Callback

    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # generic since click 8.2 only

__all__ = ["reduce"]

_OPERATIONS = ("mean", "max", "min", "sum", "std", "histogram")


class _Operation(_Choice):
    """The name of a reduction; the error says where it belongs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        if value not in _OPERATIONS and os.path.exists(value):
            self.fail(f"{value!r} is a file: name the files first, then what to do, such as mean.", param, ctx)
        return super().convert(value, param, ctx)


@click.command(cls=Command, short_help="Reduce an image: mean, max, histogram, ...")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.argument("operation", type=_Operation(_OPERATIONS))
@image_options("local")
@kind_option
@batch_options("a result")
@click.option("--resume", is_flag=True, help="Keep the results that are already in --out-dir, and write the others.")
@click.option(
    "--over",
    metavar="AXES",
    multiple=True,
    help="Axes to reduce, such as z, zyx or z,y; may be given several times [default: all].",
)
@click.option(
    "--out", metavar="FILE", help="Write the result to FILE.npy, FILE.zarr or FILE.tif instead of printing it."
)
@click.option(
    "--bins",
    type=int,
    metavar="N",
    help="Number of bins of the histogram [default: 64; one per value for uint8, classes and ids].",
)
@click.option(
    "--range", "limits", type=(float, float), metavar="LOWER UPPER", help="Outer edges of the histogram's bins."
)
@click.option(
    "--by", type=click.Choice(["c"], case_sensitive=False), metavar="c", help="Make a histogram for each channel."
)
@click.option("--skipna/--no-skipna", default=None, help="Ignore NaN [default: yes].")
@memory_option
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def reduce(
    files: tuple[str, ...],
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
    resume: bool,
) -> None:
    """Reduce the image in each FILE block by block: its mean over z, its maximum, its histogram.

    \b
    ilastik-lazy reduce brain_Probabilities.h5 mean --over z --out mean.npy
    ilastik-lazy reduce brain_Probabilities.h5 histogram --by c
    ilastik-lazy reduce 'exports/*.h5' max --over z --out-dir projections

    A pattern in quotes stands for many images. A file that fails does not stop the others: it is listed at the end,
    and the exit code is 1.
    """
    dims = tuple(name for name in "".join(over).lower() if name not in ", ")
    if operation != "histogram" and (bins is not None or by is not None or limits is not None):
        raise click.UsageError("--bins, --range and --by are for histogram")
    if operation == "histogram" and (dims or skipna is not None):
        raise click.UsageError(
            "a histogram covers the whole image and leaves out NaN: drop --over and --skipna, or use --by c"
        )
    from ilastik_lazy.cli.results import check_image, check_output
    from ilastik_lazy.formats.suffixes import TIFF_SUFFIXES

    batch = batch_given()
    from ilastik_lazy.cli.batch.names import images_of, targets_of

    if out is not None and batch.out_dir is not None:
        raise click.UsageError("--out names one file, --out-dir a folder: drop one of them")
    if resume and batch.out_dir is None:
        raise click.UsageError("--resume is for --out-dir")
    if out is not None:
        check_output(out, (".npy", ".zarr", *TIFF_SUFFIXES))
    images = images_of(files)
    targets: dict[str, str] = {}
    if batch.out_dir is not None:
        targets = targets_of(list(images), batch.out_dir, f"_{operation}.npy", may_exist=resume)
    elif out is not None:
        if len(images) > 1:
            raise ArgumentError(f"{len(images)} results cannot all be {out}: pass --out-dir FOLDER, or --stack t")
        targets = dict.fromkeys(images, out)
    from ilastik_lazy.cli.batch.run import Made, memory_of_each, run_batch, threads_of_each
    from ilastik_lazy.cli.results import check_printable, result_text, write_result
    from ilastik_lazy.core.parallel import MEMORY, in_bytes
    from ilastik_lazy.core.reducing.plan import carried_out, plan_reduction
    from ilastik_lazy.core.size_text import parse_size

    memory = memory_of_each(memory_given(str(MEMORY)), batch.jobs)
    options: dict[str, Any] = {
        "workers": threads_of_each(workers, batch.jobs), "memory": parse_size(memory or MEMORY, "memory"),
    }  # fmt: skip
    if operation == "histogram":
        check_image("a histogram", out or "", ())
        options |= {"bins": bins, "by": by, "range": limits}
    else:
        options |= {"over": dims, "skipna": skipna}

    record = None
    if batch.out_dir is not None:
        from ilastik_lazy.cli.batch.record import Record

        record = Record(batch.out_dir)

    def work(name: str, progress: Callback | None) -> Made:
        target = targets.get(name)
        source = source_at(images[name], dataset, axes, project)
        if record is not None and target is not None and resume and record.has(target, source, overwrite=False):
            return Made(target, f"{target}: made by an earlier run", is_old=True)
        counted = in_bytes(progress, source.spec)
        result: Any
        if operation == "histogram":
            from ilastik_lazy.reductions import histogram

            result = histogram(source, **options, progress=counted).to_dataarray()
            kept = result.dims
        else:
            plan = plan_reduction(source.spec, operation, **options)
            kept, what = plan.dims, f"{operation} over {''.join(plan.over)}"
            if target is None:
                check_printable(what, dict(zip(kept, plan.shape, strict=True)))
            else:
                check_image(what, target, kept)
            result = carried_out(source, operation, plan, skipna, counted)
            # xarray and dask take a second to import; neither one number nor .npy has labels.
            has_labels = kept if target is None else not target.endswith(".npy")
            if has_labels:
                from ilastik_lazy.reductions.reducing import labelled

                result = labelled(source, operation, plan, result)
        shape = "  ".join(f"{dim} {size}" for dim, size in zip(kept, result.shape, strict=True)) or "one number"
        facts = {"operation": operation, "dims": list(kept), "shape": list(result.shape)}
        if target is None:
            text = result_text(result)
            return Made("", text, text if result.ndim == 0 else f"\n{text}\n ", facts)
        write_result(result, target)
        if record is not None:
            record.add(target, source)
        text = f"{target}: {operation} of {source.spec.storage.location}, {shape}, {result.dtype}"
        return Made(target, text, shape, facts)

    run_batch(
        list(images), work, batch, doing=operation, done="reduced", quiet=quiet, prints=not targets,
        again="run the same command with --resume" if batch.out_dir is not None else "",
    )  # fmt: skip
