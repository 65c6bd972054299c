"""The pages of the site: their blocks of code, and what they compute where no notebook is at hand."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^(```+|:::+)(\S*)[^\n]*\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    """The word behind the fence, such as ``{code-cell}``."""

    text: str
    """What stands in it, without its options."""


def pages() -> list[Path]:
    """Return the pages that are written by hand."""
    return sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, those within grids and cards left out."""
    found = _BLOCK.findall(page.read_text())
    return [Block(language, re.sub(r"\A(:[^\n]*\n)+\n?", "", text)) for _, language, text in found]


def cells(page: Path) -> list[str]:
    """Return the code that the build of the site runs."""
    return [block.text for block in blocks(page) if block.language == "{code-cell}"]


def run_python(page: Path) -> dict[str, Any]:
    """Run the cells of Python, from the top to the bottom, and return the variables; ``_`` is the last value."""
    names: dict[str, Any] = {"__name__": page.stem}
    for cell in cells(page):
        if cell.startswith("%%"):
            continue
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, page.name, "exec"), names)
        if isinstance(last, ast.Expr):
            names["_"] = eval(compile(ast.Expression(last.value), page.name, "eval"), names)
    return names
