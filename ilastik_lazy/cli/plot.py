"""The command ``plot``: a picture of slices of an image, in a file."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import click

from ilastik_lazy.cli.options import (
    BESIDE,
    image_beside,
    image_options,
    kind_option,
    options_given,
    source_at,
    stack_options,
    with_selection,
)
from ilastik_lazy.cli.running import Command
from ilastik_lazy.core.size_text import human_bytes
from ilastik_lazy.errors import ArgumentError, printable

if TYPE_CHECKING:
    from ilastik_lazy.core.spec import ArraySource

__all__ = ["plot"]

_ENDINGS = (".png", ".pdf", ".svg")


@click.command(cls=Command, short_help="Draw slices of an image into a PNG, PDF or SVG.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("local")
@kind_option
@stack_options
@click.option("--out", metavar="FILE.png", required=True, help="File to write: .png, .pdf or .svg.")
@click.option("--labels", metavar="FILE", help="Segmentation, ids or mask of the same voxels, drawn as contours.")
@click.option(
    "--plane", metavar="AXES", help="Draw only this slice, named by its horizontal and its vertical axis, such as xy."
)
@click.option(
    "-z", metavar="POSITION", help="Position of the slice along z, such as 12.5 (in the unit of the image) or 12um."
)
@click.option("-y", metavar="POSITION", help="The same along y.")
@click.option("-x", metavar="POSITION", help="The same along x.")
@click.option(
    "-t",
    metavar="TIME",
    help="Time, such as 90 (in the unit of t) or 1.5min; where FILE states no times, the frame [default: 0].",
)
@click.option("-c", metavar="CHANNEL", help="One channel, by name, or by number from 0.")
@click.option(
    "--contrast",
    type=(float, float),
    metavar="LOW HIGH",
    help="Values to show as black and as full colour [default: as stated in FILE, or percentiles of what is shown].",
)
@click.option("--dpi", type=float, default=150, show_default=True, help="Pixels per inch; the slices take 7 inches.")
@click.option("--overwrite", is_flag=True, help="Replace the picture once the new one is complete.")
@click.option("-q", "--quiet", is_flag=True, help="Print no summary.")
def plot(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    out: str,
    labels: str | None,
    plane: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Draw slices of the image in FILE to scale, with colours and names of classes, contours and a scale bar.

    \b
    ilastik-lazy plot brain_Probabilities.h5 --project brain.ilp --out brain.png
    ilastik-lazy plot raw.h5 --labels raw_Segmentation.h5 --plane xy -z 12um --out slice.png

    A volume is shown as three slices, xy, zy and xz, through its middle, or through the positions given. Along an
    axis without a voxel size, a position is the number of a voxel, from 0. Only the chunks of these slices are read,
    and large slices are reduced to what the picture can show. With --stack, several FILEs, or a pattern in quotes,
    are one image.
    """
    from ilastik_lazy.cli.batch.names import images_of
    from ilastik_lazy.cli.results import check_output
    from ilastik_lazy.core.library_errors import require_package

    check_output(out, _ENDINGS, overwrite=overwrite)
    images = images_of(files)
    if len(images) > 1:
        raise ArgumentError(
            f"{len(images)} images cannot all become {out}: plot them one by one, or pass --stack t (z, c) to make one "
            "image of them"
        )
    (paths,) = images.values()
    for name in ([paths] if isinstance(paths, str) else paths) + [labels]:
        if name is not None and os.path.exists(name) and os.path.exists(out) and os.path.samefile(name, out):
            raise ArgumentError(f"{out} is read for the picture, and would be lost: choose another name for --out")
    require_package("matplotlib", "plot", "plot draws with matplotlib")
    # Names come first: --select may use them.
    given, selectable = (project, "tzyxc") if labels is None else (None, "")
    source = source_at(paths, dataset, axes, given, wants_classes=True, selectable=selectable)
    over = None if labels is None else image_beside(labels)
    if over is not None:
        if project is not None:
            source, over = (_named(each, project) for each in (source, over))
        source, over = with_selection(source), with_selection(over, BESIDE)
    from ilastik_lazy.storage.new_file import new_file
    from ilastik_lazy.viewing.plot import plot as draw

    figure = draw(source, over, plane=plane, **options)
    with io.BytesIO() as picture:
        figure.savefig(picture, format=os.path.splitext(out)[1][1:])
        content = picture.getvalue()
    with new_file(os.path.abspath(out), overwrite=overwrite) as made:
        made.write(content)
        made.check()
    if not quiet:
        width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
        slices = "; ".join(title for panel in figure.axes if (title := panel.get_title()))
        click.echo(f"{out}: {width} x {height} pixels, {human_bytes(len(content))}")
        click.echo(printable(f"  {figure.get_suptitle()}: {slices}"))
        for note in filter(None, figure.get_supxlabel().split("\n")):
            click.echo(f"  {note}")


def _named(source: ArraySource, project: str) -> ArraySource:
    """Name the classes of FILE or of the labels, whichever has classes; raw data beside a segmentation has none."""
    from ilastik_lazy.project.classes import with_classes

    spec = source.spec
    # Raw images are integers: channels of floating-point numbers are probabilities, whatever the name of the file.
    may_be_probabilities = spec.kind is None and spec.dtype.kind == "f" and "c" in spec.dims
    has_classes = spec.kind == "probabilities" or spec.holds_classes or may_be_probabilities
    return with_classes(source, project, options_given()) if has_classes else source
