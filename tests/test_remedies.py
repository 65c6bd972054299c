"""Advice is that of the interface in use: options of commands in the shell, arguments in Python."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest

import ilastik_lazy as il
from tests.test_layers import TREES

FUNCTIONS = [getattr(il, name) for name in il.__all__ if inspect.isfunction(getattr(il, name))]
FUNCTIONS += [getattr(il.reductions, name) for name in il.reductions.__all__]
ARGUMENTS = {
    name
    for function in FUNCTIONS
    if callable(function)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}
OPTION = re.compile(r"(?<![\w-])--[a-z]")
# Letters are axes, as in "z=0.5,y=1,x=1".
ARGUMENT = re.compile(rf"(?<![\w.])(?:{'|'.join(sorted(name for name in ARGUMENTS if name[1:]))})=(?!=)")

PYTHON_ONLY = {
    "api": "open_datatree, which no command calls",
    "cli.options": "values of --axes, which name images",
    "core.parallel": "a progress that is no function: commands pass their own",
    "demo": "code that the demo prints to be typed into Python",
    "formats.location": "storage_options that are no dict: commands make their own",
    "lazy.blocks": "dask arrays, which no command makes",
    "lazy.dataset": "chunks of dask arrays",
    "lazy.from_xarray": "arrays that were computed",
    "reductions.select_classes": "a function: commands have --select",
    "storage.allowed": "limits that are no Limits: no command passes them",
    "tables": "images of objects, which open_table(images=True) returns",
    "tables.rows": "background, an argument of paint",
    "viewing.plot": "a contrast that is not two numbers: click refuses it before",
    "writers.ilastik": "drange and display_mode, which export has no options for",
}
"""Modules whose messages name arguments, and why nobody meets them in the shell."""

SHELL_ONLY = {
    "demo": "commands that the demo prints to be typed into a shell",
    "storage.object_store.aws_profile": "a command of Amazon's own program",
}


def texts(node: ast.AST, side: str = "") -> Iterator[tuple[int, str, str]]:
    """Every text of a module but docstrings: its line, the side of `remedy` that it is on, and itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, side, child.value
        elif isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == "remedy":
            for which, argument in zip(("python", "shell"), child.args, strict=False):
                yield from texts(ast.Expression(argument), which)
        else:
            yield from texts(child, side)


def found(pattern: re.Pattern[str], right_side: str) -> dict[str, list[str]]:
    """Texts that `pattern` is in, and that are not on the right side of `remedy`, by module."""
    made: dict[str, list[str]] = {}
    for module, tree in TREES.items():
        for line, side, text in texts(tree):
            if side != right_side and pattern.search(text):
                made.setdefault(module, []).append(f"{line}: {text}")
    return made


def test_no_message_in_python_names_an_option() -> None:
    assert {name: lines for name, lines in found(OPTION, "shell").items() if name.split(".")[0] != "cli"}.keys() == (
        SHELL_ONLY.keys()
    )


def test_no_message_in_the_shell_names_an_argument() -> None:
    named = found(ARGUMENT, "python")
    assert {name: named.get(name) for name in named.keys() ^ PYTHON_ONLY.keys()} == {}


def test_the_checks_see_advice_on_the_wrong_side() -> None:
    tree = ast.parse("""f"{x}: pass --axes" + remedy("pass axes=", "pass --axes") + 'pass project="a"'""")
    sides = [(side, text) for _, side, text in texts(tree.body[0])]
    assert [side for side, text in sides if OPTION.search(text)] == ["", "shell"]
    assert [side for side, text in sides if ARGUMENT.search(text)] == ["python", ""]


@pytest.mark.parametrize(
    ("call", "python", "shell"),
    [
        (lambda: il.errors.option("internal_path", "a b"), "internal_path='a b'", "--dataset 'a b'"),
        (lambda: il.errors.option("source_roots"), "source_roots=", "--source-root"),
        (lambda: il.errors.option("overwrite", True), "overwrite=True", "--overwrite"),
        (lambda: il.errors.remedy("open_table()", "ilastik-lazy table"), "open_table()", "ilastik-lazy table"),
    ],
)
def test_advice_follows_the_audience(monkeypatch: pytest.MonkeyPatch, call, python: str, shell: str) -> None:
    assert call() == python
    monkeypatch.setattr(il.errors, "audience", "shell")
    assert call() == shell
