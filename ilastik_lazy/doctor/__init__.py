"""What is in a file, and what will cause trouble with it: `examine`.

`examine` opens a file as `open_*` do, and lets every check look at it.  A check is a function that yields `Finding`
values: of what is known unread (`axes`, `layout`, `labels`), of chunks that were read (`chunks`, `values`), of tables
and projects, and of errors and warnings at opening (`refusals`, `warned`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ilastik_lazy.doctor.examination import examine as examine
    from ilastik_lazy.doctor.finding import Finding as Finding
    from ilastik_lazy.doctor.finding import Report as Report

_HOME = {"Finding": "finding", "Report": "finding", "examine": "examination"}
__all__ = ["Finding", "Report", "examine"]


# `--help` must not wait for what `examine` needs.
def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ilastik_lazy.doctor.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
