"""A command and its function have the same options; the few that differ are listed with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from ilastik_lazy.errors import _OPTIONS
from ilastik_lazy.writers.opening import Opening

FUNCTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    "classes": (il.measure_classes,),
    "convert": (il.to_ome_zarr,),
    "doctor": (il.doctor.examine,),
    "export": (il.to_ilastik, il.to_tiff),
    "info": (il.info,),
    "objects": (il.label_objects, il.measure_objects),
    "plot": (il.plot,),
    "reduce": (il.reductions.reduce, il.reductions.histogram),
    "serve": (il.serve,),
    "table": (il.open_table,),
    "verify": (il.verify,),
    "view": (il.view,),
}

OPENING = {"internal_path", "axes", "project", "kind", "trust", "allow_external", "endpoint_url"}
# Commands whose functions take an image that is open: `open_dataarray` has these options.
TAKES_AN_OPEN_IMAGE = {"classes", "objects", "plot", "reduce", "serve", "view"}

IN_THE_SHELL = {
    "quiet": "a function shows nothing unless progress=True",
    "json": "the result has as_json()",
    "out": "the function returns the result",
    "endpoint_url": "an entry of storage_options",
    "region": "an entry of storage_options",
    "profile": "an entry of storage_options",
    "anon": "an entry of storage_options",
    "select": "sel() and isel() of xarray",
    "voxel_size": "an argument of open_dataarray",
    "jobs": "a loop, or threads of your own",
    "log_file": "logging, of the standard library",
    "report": "reports are values, with as_json()",
    "out_dir": "a loop over files",
    "scheduler": "dask.distributed.Client",
    "stack_along": "an argument of open_dataarray",
    "stack_order": "an argument of open_dataarray",
    "suffix": "part of the path",
    ("export", "resume"): "a loop over files",
    ("reduce", "resume"): "a loop over files",
    ("convert", "dry_run"): "plans are for people who type; a program asks for sizes with il.info",
    ("plot", "overwrite"): "the function returns a figure, whose savefig writes it",
    ("objects", "labels"): "to_ome_zarr writes what label_objects returns",
    ("objects", "resume"): "the table of many files is made by the command",
    ("objects", "unique_ids"): "unique_ids takes what label_objects and measure_objects return",
    ("table", "rows"): "a DataFrame has head()",
    ("view", "no_browser"): "open_browser=False",
}
IN_PYTHON = {
    "storage_options": "--endpoint-url, and the environment for credentials",
    "progress": "--quiet switches it off",
    "limits": "sizes that a file may have: a decision for a program, in Python",
    ("export", "drange"): "rarely needed; taken from the source",
    ("export", "display_mode"): "rarely needed; taken from the source",
    ("table", "images"): "arrays, which a shell cannot show",
    ("verify", "kind"): "numbers are compared whatever they mean",
    ("verify", "source"): "FILE",
    ("view", "open_browser"): "--no-browser",
}


def options_of(command: click.Command) -> set[str]:
    """The options of a command, by the names that they have in Python."""
    names = {option: argument for argument, option in _OPTIONS.items()}
    made = set()
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            flag = parameter.opts[-1].lstrip("-")
            made.add(names.get(flag, flag.replace("-", "_")))
    return made


def arguments_of(function: Callable[..., Any]) -> set[str]:
    """The arguments of a function that may be left out, those of `Opening` too."""
    parameters = list(inspect.signature(function).parameters.values())
    made = {each.name for each in parameters if each.default is not each.empty}
    takes_more = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return made | (set(Opening.__annotations__) if takes_more else set())


def differences(name: str) -> tuple[set[str], set[str]]:
    """Options that only the command has, and arguments that only its functions have."""
    command = options_of(cli.commands[name])
    function = set().union(*map(arguments_of, FUNCTIONS[name]))
    return command - function - (OPENING if name in TAKES_AN_OPEN_IMAGE else set()), function - command


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_command_has_the_options_of_its_function(name: str) -> None:
    for differing, explained in zip(differences(name), (IN_THE_SHELL, IN_PYTHON), strict=True):
        assert {each for each in differing if not {each, (name, each)} & explained.keys()} == set()


def test_every_difference_that_is_explained_is_there() -> None:
    for side, explained in enumerate((IN_THE_SHELL, IN_PYTHON)):
        seen = {key for name in FUNCTIONS for each in differences(name)[side] for key in (each, (name, each))}
        assert explained.keys() - seen == set()
