"""Build an OME-Zarr that does not look like one before it is complete.

Order of writing: lock, plan, units and a line of the journal after each, the arrays' metadata, the
manifest, the root's metadata; then ``.ilz`` is removed.  A reader that opens it
too early finds no Zarr; a process that dies leaves a target without root metadata, where `resume` continues.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError
from ilastik_lazy.storage.stores import LOCK, PLAN, WORK, Lock, Store, lock_of
from ilastik_lazy.writers.ome_zarr.commit.journal import JOURNALS, Journal, Unit, checksum, read_journals
from ilastik_lazy.writers.ome_zarr.commit.manifest import MANIFEST, as_json, noted_units, read_manifest
from ilastik_lazy.writers.ome_zarr.commit.members import (
    arrays_of,
    clear,
    discard,
    foreign_attributes,
    foreign_members,
    kept_members,
    warn_of_other_format,
)
from ilastik_lazy.writers.ome_zarr.commit.states import (
    CONVERSIONS,
    IMAGES,
    Action,
    State,
    action_for,
    is_image,
    refusal,
    state_at,
)
from ilastik_lazy.writers.ome_zarr.metadata.documents import is_root, with_attributes, writing_order

__all__ = ["Transaction"]

_AT_ONCE = 8


class Transaction:
    """What one conversion does to its target; use it in a ``with`` block, and call `publish` at its end.

    Parameters
    ----------
    final
        Where the image will be.
    plan
        Plain JSON values of everything that decides what is written.
    overwrite
        Replace an image there, once the new one is complete; what others have put into it stays.
    resume
        Continue a conversion there (see `ACTIONS`).

    Raises
    ------
    DestinationExistsError
        Something is there that may not be replaced.
    DestinationBusyError
        Another process is writing there.
    ResumeMismatchError
        The conversion or image there has another plan.
    """

    def __init__(self, final: Store, plan: dict[str, Any], *, overwrite: bool, resume: bool) -> None:
        self.final = final
        self.store = final
        """Where the image is built: the target itself, or beside an image that will be replaced."""
        self.done: dict[str, Unit] = {}
        """Units that earlier runs have written."""
        self.is_complete = False
        """Whether an earlier run has written all of it."""
        self.learned: dict[str, Any] = {}
        """What a complete earlier run has noted about the voxels."""
        self._plan = json.loads(json.dumps(plan))
        self._arrays = [level[0] for level in self._plan.get("levels", ())]
        self._overwrite, self._resume = overwrite, resume
        self._lock: Lock | None = None
        self._made = self._is_new = self._is_repaired = False
        """Whether this run has made the store, has emptied it, and writes damaged units of an image again."""

    def __enter__(self) -> Transaction:
        try:
            self._begin()
        except BaseException:
            self._leave()
            raise
        self.journal = Journal(self.store)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._leave()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            held, self._lock = self._lock, None
            held.release()

    def _leave(self) -> None:
        """After an error: keep what can be resumed; remove a target without units."""
        try:
            if self._lock is not None and self._is_new and not any(True for _ in self.store.keys(JOURNALS)):
                with contextlib.suppress(DestinationBusyError):
                    self.require_lock(ask=True)
                    self._empty()
                    self.store.delete(WORK)
                    if self._made:
                        self.store.prune("")
        finally:
            self._release()

    def _begin(self) -> None:
        """Find out what is in the store, and do what `ACTIONS` says about it."""
        state, action = self._look()
        if action == "replace":
            self.store = self._store_beside()
            state, action = self._look()
        if action == "check":
            self._adopt()
            self._tidy()
            return
        if action.startswith("refuse") and state not in CONVERSIONS:
            raise refusal(self.store, self._plan, state, action)
        may_replace = self._overwrite or self._resume
        if state == "nothing":
            self._made = self.store.make()
            if not self._made and not may_replace:
                raise DestinationBusyError(f"another conversion has just made {self.store.place}")
        # A conversion that will be refused also waits for the lock: then the error says that another one is running.
        self._lock = lock_of(self.store, patient=may_replace, is_made=self._made)
        locked_state, locked_action = self._look()
        if locked_state in IMAGES:
            # The process that had the lock has published its image meanwhile.
            self.store.delete(WORK)
            self._release()
            self._made = False
            self._begin()
            return
        if state != "nothing" or may_replace:
            state, action = locked_state, locked_action
        if action.startswith("refuse"):
            raise refusal(self.store, self._plan, state, action)
        if action == "begin":
            self._is_new = True
            self._empty()
            self.store.put(PLAN, [as_json(self._plan)])
        elif is_image(self.store, self.store.names() or ()):
            # Everything is written, only the exchange of the images is missing.
            self._adopt()
            self._finish()
        else:
            self.done = read_journals(self.store)
            self.store.delete(f"{WORK}/tmp")

    def _look(self) -> tuple[State, Action]:
        state = state_at(self.store, self._plan, is_beside=self.store is not self.final)
        return state, action_for(state, overwrite=self._overwrite, resume=self._resume)

    def _store_beside(self) -> Store:
        """Return the store in which an image is built that will replace the one at the target."""
        arrays = arrays_of(self.final)
        if (beside := self.final.beside()) is None:
            held = foreign_members(self.final, arrays)
            also = f", but not {', '.join(held)}, which others have put there" if held else ""
            raise DestinationExistsError(
                f"an image is at {self.final.place}, where images cannot be exchanged: "
                f"delete it yourself{also}, or choose another name"
            )
        kept = kept_members(self.final, arrays, self._arrays)
        warn_of_other_format(self.final, kept, str(self._plan.get("ome_zarr")))
        return beside

    def _adopt(self) -> None:
        """Read what the manifest of an image notes: all of it was written by an earlier run."""
        manifest = read_manifest(self.store) or {}
        self.done = noted_units(manifest) or {}
        learned = manifest.get("learned")
        self.learned = learned if isinstance(learned, dict) else {}
        self.is_complete = True

    def _tidy(self) -> None:
        """Remove working files that a killed writer of a finished image has left.

        With `overwrite`, also what was begun to replace this image, unless another process is writing it.
        """
        old, is_left = self.final.beside(), WORK in (self.final.names() or [])
        if is_left:
            self._lock = self.final.lock()
        names = [] if old is None else old.names() or []
        if old is not None and names and (is_left or (self._overwrite and WORK in names)):
            with contextlib.suppress(DestinationBusyError):
                self._remove(old)
        if is_left:
            self.final.delete(WORK)

    def _remove(self, old: Store) -> None:
        """Remove an image beside this one, locked: the next conversion that replaces this image uses the same name."""
        held = old.lock()
        try:
            discard(old, self.final, arrays_of(old) or self._arrays)
            old.delete("")
        finally:
            held.release()

    def require_lock(self, *, ask: bool = False) -> None:
        """Raise `DestinationBusyError` if another process has taken the store over; `ask` looks at the lock itself."""
        if self._lock is not None:
            self._lock.require(ask=ask)

    def repair(self) -> None:
        """Lock a finished image with damaged units, which will be written again."""
        if self.is_complete:
            self._lock = self._lock or self.store.lock()
            self._is_repaired = True

    def _empty(self) -> None:
        """Remove the image in the store, except the lock that this process holds."""
        if self.store is self.final:
            clear(self.store, arrays_of(self.store) or self._arrays)
        else:
            discard(self.store, self.final, arrays_of(self.store) or self._arrays)
        for key in self.store.keys(WORK):
            if not key.startswith(LOCK):
                self.store.delete(key)

    def write_arrays(self, documents: Mapping[str, bytes]) -> None:
        """Write all metadata except the root's: arrays can be read by their paths, the store is not an image yet.

        If the image was finished, only damaged metadata are written.
        """
        inner = [key for key in documents if not is_root(key)]
        if self.is_complete:
            inner = [key for key in inner if self.store.get(key) != documents[key]]
            if not inner:
                return
            self.repair()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            # Arrays before the groups that hold them; within one depth, a bucket takes many at a time.
            for depth in sorted({key.count("/") for key in inner}, reverse=True):
                at_depth = [key for key in inner if key.count("/") == depth]
                for _ in pool.map(lambda key: self.store.put(key, [documents[key]], synced=False), at_depth):
                    pass

    def withdraw_arrays(self, documents: Mapping[str, bytes]) -> None:
        """Remove the metadata again, so that wrong voxels are not read."""
        for key in reversed(writing_order(documents)):
            if not self.is_complete and not is_root(key):
                self.store.delete(key)

    def publish(
        self, documents: Mapping[str, bytes], units: Mapping[str, Unit], learned: Mapping[str, Any] | None = None
    ) -> None:
        """Write the manifest, with what was `learned` about the voxels, and the root's metadata: now it is an image."""
        if self.is_complete and not self._is_repaired:
            return
        self.require_lock(ask=True)
        if self.store is not self.final:
            documents = with_attributes(documents, foreign_attributes(self.final))
        manifest = {
            "plan": self._plan,
            "units": {name: [unit.nbytes, unit.crc32c] for name, unit in units.items()},
            "documents": self._checksums(documents),
            "learned": learned or {},
        }
        self.store.put(MANIFEST, [as_json(manifest)], synced=False)
        self.store.sync([*(key for key in documents if not is_root(key)), MANIFEST])
        for key in writing_order(documents):
            # A repaired image has its metadata already, with ranges that were not measured again.
            if is_root(key) and not self.is_complete:
                self.store.put(key, [documents[key]])
        # The journal is removed next: without this, the target would look as if nothing was written.
        self._is_new = False
        self._finish()

    def _checksums(self, documents: Mapping[str, bytes]) -> dict[str, int]:
        """Checksums of all metadata; for a repaired image, those of the root are taken from its manifest."""
        if self.is_complete:
            noted = (read_manifest(self.store) or {}).get("documents", {})
            roots = {key: crc for key, crc in noted.items() if is_root(key)}
            return roots | {key: checksum([data]) for key, data in documents.items() if not is_root(key)}
        return {key: checksum([data]) for key, data in documents.items()}

    def _finish(self) -> None:
        """Put the image in its place, and remove the working files."""
        if self.store is not self.final:
            # Linked before the exchange, so that members of other programs are never missing.
            for key in kept_members(self.final, arrays_of(self.final), self._arrays):
                self.store.keep(key, self.final)
            self.final.replace_by(self.store)
            self._remove(self.store)
            self.store = self.final
        self.final.delete(WORK)
