"""The site: all code in it is run when it is built, and the reference has every public name."""

from __future__ import annotations

import ast
import importlib
import re
import shlex

import click
import pytest

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from tests.support.pages import DOCS, blocks, cells, pages, run_python

PAGES = [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages()]
# Directives of Sphinx, texts that nobody runs, and commands that need a window, a cluster or an installation.
NOT_RUN = {"{toctree}", "{include}", "{eval-rst}", "text", "sh", "console", ""}


@pytest.mark.parametrize("page", PAGES)
def test_all_code_of_a_page_is_run_when_the_site_is_built(page):
    languages = {block.language for block in blocks(page) if not block.language.startswith("{grid")}
    assert languages <= NOT_RUN | {"{code-cell}"}
    assert ">>>" not in page.read_text()
    is_notebook = page.read_text().startswith("---\nfile_format: mystnb\n")
    assert is_notebook == bool(cells(page)), "cells are run in pages that say that they are notebooks"


@pytest.mark.parametrize("page", PAGES)
def test_cells_are_python_or_commands(page):
    for cell in cells(page):
        if not cell.startswith("%%sh\n"):
            ast.parse(cell)
            continue
        # The build does not notice a failed line before the last one.
        lines = cell.replace("\\\n", " ").strip().splitlines()[1:]
        assert [line.startswith("ilastik-lazy ") for line in lines[:-1]].count(True) <= lines[-1].startswith("echo ")


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page):
    for block in blocks(page):
        text = block.text.replace("\\\n", " ")
        for line in re.findall(r"^(?:\$ )?ilastik-lazy (.*)$", text, re.MULTILINE):
            name, *words = shlex.split(line, comments=True)
            command = cli.commands[name]
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= known | {"--help"}, line
            assert isinstance(command, click.Command)


def test_the_reference_has_every_public_name():
    listed = set(re.findall(r"^   ([\w.]+)$", (DOCS / "reference" / "index.md").read_text(), re.MULTILINE))
    modules = ("reductions", "doctor")
    names = {name for name in il.__all__ if name not in (*modules, "errors", "__version__")}
    for module in modules:
        names |= {f"{module}.{name}" for name in importlib.import_module(f"ilastik_lazy.{module}").__all__}
    assert listed == names
    assert ".. automodule:: ilastik_lazy.errors\n   :members:" in (DOCS / "reference" / "errors.md").read_text()


def test_every_page_is_in_a_list_of_pages():
    listed = set()
    for page in pages():
        for block in blocks(page):
            if block.language == "{toctree}":
                entries = [line for line in block.text.splitlines() if line and "generated" not in line]
                listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    assert set(pages()) - listed == {DOCS / "index.md"}


def test_limits_are_set_as_the_page_on_safety_says(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert isinstance(run_python(DOCS / "safety.md")["_"], il.Limits)
