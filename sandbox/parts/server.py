"""A part that is one of sandbox.servers."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sandbox.box import http_ok, step
from sandbox.daemon import Daemon
from sandbox.parts import Part, Status


class ServerPart(Part):
    """`server` is the module, `ports` its arguments, `probe` the URL that answers once it is ready."""

    server = ""
    ports: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    probe = ""

    def __init__(self, box):
        super().__init__(box)
        self.daemon = Daemon(box, self.name)

    def ready(self) -> Callable[[], bool]:
        return lambda: http_ok(self.probe)

    def up(self) -> None:
        if self.daemon.pid() is None:
            argv = [sys.executable, "-m", f"sandbox.servers.{self.server}", *map(str, self.ports), *self.arguments]
            with step(self.name, "starting"):
                self.daemon.start(argv, self.ready(), ports=self.ports, cwd=self.box.root)

    def status(self) -> Status:
        pid = self.daemon.pid()
        where = ", ".join(f"127.0.0.1:{port}" for port in self.ports)
        return Status(bool(pid) and self.ready()(), f"{where}, pid {pid}" if pid else "not running")

    def down(self) -> None:
        if self.daemon.pid() is not None:
            with step(self.name, "stopping"):
                self.daemon.stop()
