"""The states of a target, and what a conversion does in each.

`ACTIONS` is the whole policy: the transaction looks up what to do, and a test tries every entry on real folders.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from ilastik_lazy.errors import DestinationError, DestinationExistsError, ResumeMismatchError, option
from ilastik_lazy.storage.stores import LAST_ROOTS, PLAN, ROOTS, WORK, Store
from ilastik_lazy.writers.ome_zarr.commit.journal import JOURNALS
from ilastik_lazy.writers.ome_zarr.commit.manifest import as_json, difference, is_json, noted_units, read_manifest
from ilastik_lazy.writers.ome_zarr.commit.members import image_attributes, root_of

__all__ = [
    "ACTIONS",
    "CONVERSIONS",
    "IMAGES",
    "Action",
    "State",
    "action_for",
    "is_begun",
    "is_image",
    "refusal",
    "state_at",
]

State = Literal[
    "nothing",
    "empty folder",
    "conversion without a plan",
    "conversion with this plan",
    "conversion with another plan",
    "image with this plan",
    "image with another plan",
    "image of another program",
    "something else",
]
CONVERSIONS: tuple[State, ...] = (
    "conversion without a plan", "conversion with this plan", "conversion with another plan",
)  # fmt: skip
IMAGES: tuple[State, ...] = ("image with this plan", "image with another plan", "image of another program")

Action = Literal["begin", "continue", "check", "replace", "refuse", "refuse the plan"]
"""``check`` an image, and write again what is damaged; ``refuse the plan`` with an error that says what differs."""

ACTIONS: dict[State, tuple[Action, Action, Action, Action]] = {
    # at the target                  neither   overwrite  resume             both
    "nothing":                      ("begin",  "begin",   "begin",           "begin"),
    "empty folder":                 ("refuse", "begin",   "begin",           "begin"),
    "conversion without a plan":    ("refuse", "begin",   "begin",           "begin"),
    "conversion with this plan":    ("refuse", "begin",   "continue",        "continue"),
    "conversion with another plan": ("refuse", "begin",   "refuse the plan", "refuse the plan"),
    "image with this plan":         ("refuse", "replace", "check",           "check"),
    "image with another plan":      ("refuse", "replace", "refuse the plan", "replace"),
    "image of another program":     ("refuse", "replace", "refuse",          "replace"),
    "something else":               ("refuse", "refuse",  "refuse",          "refuse"),
}  # fmt: skip


def action_for(state: State, *, overwrite: bool, resume: bool) -> Action:
    """Look up what a conversion with these options does with a store in `state`."""
    return ACTIONS[state][overwrite + 2 * resume]


def state_at(store: Store, plan: dict[str, Any], *, is_beside: bool = False) -> State:
    """Find out what is in a store.

    Parameters
    ----------
    plan
        What the conversion is going to write.
    is_beside
        Whether the store is the one beside an image that will be replaced: a whole image there is a conversion that
        lacks its last step.
    """
    names = store.names()
    if names is None:
        return "nothing"
    if not names:
        return "empty folder"
    if is_begun(names) or (is_beside and is_image(store, names)):
        text = store.get(PLAN)
        if text is None or (not is_json(text) and not store.keys(JOURNALS)):
            # The machine lost its power before anything was written.
            return "conversion without a plan"
        return "conversion with this plan" if text == as_json(plan) else "conversion with another plan"
    if not is_image(store, names):
        return "something else"
    if (manifest := read_manifest(store)) is None:
        return "image of another program"
    is_same = manifest.get("plan") == plan and noted_units(manifest) is not None
    return "image with this plan" if is_same else "image with another plan"


def is_begun(names: Collection[str]) -> bool:
    """Whether a store with these `names` holds a conversion that is not an image yet: its root's metadata come last."""
    return WORK in names and not any(name in LAST_ROOTS for name in names)


def is_image(store: Store, names: Collection[str]) -> bool:
    """Whether a store holds one image, of any program: its root is an array, or has ``multiscales``.

    A plate is not an image, nor is a group in which someone keeps arrays: to replace it would delete all of them.
    """
    if is_begun(names):
        return False
    root = root_of(store, names)
    if WORK in names or root.get("node_type") == "array" or "multiscales" in image_attributes(root):
        return True
    return any(name in ROOTS for name in names) and read_manifest(store) is not None


def refusal(store: Store, plan: dict[str, Any], state: State, action: Action) -> DestinationError:
    """Return the error that says why nothing is written, and what to do."""
    if action == "refuse the plan" and state in IMAGES:
        found = difference(as_json((read_manifest(store) or {}).get("plan")), plan)
        return ResumeMismatchError(
            f"{store.place} is an image that was made with {found}: choose another name, or replace it with "
            f"{option('overwrite', True)}"
        )
    if action == "refuse the plan":
        found = difference(store.get(PLAN) or b"", plan)
        return ResumeMismatchError(
            f"{store.place} was begun with {found}: pass the same again, or start again with "
            f"{option('overwrite', True)}"
        )
    if state in IMAGES:
        text = f"an image is at {store.place}: choose another name, or pass {option('overwrite', True)}"
    elif state in CONVERSIONS:
        text = (
            f"an unfinished conversion is at {store.place}: continue it with {option('resume', True)}, "
            f"or start again with {option('overwrite', True)}"
        )
    elif state == "empty folder":
        text = f"an empty folder is at {store.place}: remove it, or pass {option('overwrite', True)}"
    else:
        text = (
            f"{store.place} exists and is not a Zarr image, so it is not replaced, even with "
            f"{option('overwrite', True)}: remove it yourself, or choose another name"
        )
    return DestinationExistsError(text)
