"""What the package states about itself in several files is the same in all of them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ilastik_lazy

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = yaml.safe_load((ROOT / ".ci" / "conda" / "recipe.yaml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
# conda-forge's names, where they differ: most of these lack the parts that need more packages.
CONDA_NAMES = {
    "dask": "dask-core",
    "isal": "python-isal",
    "matplotlib": "matplotlib-base",
    "pyarrow": "pyarrow-core",
}


def required(*extras):
    """Floors by name in conda-forge's spelling."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    found = [Requirement(text) for requirements in lists for text in requirements]
    return {CONDA_NAMES.get(one.name, one.name): str(one.specifier) for one in found if one.name != "ilastik_lazy"}


def floors(requirements):
    return dict(text.split(maxsplit=1) for text in requirements)


def test_the_conda_recipe_requires_what_pyproject_does():
    run = floors(RECIPE["requirements"]["run"])
    assert run.pop("python") == ">=${{ python_min }}"
    assert run == required()
    assert f">={RECIPE['context']['python_min']}" == PROJECT["requires-python"]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    host = floors(text for text in RECIPE["requirements"]["host"] if " >=" in text)
    assert host == {one.name: str(one.specifier) for one in map(Requirement, build)}
    assert {f"{name} = {target}" for name, target in PROJECT["scripts"].items()} == set(
        RECIPE["build"]["python"]["entry_points"]
    )


def test_the_conda_recipe_limits_optional_packages_as_the_extras_do():
    extras = set(PROJECT["optional-dependencies"]) - {"all", "demo", "test", "lint", "bench", "docs"}
    optional = {name: floor for name, floor in required(*extras).items() if name not in required()}
    assert floors(RECIPE["requirements"]["run_constraints"]) == optional
    (demo,) = [test["requirements"]["run"] for test in RECIPE["tests"] if "requirements" in test]
    assert floors(demo).items() <= optional.items()


def test_the_version_is_the_same_everywhere():
    assert ilastik_lazy.__version__ == CITATION["version"] == RECIPE["context"]["version"]
    assert f"## {ilastik_lazy.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_repository_has_one_address():
    home = PROJECT["urls"]["Homepage"]
    assert home == CITATION["repository-code"] == RECIPE["about"]["homepage"] == RECIPE["about"]["repository"]
    assert PROJECT["urls"]["Documentation"] == RECIPE["about"]["documentation"]
    files = [ROOT / "pyproject.toml", *ROOT.glob("*.md"), *ROOT.glob(".github/**/*.yml")]
    named = [
        name
        for file in files
        for name in re.findall(r"https://github\.com/ilastik[\w-]*/ilastik[\w-]*lazy", file.read_text())
    ]
    assert len(named) > 4
    assert set(named) == {home}


def test_every_package_that_is_imported_is_declared():
    imported = set()
    for file in (ROOT / "ilastik_lazy").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    distributions = metadata.packages_distributions()
    names = {
        canonicalize_name(distributions.get(name, [name])[0])
        for name in imported - set(sys.stdlib_module_names) - {"ilastik_lazy"}
    }
    extras = [name for name in PROJECT["optional-dependencies"] if name not in ("test", "lint", "bench", "docs")]
    declared = {canonicalize_name(name) for name in required(*extras)}
    assert {CONDA_NAMES.get(name, name) for name in names} <= declared


@pytest.mark.parametrize("document", [path.name for path in ROOT.glob("*.md")])
def test_links_lead_to_files(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
