"""Which processes of this machine hold a lock on a file, as Linux lists them."""

from __future__ import annotations

import contextlib
import os

__all__ = ["holders_of"]


def holders_of(path: str) -> tuple[str, ...] | None:
    """Name the processes that hold a lock on a file, such as ``python (process 4711)``.

    Processes of other machines and of other containers are not listed.

    Returns
    -------
    tuple of str or None
        None where the system does not list locks, or the file is missing.
    """
    try:
        status = os.stat(path)
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = []
    for line in lines:
        # "1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF"; a process that waits has an arrow before the type.
        fields = line.split()
        if len(fields) >= 6 and fields[1] != "->" and fields[5] == place and fields[4].isdecimal():
            found.append(_named(int(fields[4])))
    return tuple(dict.fromkeys(found))


def _named(process: int) -> str:
    name = "a program"
    with contextlib.suppress(OSError), open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
        name = file.read().strip() or name
    return f"{name} (process {process})"
