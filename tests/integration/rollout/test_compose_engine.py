"""An engine that is restarted while services are rolled out on it: one of the test's own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engine import Engine, until
from tests.images import made
from tests.integration.rollout.test_compose import Project, outcomes
from tests.modules import finish_module, start_module


@pytest.fixture(scope="module")
def engine():
    own = Engine()
    yield own
    own.remove()


class Gated(Project):
    """A service that is well once somebody opens the gate for its version."""

    def __init__(self, engine: Engine, folder: Path):
        super().__init__(folder)
        self.engine = engine
        (folder / "gate").mkdir()
        check = '{test: [CMD-SHELL, "test -e /gate/$$VERSION"], interval: 1s, retries: 200}'
        self.template = (
            "services:\n  shop:\n    image: %s\n    restart: unless-stopped\n    stop_grace_period: 5s\n"
            f"    healthcheck: {check}\n    volumes: ['./gate:/gate:ro']\n"
        )

    def begin(self, image: str) -> None:
        self.write(self.template % image)
        words = ["compose", "--project-name", self.name, "--project-directory", str(self.folder)]
        self.engine.docker(*words, "up", "--detach", "--wait")

    def open(self, version: str) -> None:
        (self.folder / "gate" / version).touch()

    def standing(self) -> dict[str, str]:
        found = json.loads(self.engine.docker("inspect", *self.engine.docker("ps", "--quiet").split()) or "[]")
        return {one["Config"]["Image"]: one["State"]["Health"]["Status"] for one in found}

    def start(self, image: str) -> subprocess.Popen:
        compose = {"docker_host": self.engine.host}
        return start_module(
            "service_rollout", **self.arguments({"shop": image}, compose=compose, graces={}, timeout=180)
        )


@pytest.fixture
def project(engine, tmp_path):
    gated = Gated(engine, tmp_path)
    yield gated
    engine.clear()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_is_restarted_half_way_is_survived(engine, project, how):
    v1, v2 = (made(f"t/own-{version}:1", version, host=engine.host) for version in ("v1", "v2"))
    project.open("v1")
    project.begin(v1)
    process = project.start(v2)
    until(lambda: len(project.standing()) == 2)
    engine.end(how)
    time.sleep(1)
    engine.start()
    project.open("v2")
    result = finish_module(process)
    assert not result["failed"], result["msg"]
    assert outcomes(result) == {"shop": "healthy"} and project.standing() == {v2: "healthy"}
