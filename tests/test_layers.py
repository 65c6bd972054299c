"""Imports point down, and nothing in the package can run what a file says."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ilastik_lazy

PACKAGE = Path(ilastik_lazy.__file__).parent

# From the bottom up.  A module imports from the lines below its own, never from its own line or above;
# a folder (with a slash) is one line, whose modules may import one another, but not in a circle.
LAYERS = [
    "errors",
    "text units limits sizes object_backend extras foreign_errors kept positions packing",
    "axes chunks cloud_objects web_objects",
    "object_store",
    "spec location files ome_metadata plain",
    "folders isolation external",
    "inflating deflating kinds cache label_axes project_paths new_file new_folder",
    "sources.window sources.stacked sources.xml_text sources.json_text",
    "sources.filters sources.scratch sources.attributes sources.zarr_files sources.hdf5_superblock",
    "sources.voxel_sizes sources.unpacked",
    "sources.conventions",
    "sources.hdf5_attributes sources.hdf5_header",
    "sources.hdf5_file sources.hdf5_btree",
    "sources.tiff_metadata sources.tiff_ifds sources.zarr_store sources.streams",
    "sources.hdf5_index sources.hdf5_scales sources.n5_blocks sources.zarr_codecs sources.tiff_file project_fields",
    "sources.zarr_elements",
    "sources.hdf5_layout sources.hdf5_direct sources.zarr_layout sources.tiff sources.png",
    "sources.picture",
    "sources.hdf5_library sources.npy",
    "sources.hdf5_external",
    "sources.hdf5_untrusted",
    "sources.hdf5 sources.n5 sources.zarr_direct sources.hdf5_table sources.csv_table",
    "sources.zarr_coordinates",
    "sources.zarr_spec",
    "sources.zarr sources.bdv",
    "sources sources.label_blocks",
    "sources.stack",
    "project project_inputs",
    "project_labels",
    "project_record",
    "label_counts",
    "indexing",
    "origins",
    "quick",
    "blocks",
    "lazy",
    "computed blockwise partials object_images table_rows project_tree",
    "shared_parts whole_chunks",
    "histogram ilastik_hdf5 ranks",
    "percentiles",
    "ilastik_n5",
    "reductions",
    "api datatree tables painting export",
    "normalising",
    "ome_zarr/",
    "__init__",
    "terminal progress results demo backend shell",
    "command_sources",
    "convert_commands info_command",
    "cli plugins/",
    "__main__",
]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer_of(module: str) -> int:
    for height, line in enumerate(LAYERS):
        for place in line.split():
            if module == place or (place.endswith("/") and f"{module}/".replace(".", "/").startswith(place)):
                return height
    raise AssertionError(f"{module} has no place in LAYERS: give it one")


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def folder_of(module: str) -> str | None:
    line = LAYERS[layer_of(module)]
    return next((p for p in line.split() if p.endswith("/") and f"{module}/".replace(".", "/").startswith(p)), None)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, which are for people and mypy."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node)


@functools.cache
def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or in a function."""
    found = set()
    for node in statements(tree_of(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        inside = {
            name.removeprefix("ilastik_lazy").removeprefix(".") for name in names if name.startswith("ilastik_lazy")
        }
        # "from ilastik_lazy.sources.hdf5 import x" names a module, and x, which is none.
        found |= {name or "__init__" for name in inside if (name or "__init__") in MODULES}
    return found - ({"__init__"} if len(found) > 1 else set())


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    for imported in imports_of(MODULES[module]) - {module}:
        inside_one_folder = folder_of(module) is not None and folder_of(module) == folder_of(imported)
        assert inside_one_folder or layer_of(imported) < layer_of(module), f"{module} imports {imported}"


def test_no_imports_run_in_a_circle():
    TopologicalSorter({module: imports_of(path) - {module} for module, path in MODULES.items()}).prepare()


def test_the_check_sees_imports_at_all():
    assert "files" in imports_of(MODULES["sources.hdf5_direct"])
    assert "project" in imports_of(MODULES["api"])  # inside a function
    assert "api" not in imports_of(MODULES["__init__"])  # for type checkers only


FORBIDDEN_MODULES = {
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
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_unpickled_or_evaluated(module):
    for node in ast.walk(tree_of(MODULES[module])):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN_MODULES
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"


@pytest.mark.parametrize("module", MODULES)
def test_no_broad_exception_is_caught(module):
    for node in ast.walk(tree_of(MODULES[module])):
        if isinstance(node, ast.ExceptHandler):
            caught = "everything" if node.type is None else ast.unparse(node.type)
            cleans_up = any(isinstance(child, ast.Raise) and child.exc is None for child in ast.walk(node))
            assert cleans_up or caught not in ("everything", "Exception", "BaseException"), f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for_and_what_it_gives(module):
    tree = tree_of(MODULES[module])
    assert ast.get_docstring(tree)
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in names or module == "__main__"
