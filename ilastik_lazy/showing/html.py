"""Results as HTML, for notebooks.  All text may come from a file: it is escaped here, once."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ilastik_lazy.errors import printable

__all__ = ["Row", "html_table", "swatches"]

Row = tuple[str, str]
"""A label, and the text beside it."""

# Notebooks align numbers to the right and stripe the rows, which long text is hard to read in.
_CELL = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;background:none;white-space:pre-wrap"


def html_table(title: str, rows: Iterable[Row], *, note: str = "", drawn: Sequence[tuple[str, str]] = ()) -> str:
    """Return a heading with a note, and a table of labels and texts.

    Parameters
    ----------
    drawn
        Rows whose second part is HTML already, such as `swatches` returns it.

    Examples
    --------
    >>> "<b>a&lt;b&gt;.h5</b>" in html_table("a<b>.h5", [("size", "z 2  y 3")])
    True
    """
    heading = f"<b>{_text(title)}</b>" + (f' <span style="opacity:0.7">{_text(note)}</span>' if note else "")
    cells = [(label, _text(text)) for label, text in rows] + list(drawn)
    lines = [
        f'<tr style="background:none"><td style="{_CELL};opacity:0.7">{_text(label)}</td>'
        f'<td style="{_CELL}">{text}</td></tr>'
        for label, text in cells
    ]
    table = f'<table style="border:none;margin:2px 0 8px 1em">{"".join(lines)}</table>' if lines else ""
    return f"<div>{heading}{table}</div>"


def swatches(names: Sequence[str], colors: Sequence[tuple[int, int, int]]) -> str:
    """Return names of classes, each after a square of its colour."""
    squares = [
        f'<span style="display:inline-block;width:0.8em;height:0.8em;border:1px solid #888;background:rgb{color}">'
        "</span> "
        for color in colors
    ]
    squares += [""] * (len(names) - len(squares))
    return ", ".join(f"{square}{_text(name)}" for square, name in zip(squares, names, strict=False))


def _text(text: str) -> str:
    lines = "\n".join(html.escape(printable(line)) for line in text.split("\n"))
    # Tables of numbers need letters of one width.
    return f'<pre style="margin:0;background:none">{lines}</pre>' if "\n" in lines else lines
