"""The matplotlib figure of planes: panels to scale, legend or colour bar, scale bar, and what is not known."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ilastik_lazy.core.classes import RGB, hex_colors
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import unit_symbol
from ilastik_lazy.viewing.pictures.planes import Layout, place_of
from ilastik_lazy.viewing.pictures.rendering import NO_NUMBER, ColorBar, Rendering
from ilastik_lazy.viewing.pictures.scale_bar import add_scale_bar

__all__ = ["draw"]

_LEAST_INCHES = 1.5
# Room that a legend or a colour bar needs beside or between panels.
_KEY_INCHES = 2.0
# Width of a letter of a title.
_LETTER_INCHES = 0.08
# Places of xy, zy and xz: axes that two of them share lie side by side.
_CELLS = ((0, 0), (0, -1), (-1, 0))


class _Picture(Figure):
    """A figure that a notebook shows where nothing has imported pyplot, which makes IPython show figures."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def draw(layout: Layout, spec: ArraySpec, rendering: Rendering, title: str, notes: Sequence[str]) -> Figure:
    """Draw the panels of a picture; nothing is shown or saved."""
    # Names in files are text, and neither formulas nor TeX.
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        width, height = (max(_LEAST_INCHES, sum(sizes) * layout.inches) for sizes in (layout.widths, layout.heights))
        figure = _Picture(figsize=(width + 2, height + 1), dpi=layout.dpi, layout="compressed")
        rows, columns = layout.heights, layout.widths
        grid = figure.add_gridspec(len(rows), len(columns), height_ratios=rows, width_ratios=columns)
        panels = [figure.add_subplot(grid[cell]) for cell in _CELLS[: len(layout.planes)]]
        for k, axes in enumerate(panels):
            _show(axes, layout, k, rendering)
            _label(axes, layout, k, spec)
        if layout.rulers.unit:
            add_scale_bar(panels[0], layout.rulers.unit)
        if rendering.bar is not None:
            _add_color_bar(figure, panels, rendering.bar, is_flat=sum(rows) * layout.inches < _KEY_INCHES)
        entries = [_entry(*each) for each in rendering.legend]
        entries += [_entry(*each, outline=True) for each in rendering.outlines]
        if entries and len(panels) > 1 and min(rows[-1], columns[-1]) * layout.inches > _KEY_INCHES:
            corner = figure.add_subplot(grid[-1, -1], frameon=False, xticks=[], yticks=[])
            corner.legend(handles=entries, loc="upper left", fontsize="small", frameon=False)
        elif entries:
            figure.legend(handles=entries, loc="outside right upper", fontsize="small", frameon=False)
        figure.suptitle(title)
        if notes:
            figure.supxlabel("\n".join(notes), fontsize="small", color="0.35")
    return figure


def _show(axes: Axes, layout: Layout, k: int, rendering: Rendering) -> None:
    plane, pixels, bar = layout.planes[k], rendering.images[k], rendering.bar
    # The last pixels may reach beyond the image, where the panel ends.
    down, across = (n * step for n, step in zip(pixels.shape, layout.steps(plane), strict=False))
    extent = (*layout.rulers.extent(plane.across, across), *layout.rulers.extent(plane.down, down)[::-1])
    is_crowded = any(n > room for n, room in zip(pixels.shape, layout.pixels(plane), strict=False))
    averaged = is_crowded and rendering.may_be_averaged
    image = axes.imshow(pixels, extent=extent, interpolation="antialiased" if averaged else "nearest")
    if bar is not None:
        # NaN in a colour that is none between black and that of the channel.
        colors = LinearSegmentedColormap.from_list("channel", ["black", _spelled(bar.color)])
        image.set(cmap=colors.with_extremes(bad=_spelled(NO_NUMBER)), clim=bar.contrast)
    if rendering.overlays:
        axes.imshow(rendering.overlays[k], extent=extent, interpolation="nearest")


def _label(axes: Axes, layout: Layout, k: int, spec: ArraySpec) -> None:
    """Set limits, ticks, labels and title of a panel, and draw lines where the other planes cut it."""
    plane, rulers = layout.planes[k], layout.rulers
    unit = unit_symbol(rulers.unit) or ("voxels" if rulers.counts_voxels else "")
    axes.set_aspect("equal")
    axes.set_xlim(rulers.extent(plane.across, layout.lengths[plane.across]))
    axes.set_ylim(rulers.extent(plane.down, layout.lengths[plane.down])[::-1])
    for ticks, dim in ((axes.xaxis, plane.across), (axes.yaxis, plane.down)):
        room = round(2 * rulers.size(dim, layout.lengths[dim]) * layout.inches)
        ticks.set_major_locator(MaxNLocator(min(8, max(1, room)), steps=[1, 2, 5, 10], min_n_ticks=1))
        ticks.set_label_text(f"{dim} [{unit}]" if unit else dim)
    if any(other.across == plane.across for other in layout.planes[k + 1 :]):
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")  # the panel below has it
    if any(other.down == plane.down for other in layout.planes[:k]):
        axes.tick_params(labelleft=False)
        axes.set_ylabel("")
    fixed = [place_of(spec, dim, index) for dim, index in plane.at.items() if dim in "zyx"]
    title = ", ".join([plane.name, *fixed])
    if len(title) * _LETTER_INCHES > rulers.size(plane.across, layout.lengths[plane.across]) * layout.inches:
        title = title.replace(", ", "\n").replace(" (", "\n(")
    axes.set_title(title, fontsize="medium")
    for dim in plane.name if len(layout.planes) > 1 else "":
        index = next(other.at[dim] for other in layout.planes if dim in other.at)
        position = rulers.axes[dim].translation + index * (rulers.axes[dim].scale or 1)
        line = axes.axvline if dim == plane.across else axes.axhline
        line(position, color="white", linewidth=0.5, alpha=0.5, dashes=(6, 4))


def _add_color_bar(figure: Figure, panels: Sequence[Axes], bar: ColorBar, *, is_flat: bool) -> None:
    below, above = bar.goes_beyond
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    options = {"location": "bottom", "aspect": 40} if is_flat else {"location": "right"}
    key = figure.colorbar(panels[0].images[0], ax=panels, shrink=0.6, extend=extend, **options)
    key.set_label(bar.label)


def _spelled(color: RGB) -> str:
    """Spell a colour as matplotlib does."""
    return hex_colors([color])[0]


def _entry(name: str, color: RGB | None, *, outline: bool = False) -> Patch:
    if color is None:
        return Patch(visible=False, label=name)
    if outline:
        return Patch(facecolor="none", edgecolor=_spelled(color), linewidth=1.5, label=name)
    return Patch(facecolor=_spelled(color), edgecolor="0.5", linewidth=0.5, label=name)
