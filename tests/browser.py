"""A headless Chromium, driven through its own pipe: no driver program, no package."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from sandbox import packages

# Neither asks anybody for anything by itself, nor shares state with another run.
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


class Page:
    """One page. ``requests`` are the addresses it asked for, ``errors`` what its console complained of."""

    def __init__(self, *options: str) -> None:
        packages.install(["chromium", "fonts-dejavu-core"], "browser")
        self.folder = tempfile.TemporaryDirectory(prefix="ops-browser-", ignore_cleanup_errors=True)
        # Chromium reads its file 3 and writes its file 4; ours are kept out of their way until they are put there.
        ends = [*os.pipe(), *os.pipe()]
        theirs, self.out, self.inn, their_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends)
        for end in ends:
            os.close(end)
        argv = ["chromium", *OPTIONS, *options, f"--user-data-dir={self.folder.name}", "about:blank"]
        script = f'exec "$@" 3<&{theirs} 4>&{their_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *argv],
            pass_fds=(theirs, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(their_out)
        self.numbers = itertools.count(1)
        self.rest = b""
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.loaded = False
        self.session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.inn)
        self.folder.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _next(self, timeout: float = 120) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.inn], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            more = os.read(self.inn, 1 << 20)
            assert more, "Chromium ended"
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        event = json.loads(text)
        self._note(event.get("method", ""), event.get("params", {}))
        return event

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.errors.append(str(params["args"]))
        elif method == "Page.loadEventFired":
            self.loaded = True

    def show(self, file: Path, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Opens a file on a screen of that size. A phone is 390 by 844."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.loaded = False
        self.call("Page.navigate", url=file.resolve().as_uri())
        while not self.loaded:
            self._next()

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, file: Path, whole: bool = False) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))
