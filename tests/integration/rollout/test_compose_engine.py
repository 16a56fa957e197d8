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

    def named(self) -> None:
        """From now on the old container goes first, and takes the whole five seconds: nothing hears that signal."""
        self.template += f"    container_name: {self.name}-shop\n    stop_signal: SIGUSR1\n"

    def stopping(self) -> None:
        """Comes back once the engine was asked to stop a container."""
        argv = ["docker", "--host", self.engine.host, "events", "--filter", "event=kill", "--format", "{{.Action}}"]
        with subprocess.Popen([*argv, "--since", "0"], stdout=subprocess.PIPE, text=True) as events:
            assert events.stdout and events.stdout.readline() == "kill\n"
            events.kill()

    def open(self, version: str) -> None:
        (self.folder / "gate" / version).touch()

    def standing(self) -> dict[str, str]:
        ids = self.engine.docker("ps", "--quiet").split()
        found = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return {one["Config"]["Image"]: one["State"]["Health"]["Status"] for one in found}

    def start(self, image: str, timeout: int = 180) -> subprocess.Popen:
        compose = {"docker_host": self.engine.host}
        return start_module(
            "service_rollout", **self.arguments({"shop": image}, compose=compose, graces={}, timeout=timeout)
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


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["the old one ends", "the new one starts"])
def test_one_that_is_restarted_while_nothing_stands_is_survived(engine, project, how, moment):
    v1, v2 = (made(f"t/own-{version}:1", version, host=engine.host) for version in ("v1", "v2"))
    project.named()
    project.open("v1")
    project.begin(v1)
    process = project.start(v2)
    if moment == "the old one ends":
        project.stopping()
    else:
        until(lambda: project.standing() == {v2: "starting"})
    engine.end(how)
    time.sleep(1)
    engine.start()
    project.open("v2")
    result = finish_module(process)
    assert not result["failed"], result["msg"]
    assert outcomes(result) == {"shop": "healthy"} and project.standing() == {v2: "healthy"}
    assert "s without it" in result["services"][0]["detail"]


def test_one_that_stays_away_is_told_and_the_next_run_puts_it_right(engine, project):
    v1, v2 = (made(f"t/own-{version}:1", version, host=engine.host) for version in ("v1", "v2"))
    project.named()
    project.open("v1")
    project.begin(v1)
    process = project.start(v2, timeout=20)
    until(lambda: project.standing() == {v2: "starting"})
    engine.end(signal.SIGKILL)
    try:
        result = finish_module(process)
    finally:
        engine.start()
    assert result["failed"] and outcomes(result) == {"shop": "rollback_failed"}
    assert "engine does not answer" in result["services"][0]["cause"]["text"], result["msg"]
    (told,) = [line for line in result["msg"].splitlines() if "NOT PUT BACK: shop: " in line]
    assert "engine does not answer" in told and "start it, then run the same again" in told
    assert result["seconds"] < 120, "a minute of patience is for the engine, not for each question to it"
    project.open("v2")
    again = finish_module(project.start(v2))
    assert not again["failed"] and outcomes(again) == {"shop": "healthy"}
    assert project.standing() == {v2: "healthy"}
