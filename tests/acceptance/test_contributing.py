"""CONTRIBUTING's example is the format that ships, and each format has gone through its six steps."""

import ast
import re
from pathlib import Path

import pytest

from ilastik_lazy.formats import _formats, suffixes

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
_START, _END = CONTRIBUTING.index("## Add a format in six steps"), CONTRIBUTING.index("## Style")
STEPS = CONTRIBUTING[_START:_END]
BLOCKS = re.findall(r"^ *`([\w/.]+)`\n( *```python\n.*?) *```$", STEPS, re.MULTILINE | re.DOTALL)

FOLDER = ROOT / "ilastik_lazy" / "formats"
FORMATS = sorted(
    path.parent.name if path.name == "__init__.py" else path.stem
    for path in (*FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py"))
    if re.search(r"^FORMAT\b", path.read_text(), re.MULTILINE)
)


def test_each_block_of_code_names_its_file():
    assert len(BLOCKS) == STEPS.count("```python") >= 7


@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=[f"{i}-{path}" for i, (path, _) in enumerate(BLOCKS)])
def test_the_example_is_what_ships(path, block):
    # Blocks are indented by three, as parts of a list.
    code = re.sub("^   ", "", block.partition("\n")[2], flags=re.MULTILINE)
    assert f"\n{code}" in f"\n{(ROOT / path).read_text()}"


def test_the_files_that_the_steps_name_exist_and_define_what_they_say():
    for path in re.findall(r"`((?:ilastik_lazy|tests|docs|formats|core|storage)/[\w/]+\.\w+)`", STEPS):
        if "NAME" not in path:
            assert (ROOT / path).exists() or (ROOT / "ilastik_lazy" / path).exists(), path
    named = re.findall(r"`(\w+)`\s+\(`([\w/]+\.py)`\)", STEPS)
    assert len(named) >= 8
    for name, path in named:
        file = ROOT / path if path.startswith("tests/") else ROOT / "ilastik_lazy" / path
        defined = {node.name for node in ast.walk(ast.parse(file.read_text())) if hasattr(node, "name")}
        assert name in defined, (name, path)


def test_all_formats_are_found():
    assert len(FORMATS) == len(list(_formats(is_remote=False)))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_passes_the_contract_and_is_damaged_at_random(name):
    tests = ROOT / "tests" / "formats"
    files = [tests / f"test_{name}.py", *(tests / name).glob("test_*.py")]
    assert any("(SourceContract)" in file.read_text() for file in files if file.exists()), "step 5: SourceContract"
    damaged = re.search(r"^FORMATS = (.*)$", (ROOT / "tests" / "fuzz" / "formats.py").read_text(), re.MULTILINE)
    assert name == "hdf5" or f'"{name}' in damaged[1], "step 5: tests/fuzz/formats.py"


def test_suffixes_of_each_format_are_those_of_images():
    groups = {name: group for name, group in vars(suffixes).items() if name.endswith("_SUFFIXES")}
    for name, group in groups.items():
        # XML has many other uses.
        assert name in ("TABLE_SUFFIXES", "XML_SUFFIXES", "ZIP_SUFFIXES") or set(group) <= set(
            suffixes.IMAGE_SUFFIXES
        ), f"step 4: {name}"
