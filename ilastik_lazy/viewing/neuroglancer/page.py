"""`view`: images in Neuroglancer, read from their files as they are."""

from __future__ import annotations

import html
import os
import re
import socket
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.lazy.from_xarray import AnySource
from ilastik_lazy.serving import Server
from ilastik_lazy.serving.addresses import listening
from ilastik_lazy.serving.server import served_images
from ilastik_lazy.viewing.neuroglancer.contents import AnyTable, contents_of
from ilastik_lazy.viewing.neuroglancer.layers import SEGMENTS, Shown, layers_of
from ilastik_lazy.viewing.neuroglancer.state import state_of

__all__ = ["View", "view"]

# A page is gone when its viewer is deleted, and who calls `view` without a name for the result wants to see it.
_open: set[View] = set()


def view(
    *images: AnySource,
    raw: AnySource | None = None,
    labels: AnySource | Sequence[AnySource] = (),
    table: AnyTable | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    open_browser: bool = True,
) -> View:
    """Show images in Neuroglancer, in a browser, without converting them.

    Probabilities and other channels are layers with the names and colours of their classes, which are added to the
    image beneath them; segmentations and ids are layers of segments.  Voxels are read when they are looked at, so
    that images may be larger than memory.  Nothing is loaded from the internet.

    Parameters
    ----------
    images
        Paths of files that `open_dataarray` opens, what it returned, any DataArray with dims out of ``t, z, y, x, c``,
        or `ArraySource` objects.
    raw
        The image beneath all others.
    labels
        Images of ids or classes, also where the file does not state what it holds: they are shown above all others.
    table
        Table of the objects in the first of `labels` (or the first image with ids): a path that `open_table` opens, or
        a DataFrame.  Its columns are shown beside the ids, and can be searched and sorted.
    host, port
        Address to listen at, as in `serve`.  There are two servers: that of the page at `port`, and that of the
        voxels at the next one; 0 takes free ones.
    open_browser
        Show the page at once, where there is a display.  In a notebook the result shows itself.

    Returns
    -------
    View
        The page is there until it is closed; use it in a ``with`` statement, or close it.

    Raises
    ------
    MissingExtraError
        Neuroglancer is not installed.
    ArgumentError
        There is no image, an image cannot be shown, `table` does not match its image, or this machine has no such
        address.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    >>> with il.view(prob, raw=sample("raw"), open_browser=False) as page:
    ...     page.layer_names
    ('nuclei', 'nucleus', 'background')
    """
    require_package("neuroglancer", "view", "view shows images in Neuroglancer")
    above = list(labels) if isinstance(labels, list | tuple) else [labels]
    contents = contents_of(images, raw, above, table)
    served = [
        replace(image, others={} if shown.segments is None else {f"{SEGMENTS}/info": shown.segments.document})
        for image, (_, shown) in zip(served_images(source for source, _ in contents), contents, strict=True)
    ]
    server = Server(served, host, port + 1 if port else 0)
    try:
        found = [
            replace(shown, name=image.name, url=url)
            for (_, shown), image, url in zip(contents, server.images, server.urls, strict=True)
        ]
        page = View(found, server, _viewer(host, port))
    except BaseException:
        server.close()
        raise
    if open_browser and _has_display():
        webbrowser.open(page.url)
    return page


def _viewer(host: str, port: int) -> Any:
    import neuroglancer  # the extra `view`

    # The process has one server of pages, which the views of other code may use already.
    if neuroglancer.is_server_running():
        if port:
            raise ArgumentError(
                f"{option('port', port)}: Neuroglancer listens at {neuroglancer.get_server_url()} in this process: "
                "leave it out, or close the other views first"
            )
    else:
        # Neuroglancer's own error would name no port, and leave a socket open.
        listening(host, port).close()
        neuroglancer.set_server_bind_address(host, port)
    # Else the page may ask for the credentials that this process has for clouds.
    return neuroglancer.Viewer(allow_credentials=False)


class View:
    """A page of Neuroglancer that shows images, made by `view`.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> with il.view(sample("raw"), open_browser=False) as page:
    ...     page.viewer.state.layers["nuclei"].visible, page.url.startswith("http://127.0.0.1:")
    (True, True)
    """

    def __init__(self, images: Sequence[Shown], server: Server, viewer: Any) -> None:
        self._images, self._server = tuple(images), server
        self.viewer = viewer
        """The page as a ``neuroglancer.Viewer``: its state can be read and changed, and pictures can be taken."""
        layers = layers_of(images)
        segments = [image.name for image in images if image.segments is not None and image.segments.query]
        viewer.set_state(state_of([image.spec for image in images], layers, *segments[:1]))
        _open.add(self)

    @property
    def url(self) -> str:
        """Address of the page."""
        import neuroglancer

        # Neuroglancer writes IPv6 addresses without the brackets that URLs need.
        found = re.sub(r"//([0-9a-f]*:[0-9a-f:]*):(\d+)/", r"//[\1]:\2/", str(self.viewer.get_viewer_url()))
        if neuroglancer.server.global_server_args["bind_address"] not in ("0.0.0.0", "::"):
            return found
        # It writes the full name of the machine, which is "localhost" on many.
        return re.sub(r"//[^/]+:(\d+)/", rf"//{socket.gethostname()}:\1/", found)

    @property
    def images(self) -> tuple[Shown, ...]:
        """What is shown."""
        return self._images

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, the lowest first."""
        return tuple(layer.name for layer in self.viewer.state.layers)

    @property
    def ports(self) -> tuple[int, int]:
        """Ports of the page and of the voxels."""
        return int(self.url.split("/")[2].rpartition(":")[2]), self._server.port

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the page."""
        return self._server.is_local

    def close(self) -> None:
        """Take the page away, and stop serving."""
        import neuroglancer

        _open.discard(self)
        pages = neuroglancer.server.global_server
        if pages is not None:
            pages.viewers.pop(self.viewer.token, None)
            if not pages.viewers:
                neuroglancer.stop()
        self._server.close()

    def __enter__(self) -> View:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<View {self.url}>"

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        frame = f'<iframe src="{url}" width="100%" height="600" style="border: 0"></iframe>'
        return f'{frame}<div><a href="{url}" target="_blank">{url}</a></div>'


def _has_display() -> bool:
    """Whether a browser has a screen to be shown at; notebooks show the result in themselves."""
    if "ipykernel" in sys.modules:
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
