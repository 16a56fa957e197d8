"""Debian's image registry on loopback."""

from __future__ import annotations

from sandbox.box import http_ok, step, write
from sandbox.daemon import Daemon
from sandbox.parts import Part, Status

PORT = 5000
CONFIG = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: "{data}"}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry(Part):
    name = "registry"
    packages = ("docker-registry",)

    def __init__(self, box):
        super().__init__(box)
        self.daemon = Daemon(box, "registry")

    def answers(self) -> bool:
        return http_ok(f"http://127.0.0.1:{PORT}/v2/")

    def up(self) -> None:
        file = self.dir / "config.yml"
        write(file, CONFIG.format(data=self.dir / "data", port=PORT))
        if self.daemon.pid() is None:
            with step(self.name, "starting the registry"):
                self.daemon.start(["docker-registry", "serve", file], self.answers, ports=[PORT])

    def status(self) -> Status:
        pid = self.daemon.pid()
        return Status(bool(pid) and self.answers(), f"127.0.0.1:{PORT}, pid {pid}" if pid else "not running")

    def down(self) -> None:
        if self.daemon.pid() is not None:
            with step(self.name, "stopping"):
                self.daemon.stop()

    def env(self) -> dict[str, str]:
        return {"REGISTRY": f"localhost:{PORT}"}
