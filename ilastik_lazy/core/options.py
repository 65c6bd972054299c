"""The options of opening as one value, `OpenOptions`: what a caller says beside where the file is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from ilastik_lazy.core.limits import Limits

__all__ = ["DEFAULTS", "OpenOptions", "Trust"]

Trust = Literal["local", "untrusted"]


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open the images of a file, and what the file may ask for.

    `ilastik_lazy.storage.allowed.checked_options` makes one from the arguments of a caller.

    Examples
    --------
    >>> OpenOptions(axes="zyx", trust="untrusted").in_child
    OpenOptions(axes='zyx', limits=Limits(...), trust='local', external_roots=())
    """

    axes: str | None = None
    """Names of the axes in storage order, where the caller knows better than the file."""

    limits: Limits = field(default_factory=Limits)
    """Sizes beyond which the file is refused."""

    trust: Trust = "local"
    """``untrusted``: the HDF5 library sees the file in another process only (see `storage.isolation`)."""

    external_roots: tuple[str, ...] = ()
    """Folders, without symbolic links, whose files may be referred to."""

    @property
    def in_child(self) -> OpenOptions:
        """The same options for a child process, in which the HDF5 library may see the file."""
        return replace(self, trust="local")


DEFAULTS = OpenOptions()
"""The options of a caller who gives none."""
