"""Which images the FILEs of a command stand for, and what the files made of them are called."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

import click

from ilastik_lazy.cli.options import options_given, stack_given
from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import ArgumentError, DestinationExistsError, option
from ilastik_lazy.formats.location import number_key, with_slashes
from ilastik_lazy.formats.patterns import is_pattern, matching
from ilastik_lazy.formats.suffixes import CONTAINER
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.warning import warn

__all__ = ["expanded", "images_and_targets", "images_of", "stem_of", "targets_of"]

_INSIDE = re.compile(f"({CONTAINER})/.*", re.IGNORECASE)
_INSIDE_OF = re.compile(f"{CONTAINER}/(?!.*{CONTAINER}/)(.*)", re.IGNORECASE)


def images_of(files: Sequence[str]) -> dict[str, str | list[str]]:
    """Return what `source_at` opens for each image that the FILEs stand for, by the name of the image.

    Each file, and each image that fits a pattern, is an image; with ``--stack`` all of them are one.
    """
    (along, order), options = stack_given(), options_given()
    if along is None:
        if order is not None:
            raise click.UsageError("--order is for --stack")
        return {name: name for name in expanded(files, options)}
    if len(files) == 1 and (is_pattern(files[0]) or not files[0]):
        return {files[0]: files[0]}
    names = _in_order_given(expanded(files, options), order)
    return {names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}": names}


def images_and_targets(
    files: Sequence[str], out_dir: str | None, ending: str, *, may_exist: bool
) -> tuple[dict[str, str | list[str]], dict[str, str]]:
    """Return the images of ``FILE... [TARGET]`` (see `images_of`), and where each one goes: to TARGET, or `out_dir`.

    Raises
    ------
    ArgumentError
        Several images have one TARGET.
    """
    if out_dir is None and len(files) < 2:
        raise click.UsageError("Missing argument 'TARGET': name it, or pass --out-dir FOLDER for many files.")
    images = images_of(files if out_dir is not None else files[:-1])
    if out_dir is None:
        if len(images) > 1:
            raise ArgumentError(
                f"{len(images)} images cannot all become {files[-1]}: pass --out-dir FOLDER to write a file for each, "
                "or --stack t (z, c) to make one image of them"
            )
        return images, dict.fromkeys(images, files[-1])
    if stack_given()[0] is not None:
        raise click.UsageError("--stack makes one image: name TARGET instead of --out-dir")
    return images, targets_of(list(images), out_dir, ending, may_exist=may_exist)


def expanded(names: Sequence[str], options: OpenOptions = DEFAULTS) -> list[str]:
    """List the images that `names` stand for; those of a pattern in the order of the numbers in their names.

    Raises
    ------
    SourceNotFoundError
        No file fits a pattern.
    ArgumentError
        A file is named twice.
    """
    found: list[str] = []
    for name in names:
        if is_url(name) or not is_pattern(name):
            found.append(name if is_url(name) else os.path.normpath(name))
            continue
        for path, inside in matching(name, options):
            found.append("/".join(filter(None, (os.path.normpath(path), inside))))
    places = [name if is_url(name) else os.path.abspath(name) for name in found]
    counts = Counter(places)
    if twice := next((name for name, place in zip(found, places, strict=True) if counts[place] > 1), None):
        raise ArgumentError(f"{twice} is named twice: name each file once")
    return found


def _in_order_given(names: list[str], order: str | None) -> list[str]:
    """Sort the files of a stack, or keep their order; warn if a shell seems to have sorted them as text."""
    natural = sorted(names, key=number_key)
    if order is not None:
        return natural if order == "natural" else sorted(names)
    if names != natural and names == sorted(names):
        k = next(k for k, (one, other) in enumerate(zip(names, natural, strict=True)) if one != other)
        warn(
            f"{names[k]} comes before {natural[k]}, as the files were named: pass --order natural for the order of "
            "their numbers, --order text if this one is right"
        )
    return names


def stem_of(name: str) -> str:
    """Return the name of a file without its folder, its suffixes and the path inside.

    >>> stem_of("exports/control_1_Probabilities.h5/exported_data"), stem_of("raw/control_1.ome.tif")
    ('control_1_Probabilities', 'control_1')
    """
    stem = os.path.splitext(os.path.basename(_INSIDE.sub(r"\1", with_slashes(name)).rstrip("/")))[0]
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def targets_of(names: Sequence[str], folder: str, ending: str, *, may_exist: bool) -> dict[str, str]:
    """Return what is made of each image: a file in `folder`, with the name of the image's file and its path inside.

    Raises
    ------
    ArgumentError
        Two images would have the same.
    DestinationExistsError
        Some are there, and must not be.

    Examples
    --------
    >>> targets_of(["in/a.h5", "in/b.h5/t1/raw"], "out", ".zarr", may_exist=False)
    {'in/a.h5': 'out/a.zarr', 'in/b.h5/t1/raw': 'out/b_t1_raw.zarr'}
    """
    if not folder or os.path.isfile(folder) or re.search(f"{CONTAINER}(/|$)", folder, re.IGNORECASE):
        raise ArgumentError(f"{option('out_dir', folder)} is no folder for files: name another one")
    targets: dict[str, str] = {}
    for name in names:
        inside = found[1] if (found := _INSIDE_OF.search(name)) else ""
        # ilastik's own name of a dataset, which is opened without being named, says nothing.
        stem = stem_of(name) + ("" if inside in ("", "exported_data") else "_" + inside.replace("/", "_"))
        targets[name] = f"{folder.rstrip('/')}/{stem}{ending}"
    counts = Counter(targets.values())
    if twice := [name for name in names if counts[targets[name]] > 1]:
        raise ArgumentError(f"{twice[0]} and {twice[1]} would both become {targets[twice[0]]}: rename one")
    there = [] if may_exist or is_url(folder) else [target for target in targets.values() if os.path.lexists(target)]
    if there:
        raise DestinationExistsError(
            f"{len(there)} of {counted(len(targets), 'file')} exist, such as {there[0]}: pass "
            f"{option('resume', True)} to keep them, or {option('overwrite', True)}"
        )
    return targets
