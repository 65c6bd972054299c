"""What a check found: `Finding`, and the `Report` on one file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ilastik_lazy.showing.html import Row, html_table

__all__ = ["Check", "Finding", "Place", "Report", "Severity", "located", "merged"]

Severity = Literal["warning", "error"]
"""``error``: something cannot be opened or read; ``warning``: everything else that causes trouble."""

Check = Literal[
    "cannot-open",
    "in-use",
    "unfinished",
    "several-images",
    "axes-guessed",
    "voxel-size",
    "unit",
    "metadata",
    "locks",
    "checksums",
    "chunk-shape",
    "chunk-size",
    "uncompressed",
    "one-thread",
    "missing-chunks",
    "masked-chunks",
    "damaged-chunks",
    "values",
    "classes",
    "labels",
    "project-image",
    "ids-restart",
    "table",
]
"""Names of the checks; `docs/doctor.md` describes each."""


@dataclass(frozen=True, slots=True)
class Place:
    """A part of an image that cannot be read."""

    start: tuple[int, ...]
    """First voxel, in the order of the axes in the file."""
    stop: tuple[int, ...]
    """Last voxel, exclusive."""
    error: str
    """Name of the error in `ilastik_lazy.errors`."""
    problem: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause of trouble: what it is, why it matters, and what to do."""

    check: Check
    severity: Severity
    what: str
    why: str
    remedy: str
    """Advice for Python or for the command line, by `errors.audience`; empty if nothing can be done."""

    where: tuple[str, ...] = ()
    """Internal paths of the images, or the lane and role in a project; empty for the file as a whole."""

    error: str = ""
    """Name of the error in `ilastik_lazy.errors` that opening or reading raises; empty for all other findings."""

    places: tuple[Place, ...] = ()
    """Where the data cannot be read: at most 1000 places."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file."""

    file: str
    holds: Literal["images", "table", "project", "nothing that opens"]
    findings: tuple[Finding, ...]
    chunks: int = 0
    """Chunks of all its images."""
    chunks_read: int = 0

    @property
    def exit_code(self) -> int:
        """0: nothing found, 1: warnings, 2: something cannot be opened or read."""
        return max((2 if finding.severity == "error" else 1 for finding in self.findings), default=0)

    def _repr_html_(self) -> str:
        rows: list[Row] = []
        for finding in self.findings:
            where = f"{', '.join(finding.where)}: " if finding.where else ""
            rows.append((finding.severity, f"{where}{finding.what}"))
            rows += [("why", finding.why), ("do", finding.remedy)]
        return html_table(self.file, rows or [("", "nothing found")])

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; `docs/doctor.md` describes the keys."""
        made = asdict(self)
        made["findings"] = [asdict(finding) for finding in self.findings]
        return made | {"exit_code": self.exit_code}


def located(findings: Iterable[Finding], where: str) -> list[Finding]:
    """Say of findings which image they were made in."""
    return [replace(finding, where=(where,)) for finding in findings]


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Join findings that differ only in where they were made, such as those of all levels of a pyramid.

    Errors come first.
    """
    by_content: dict[Finding, list[str]] = {}
    for finding in findings:
        wheres = by_content.setdefault(replace(finding, where=()), [])
        wheres += [where for where in finding.where if where not in wheres]
    joined = [replace(finding, where=tuple(wheres)) for finding, wheres in by_content.items()]
    return tuple(sorted(joined, key=lambda finding: finding.severity != "error"))
