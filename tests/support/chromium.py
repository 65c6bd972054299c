"""A browser without a window, driven through pipes: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["Page", "chromium", "opened_page"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
# The protocol: Chromium reads commands at descriptor 3, and writes answers and events at descriptor 4.
_COMMANDS, _ANSWERS = 3, 4
_SECONDS = 60


def chromium() -> str | None:
    """Return the path of a browser; None if there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One page of a browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._rest = b""
        self._count = 0
        self._session: str | None = None
        self.problems: list[str] = []
        """Errors and warnings in the console, and requests that failed."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str, width: int = 1280, height: int = 800) -> None:
        """Load a page, in a window of some pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return the value of an expression, or of its promise."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def png(self) -> bytes:
        """Return a picture of the page."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the picture as an array (y, x, RGB)."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.png())).convert("RGB"))

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.run(script):
            assert time.monotonic() < end, f"never became true: {script}; {self.problems}"
            time.sleep(0.2)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        for found in self._messages():
            if found.get("id") == self._count:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self._note(found)
        raise AssertionError(f"the browser ended before it answered {method}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + _SECONDS
        while True:
            text, found, self._rest = self._rest.partition(b"\0")
            if found:
                yield json.loads(text)
                continue
            self._rest = text
            ready, _, _ = select.select([self._answers], [], [], max(0, end - time.monotonic()))
            assert ready, f"no answer for {_SECONDS} s; {self.problems}"
            if not (data := os.read(self._answers, 2**20)):
                return
            self._rest += data

    def _note(self, event: dict[str, Any]) -> None:
        name, what = event.get("method"), event.get("params", {})
        if name == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(what["exceptionDetails"])[:2000])
        elif name == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.problems.append(str([argument.get("value", argument) for argument in what["args"]]))
        elif name == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
        elif name == "Network.responseReceived" and what["response"]["status"] >= 400:
            self.problems.append(f"{what['response']['status']} {what['response']['url']}")


@contextlib.contextmanager
def opened_page(program: str) -> Iterator[Page]:
    """Start a browser with a profile of its own, and end it afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        (theirs_in, commands), (answers, theirs_out) = os.pipe(), os.pipe()
        # Moved above 4, so that neither is in the place of the other.
        moved_in, moved_out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out))
        child = os.posix_spawn(
            program,
            [program, *_OPTIONS, f"--user-data-dir={profile}"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, moved_in, _COMMANDS),
                (os.POSIX_SPAWN_DUP2, moved_out, _ANSWERS),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        for fd in (theirs_in, theirs_out, moved_in, moved_out):
            os.close(fd)
        try:
            page = Page(commands, answers)
            yield page
            os.write(commands, b'{"id": 0, "method": "Browser.close"}\0')
        finally:
            _end(child)
            os.close(commands)
            os.close(answers)


def _end(child: int) -> None:
    for _ in range(50):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
