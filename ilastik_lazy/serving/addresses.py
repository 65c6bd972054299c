"""Where a server listens, what its addresses look like, and under which names it may be called."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from ilastik_lazy.core.spec import COMPUTED, ArraySpec
from ilastik_lazy.errors import ArgumentError, option

__all__ = [
    "is_loopback",
    "listening",
    "may_be_called",
    "name_in_url",
    "name_of_image",
    "names_of_server",
    "unused",
    "url_host",
]

_ENDINGS = re.compile(r"(\.ome)?\.[A-Za-z0-9]{1,5}$")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    ArgumentError
        This machine has no such address, or the port is taken.
    """
    if not isinstance(port, int) or not 0 <= port < 2**16:
        raise ArgumentError(f"{option('port', port)}: expected a number from 0, for a free one, to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ArgumentError(f"{option('host', host)}: this machine has no such address ({error})") from error
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        other = f"{option('port', port)} may be taken: leave it out for a free one" if port else option("host", host)
        raise ArgumentError(f"cannot listen at {host}:{port} ({error.strerror}): {other}") from error
    return made


def is_loopback(address: str) -> bool:
    """Whether only programs of this machine reach an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def url_host(host: str, address: str) -> str:
    """Return the host of URLs: the one that was asked for, or the machine's name if it is every interface.

    >>> url_host("127.0.0.1", "127.0.0.1"), url_host("::1", "::1")
    ('127.0.0.1', '[::1]')
    """
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def names_of_server(host: str, address: str) -> frozenset[str]:
    """Return the names in ``Host`` headers by which a server may be called."""
    names = {"localhost", "127.0.0.1", "::1", host.lower(), address}
    return frozenset(
        names if is_loopback(address) else names | {socket.gethostname().lower(), socket.getfqdn().lower()}
    )


def may_be_called(header: str, names: frozenset[str], *, by_address: bool) -> bool:
    """Whether a ``Host`` header has one of the names of this server, or any address where that is enough.

    A web page can have its own name resolved to 127.0.0.1, and would then read from here as if from its own server:
    https://en.wikipedia.org/wiki/DNS_rebinding.  It cannot choose the name that the browser sends.  The port may be
    that of a tunnel.

    >>> names = names_of_server("127.0.0.1", "127.0.0.1")
    >>> [may_be_called(name, names, by_address=False) for name in ("localhost:80", "127.0.0.1.example.org:80")]
    [True, False]
    """
    name = re.sub(r":\d*$", "", header).removeprefix("[").removesuffix("]").lower()
    # No name was resolved to reach an address.
    return name in names or (by_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def name_of_image(spec: ArraySpec) -> str:
    """Name an image after its file, and a computed one by its own name, in letters that need no encoding in a URL.

    >>> from ilastik_lazy.demo import sample
    >>> from ilastik_lazy.lazy.from_xarray import as_source
    >>> name_of_image(as_source(sample("probabilities")).spec)
    'nuclei_Probabilities'
    """
    path = "" if spec.storage.access == COMPUTED else spec.storage.path
    file = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return name_in_url(_ENDINGS.sub("", file) or spec.name)


def name_in_url(name: str) -> str:
    """Replace all letters that would have to be encoded."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "image"


def unused(name: str, names: Collection[str]) -> str:
    """Return `name`, or with a number behind it if it is among `names`."""
    tries = (name, *(f"{name}_{number}" for number in range(2, len(names) + 2)))
    return next(each for each in tries if each not in names)
