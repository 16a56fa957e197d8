"""The company on one Compose host: project `eazepay`, its files in .sandbox/compose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sandbox.box import Box, SandboxError, await_ready, http_ok, run, step, write
from sandbox.seed.images import SERVICES

PROJECT = "eazepay"


class Compose:
    """Tests give another project, folder and address, so as not to touch what runs for everyone."""

    def __init__(self, box: Box, project: str = PROJECT, folder: Path | None = None, address: str = "127.0.0.1:18080"):
        self.box = box
        self.project = project
        self.folder = folder or box.dir / "compose"
        self.maintenance = box.dir / "maintenance" if folder is None else folder / "maintenance"
        self.address = address

    def check(self) -> None:
        if not self.box.read_env().get("REGISTRY"):
            raise SandboxError("the sandbox is not up. Run `make sandbox-up` first.")

    def compose(self, *words: str, check: bool = True) -> str:
        argv = ["docker", "compose", "--project-name", self.project, "-f", str(self.folder / "compose.yml"), *words]
        return run(argv, check=check, cwd=self.folder).stdout

    def running(self) -> dict[str, str]:
        """The releases that run, by Compose service."""
        ids = run(["docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={self.project}"]).stdout.split()
        if not ids:
            return {}
        containers = json.loads(run(["docker", "inspect", *ids]).stdout)
        configs = [one["Config"] for one in containers]
        return {one["Labels"]["com.docker.compose.service"]: release_of(one["Image"], one["Labels"]) for one in configs}

    def versions(self) -> dict[str, str]:
        """What runs: release by short name."""
        found = self.running().items()
        return {name.removesuffix("-service"): release for name, release in found if name.endswith("-service")}

    def start(self, release_folder: Path, release: str, reset: bool = False) -> None:
        running = self.running()
        wanted = {f"{name}-service" for name in SERVICES} | {"proxy"}
        # Without its files, what runs is left from another checkout that is gone, or was not ended.
        foreign = not (self.folder / "compose.yml").exists()
        if wanted <= set(running) and not reset and not foreign:
            self.await_edge()
            return
        if not running or reset or foreign:
            if running:
                with step("seed", f"ending the containers of {self.project}"):
                    self.end()
            self.write_files(release_folder, release)
        with step("seed", f"{release} on Compose: {len(wanted)} containers"):
            self.compose("up", "--detach", "--no-recreate", "--no-build", "--wait", "--wait-timeout", "300")
            self.await_edge()

    def write_files(self, release_folder: Path, release: str) -> None:
        """What the host has: compose.yml, the proxy's settings, .env. Nothing of an earlier life stays."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy2(release_folder / "compose.yml", self.folder)
        shutil.copytree(release_folder / "proxy", self.folder / "proxy")
        self.maintenance.mkdir(parents=True, exist_ok=True)
        (self.maintenance / "on").unlink(missing_ok=True)
        shutil.copy2(release_folder / "proxy" / "page.html", self.maintenance)
        env = self.box.read_env()
        values = {
            **{name: env[name] for name in ("REGISTRY", "PG_SOCKET_DIR", "PGPORT", "PGPASSWORD")},
            "RELEASE": release,
            "MAINTENANCE_DIR": str(self.maintenance),
            "EDGE_ADDRESS": self.address,
        }
        write(self.folder / ".env", "".join(f"{name}={value}\n" for name, value in values.items()), mode=0o600)

    def await_edge(self) -> None:
        await_ready(lambda: http_ok(f"http://{self.address}/proxy-health"), 60, "the proxy of the Compose target")

    def end(self) -> None:
        """Removes every container of the project, also those that a rollout added.

        Awaited, as what a killed run had asked of the engine may still be under way: a container appears, or keeps its
        place in a network, after the others were removed.
        """
        await_ready(lambda: not self.remove(), 60, f"the end of {self.project}'s containers and networks")

    def remove(self) -> list[str]:
        """Removes what is there; the networks that are still in use."""
        label = f"label=com.docker.compose.project={self.project}"
        if ids := run(["docker", "ps", "-aq", "--filter", label]).stdout.split():
            run(["docker", "rm", "--force", "--volumes", *ids], check=False)
        networks = run(["docker", "network", "ls", "-q", "--filter", label]).stdout.split()
        return [one for one in networks if run(["docker", "network", "rm", one], check=False).returncode]


def release_of(image: str, labels: dict[str, str] | None = None) -> str:
    """The image's label says it; else its tag: `localhost:5000/eazepay/x-service:v1.1.0@sha256:...` -> `v1.1.0`."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return (labels or {}).get("org.opencontainers.image.version") or tag or "an untagged image"
