"""Imports point down, and nothing in the package can run what a file says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import ilastik_lazy

PACKAGE = Path(ilastik_lazy.__file__).parent

# From the bottom up: a module imports from lines below its own, and from its own folder.
LAYERS = [
    "errors",
    "warning",
    "core",
    "showing",
    "storage",
    "formats",
    "lazy",
    "project tables",
    "reductions",
    "writers",
    "api",
    "serving",
    "listing",
    "viewing doctor",
    "engine demo",
    "cli __init__",
    "__main__",
]

FORBIDDEN_MODULES = [
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
    "code",
    "codeop",
]
FORBIDDEN_CALLS = ["eval", "exec", "compile", "__import__"]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def layer_of(module: str) -> int:
    return next(height for height, line in enumerate(LAYERS) if module.split(".")[0] in line.split())


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, which are for people and mypy."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from statements(node)


def imports_of(module: str) -> set[str]:
    """Modules of the package that a module imports, at its top or in a function; anybody may ask for the version."""
    found = set()
    for node in statements(TREES[module]):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name.removeprefix("ilastik_lazy.") for name in names if name.startswith("ilastik_lazy.")}
    return found & MODULES.keys() - {module}


def test_imports_point_down():
    for module in MODULES:
        for imported in imports_of(module):
            same_folder = module.split(".")[0] == imported.split(".")[0]
            assert same_folder or layer_of(imported) < layer_of(module), f"{module} imports {imported}"
    assert "storage.files" in imports_of("formats.hdf5.chunks.direct")  # the check sees imports at all


def test_no_imports_run_in_a_circle():
    TopologicalSorter({module: imports_of(module) for module in MODULES}).prepare()


def test_nothing_is_unpickled_evaluated_or_caught_blindly():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            where = f"{module}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not {name.split(".")[0] for name in named} & set(FORBIDDEN_MODULES), where
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN_CALLS, where
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", where
            elif isinstance(node, ast.ExceptHandler):
                caught = "everything" if node.type is None else ast.unparse(node.type)
                cleans_up = any(isinstance(child, ast.Raise) and child.exc is None for child in ast.walk(node))
                assert cleans_up or caught not in ("everything", "Exception", "BaseException"), where


def test_a_module_says_what_it_is_for_and_what_it_gives():
    for module, tree in TREES.items():
        assert ast.get_docstring(tree), module
        assert module == "__main__" or "__all__" in {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }, module
