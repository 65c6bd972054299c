"""Warnings that were given while a file was opened and read, as findings."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.doctor.refusals import advice_in
from ilastik_lazy.errors import (
    IlastikLazyWarning,
    IncompleteSourceWarning,
    IntegrityWarning,
    LockingWarning,
    MetadataWarning,
)

__all__ = ["collected", "findings_of", "never_written"]

_MOST = 1000

# `guessed_axes` says the same.
_GUESS = re.compile(r"is guessed from its shape")


@contextlib.contextmanager
def collected() -> Iterator[dict[str, IlastikLazyWarning]]:
    """Collect the warnings of this package that are given in the block, each text once."""
    found: dict[str, IlastikLazyWarning] = {}

    def keep(message: Warning | str, *_: object, **__: object) -> None:
        if isinstance(message, IlastikLazyWarning) and len(found) < _MOST:
            # A sparse array may warn of each of a million chunks: one of them stands for all.
            text = str(message)
            is_repeated = isinstance(message, IncompleteSourceWarning) and "perhaps others" in text
            found.setdefault(text.partition(": ")[0] if is_repeated else text, message)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = keep
        yield found


def findings_of(
    warned: Mapping[str, IlastikLazyWarning], specs: Sequence[ArraySpec] = (), known: Sequence[Finding] = ()
) -> Iterator[Finding]:
    """Turn warnings into findings; those that say what the specs or `known` findings say are left out."""
    found = "\n".join(finding.what for finding in known)
    said = {remark for spec in specs for remark in spec.remarks if remark in found}
    for message in warned.values():
        text = str(message)
        if text in (finding.what for finding in known):
            continue
        is_guess = _GUESS.search(text) and any(spec.axes_guessed for spec in specs)
        if isinstance(message, MetadataWarning) and (is_guess or any(remark in text for remark in said)):
            continue
        match message:
            case IncompleteSourceWarning():
                how = "nothing, if the program that made it leaves out empty chunks; otherwise copy or export it again"
                yield never_written(text, how)
            case LockingWarning():
                yield Finding(
                    "locks",
                    "warning",
                    text,
                    "nothing keeps another program from writing to the file while it is read",
                    "do not open it in ilastik at the same time, or copy it to a local disk",
                )
            case IntegrityWarning():
                yield Finding(
                    "checksums", "warning", text, "damage in these chunks would go unnoticed", "export the image again"
                )
            case MetadataWarning():
                yield Finding(
                    "metadata",
                    "warning",
                    text,
                    "names, axes or positions may differ from what was meant",
                    advice_in(text) or "correct it in the program that made the file, if it matters",
                )


def never_written(text: str, how: str) -> Finding:
    """Describe chunks that were never written; `text` says how many."""
    why = "the fill value counts as if it had been measured, in means, histograms and segmentations"
    return Finding("missing-chunks", "warning", text, why, how)
