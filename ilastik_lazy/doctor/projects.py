"""Checks of a project: its images, and whether its classes fit an export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.doctor.finding import Finding, Severity
from ilastik_lazy.doctor.warned import collected
from ilastik_lazy.errors import IlastikLazyError, option, remedy

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["missing_images", "named_by", "repeated_names"]

# The image itself is somewhere else; in all other states it is there, and cannot be opened.
_ELSEWHERE = ("missing", "outside", "url")

_UNNAMED = "channels and values stay without names and colours"


def missing_images(tree: xr.DataTree) -> Iterator[Finding]:
    """Find images of a project that are not where it says, or cannot be opened."""
    for lane in tree.children.values():
        for name, role in lane.children.items():
            if "problem" not in role.attrs:
                continue
            severity: Severity = "warning" if role.attrs["status"] in _ELSEWHERE else "error"
            yield Finding(
                "project-image",
                severity,
                str(role.attrs["problem"]),
                "the project opens without this image; labels drawn on it keep their places, as far as these are known",
                str(role.attrs["remedy"]),
                (f"{lane.name}/{name}",),
            )


def named_by(source: ArraySource, project: str, options: OpenOptions) -> tuple[ArraySource, list[Finding]]:
    """Name the classes of an image as in `project`; what does not fit is a finding."""
    from ilastik_lazy.project.classes import with_classes

    with collected() as warned:
        try:
            named = with_classes(source, project, options)
        except IlastikLazyError as error:
            return source, [_misfit(str(error), "error", type(error).__name__)]
    why = _UNNAMED if named is source else "names and colours may be those of other classes"
    return named, [_misfit(text, "warning", why=why) for text in warned]


def _misfit(what: str, severity: Severity, error: str = "", *, why: str = _UNNAMED) -> Finding:
    return Finding(
        "classes",
        severity,
        what,
        why,
        f"pass the project that made the image: {option('project')}",
        error=error,
    )


def repeated_names(spec: ArraySpec) -> Iterator[Finding]:
    """Find names that several channels or classes share."""
    repeated = [name for name, count in Counter(spec.channel_names).items() if count > 1]
    if repeated:
        yield Finding(
            "classes",
            "warning",
            f"several classes are called {', '.join(repeated)} (of {', '.join(spec.channel_names)})",
            "a name does not select one of them",
            "rename them in ilastik, save the project, and pass it; or count channels: "
            + remedy("image.isel(c=0)", "channels are numbered from 0"),
        )
