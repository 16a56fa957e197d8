"""Rollouts of a Compose project on the real engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.images import tiny
from tests.modules import finish_module, run_module, start_module

HEALTH = '{test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/health"], interval: 1s, retries: 2}'
REAL = shutil.which("docker")
# Nobody wants to wait in a test for what may still come right.
GRACES = {"crash_loop": 1, "unhealthy": 1}


def docker(*words: str, check: bool = True, cwd: Path | None = None) -> str:
    ended = subprocess.run(["docker", *words], check=False, capture_output=True, text=True, cwd=cwd)
    assert ended.returncode == 0 or not check, ended.stderr
    return ended.stdout.strip()


class Project:
    """A project of its own, whose services stand for a moment only."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = f"t_compose_{uuid.uuid4().hex[:8]}"

    def write(self, text: str, name: str = "compose.yml") -> None:
        (self.folder / name).write_text(text)

    def up(self, *words: str) -> None:
        docker("compose", "--project-name", self.name, *words, "up", "--detach", "--wait", cwd=self.folder)

    def containers(self, service: str | None = None) -> dict[str, str]:
        """The images of all containers, ended ones too, by id."""
        filters = ["--filter", f"label=com.docker.compose.project={self.name}"]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        lines = docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Image}}", *filters).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def images(self, service: str) -> list[str]:
        return sorted(self.containers(service).values())

    def arguments(self, images: dict[str, str], **more):
        compose = {"project_src": str(self.folder), "project_name": self.name, **more.pop("compose", {})}
        services = [{"name": name, "image": image} for name, image in images.items()]
        return {"target": "compose", "compose": compose, "services": services, "graces": GRACES, "timeout": 120, **more}

    def roll(self, images: dict[str, str], check: bool = False, env: dict[str, str] | None = None, **more):
        return run_module("service_rollout", check=check, env=env, **self.arguments(images, **more))

    def end(self) -> None:
        ids = list(self.containers())
        if ids:
            docker("rm", "--force", "--volumes", *ids, check=False)
        label = f"label=com.docker.compose.project={self.name}"
        for kind in ("network", "volume"):
            for one in docker(kind, "ls", "--quiet", "--filter", label).split():
                docker(kind, "rm", one, check=False)


@pytest.fixture(scope="session")
def image(sandbox):
    return lambda version, fault="": tiny(sandbox["REGISTRY"], version, fault)


@pytest.fixture
def project(sandbox, tmp_path):
    made = Project(tmp_path)
    yield made
    made.end()


def served(name: str, image: str, extra: str = "") -> str:
    return f"""
  {name}:
    image: {image}
    restart: unless-stopped
    stop_grace_period: 5s
    healthcheck: {HEALTH}
{extra}"""


def outcomes(result) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in result["services"]}


# That users lose no request meanwhile is counted by tests/e2e/test_deploy.py.
def test_a_second_run_changes_nothing(project, image):
    v1, v2 = image("v1"), image("v2")
    project.write("services:" + served("shop", v1))
    project.up()
    checked = project.roll({"shop": v2}, check=True)
    assert checked["changed"] and outcomes(checked) == {"shop": "planned"}
    assert project.images("shop") == [v1] and not (project.folder / ".rollout").exists()

    rolled = project.roll({"shop": v2}, release="v2")
    assert rolled["changed"] and outcomes(rolled) == {"shop": "healthy"}
    assert project.images("shop") == [v2]

    before = project.containers()
    again = project.roll({"shop": v2}, release="v2")
    assert not again["changed"] and outcomes(again) == {"shop": "unchanged"}
    # The override makes Compose itself come to the same: one line in .env, and nobody need think of it.
    override = project.folder / ".rollout" / "compose.override.json"
    assert override.stat().st_mode & 0o777 == 0o600
    files = "COMPOSE_FILE=compose.yml:.rollout/compose.override.json"
    project.write(f"COMPOSE_PROJECT_NAME={project.name}\n{files}\n", ".env")
    docker("compose", "up", "--detach", cwd=project.folder)
    assert project.containers() == before and not project.roll({"shop": v2}, release="v2")["changed"]

    restarted = project.roll({"shop": v2}, restart_token="once")
    assert outcomes(restarted) == {"shop": "healthy"} and project.containers("shop").keys() != before.keys()
    assert not project.roll({"shop": v2}, restart_token="once")["changed"]

    back = project.roll({}, state="rolled_back", services=[{"name": "shop"}], release="1-v1")
    assert outcomes(back) == {"shop": "healthy"} and project.images("shop") == [v1]


def test_a_crash_puts_everything_back_and_starts_no_dependent(project, image):
    v1, v2, crash = image("v1"), image("v2"), image("v3", "crash")
    after = "    depends_on: {%s: {condition: service_healthy}}\n"
    project.write("services:" + served("a", v1) + served("b", v1, after % "a") + served("c", v1, after % "b"))
    project.up()
    before = project.containers("b") | project.containers("c")
    result = project.roll({"c": v2, "b": crash, "a": v2})
    assert result["failed"]
    assert outcomes(result) == {"a": "rolled_back", "b": "rolled_back", "c": "skipped"}
    assert {name: project.images(name) for name in "abc"} == {name: [v1] for name in "abc"}
    assert project.containers("b") | project.containers("c") == before
    failed = next(one for one in result["services"] if one["name"] == "b")
    assert failed["cause"]["code"] == "crash_loop" and "code 3" in failed["cause"]["text"]
    assert "boom: no configuration" in result["msg"]
    # As if nothing had been: the next run finds no remains.
    assert not project.roll({"a": v1, "b": v1, "c": v1})["changed"]


def test_a_healthcheck_that_fails_is_quoted(project, image):
    v1, unready = image("v1"), image("v3", "unready")
    project.write("services:" + served("shop", v1))
    project.up()
    before = project.containers()
    result = project.roll({"shop": unready})
    assert result["failed"] and outcomes(result) == {"shop": "rolled_back"}
    assert result["services"][0]["cause"]["code"] == "unhealthy"
    assert "404" in result["services"][0]["cause"]["text"]
    assert project.containers() == before


def test_a_missing_image_touches_nothing(project, image, sandbox):
    v1, v2 = image("v1"), image("v2")
    project.write("services:" + served("a", v1) + served("b", v1))
    project.up()
    before = project.containers()
    missing = f"{sandbox['REGISTRY']}/t/none:v1"
    result = project.roll({"a": v2, "b": missing})
    assert result["failed"] and missing in result["msg"] and "Nothing was touched" in result["msg"]
    # Where no preflight is made, it is the pull that says so.
    result = project.roll({"a": v2, "b": missing}, preflight=False)
    assert result["failed"] and not result["changed"]
    assert {one["cause"]["code"] for one in result["services"] if one["cause"]} == {"image_not_found"}
    assert project.containers() == before


def test_a_fixed_port_or_name_means_a_gap_that_is_told(project, image):
    v1, v2, crash = image("v1"), image("v2"), image("v3", "crash")
    project.write("services:" + served("shop", v1, f"    container_name: {project.name}_shop\n"))
    project.up()
    result = project.roll({"shop": v2})
    assert outcomes(result) == {"shop": "healthy"} and "s without it" in result["services"][0]["detail"]
    assert "fixed name" in json.dumps(result["warnings"])
    assert project.images("shop") == [v2]
    result = project.roll({"shop": crash})
    assert outcomes(result) == {"shop": "rolled_back"} and project.images("shop") == [v2]


def test_jobs_may_end_well_only(project, image):
    job, bad = image("v1", "job"), image("v1", "badjob")
    v1 = image("v1")
    after = "    depends_on: {migrate: {condition: service_completed_successfully}}\n"
    project.write(f"services:\n  migrate: {{image: {job}}}\n" + served("shop", v1, after))
    project.up()
    again = image("v2", "job")
    result = project.roll({"migrate": again, "shop": image("v2")})
    assert outcomes(result) == {"migrate": "healthy", "shop": "healthy"}
    assert not project.roll({"migrate": again, "shop": image("v2")})["changed"]
    result = project.roll({"shop": v1, "migrate": bad})
    assert outcomes(result) == {"migrate": "rolled_back", "shop": "skipped"}
    assert "code 7" in result["msg"] and project.images("shop") == [image("v2")]


@pytest.mark.parametrize("wanted", ["v2", "v1"])
def test_a_killed_run_is_taken_up(project, image, wanted):
    v1, v2 = image("v1"), image("v2")
    project.write("services:" + served("shop", v1))
    project.up()
    killed = start_module("service_rollout", **project.arguments({"shop": v2}))
    deadline = time.monotonic() + 60
    while len(project.containers("shop")) < 2:
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    result = project.roll({"shop": image(wanted)})
    assert not result["failed"], result["msg"]
    assert project.images("shop") == [image(wanted)]
    assert not project.roll({"shop": image(wanted)})["changed"]


def test_an_interrupted_run_puts_back(project, image):
    v1, unready = image("v1"), image("v3", "unready")
    project.write("services:" + served("shop", v1))
    project.up()
    before = project.containers()
    process = start_module("service_rollout", **project.arguments({"shop": unready}, graces={"unhealthy": 100}))
    deadline = time.monotonic() + 60
    while len(project.containers("shop")) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    result = finish_module(process)
    assert result["failed"] and outcomes(result) == {"shop": "rolled_back"}
    assert project.containers() == before


def test_files_profiles_env_extends_and_builds(project, image):
    v1, v2 = image("v1"), image("v2")
    project.write(f"TAG={v1.rpartition(':')[2]}\n", "versions.env")
    repository = v1.rpartition(":")[0]
    project.write(
        "services:\n  common:\n    image: " + repository + ":${TAG}\n    restart: unless-stopped\n", "common.yml"
    )
    (project.folder / "site").mkdir()
    (project.folder / "site" / "Dockerfile").write_text(f"FROM {v1}\nENV VERSION=built\n")
    project.write(
        "services:\n"
        "  shop:\n    extends: {file: common.yml, service: common}\n    profiles: [shops]\n    scale: 2\n"
        "  site:\n    build: site\n    restart: unless-stopped\n",
        "base.yml",
    )
    project.write(f"services:\n  shop:\n    healthcheck: {HEALTH}\n", "more.yml")
    words = ["--env-file", "versions.env", "-f", "base.yml", "-f", "more.yml", "--profile", "shops"]
    project.up(*words)
    built = project.images("site")
    compose = {"files": ["base.yml", "more.yml"], "env_files": ["versions.env"], "profiles": ["shops"]}
    result = project.roll({"shop": v2, "site": v2}, compose=compose)
    assert outcomes(result) == {"shop": "healthy", "site": "healthy"}, result
    assert project.images("shop") == [v2, v2] and project.images("site") == [v2]
    back = project.roll({}, services=[{"name": "site", "to_revision": 1}], state="rolled_back", compose=compose)
    assert outcomes(back) == {"site": "healthy"} and project.images("site") == built
    observed = project.roll({}, services=[{"name": "shop"}, {"name": "site"}], state="observed", compose=compose)
    assert outcomes(observed) == {"shop": "healthy", "site": "healthy"} and not observed["changed"]


def test_an_unknown_service_is_named(project, image):
    project.write("services:" + served("shop", image("v1")))
    result = project.roll({"shpo": image("v2")})
    assert result["failed"] and "no service shpo, only shop" in result["msg"]


def test_without_the_compose_plugin_that_is_what_is_said(project, image, tmp_path):
    # The real command, asked for a plugin that is not there.
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "docker"
    command.write_text(f'#!/bin/sh\n[ "$1" = compose ] && {{ shift; set -- nosuchplugin "$@"; }}\nexec {REAL} "$@"\n')
    command.chmod(0o755)
    project.write("services:" + served("shop", image("v1")))
    result = project.roll({"shop": image("v2")}, env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    assert result["failed"] and "has no Compose plugin" in result["msg"] and "docker-compose-plugin" in result["msg"]


def test_a_service_without_a_healthcheck_has_to_stay_up_for_a_while(project, image):
    v1, v2, crash = image("v1"), image("v2"), image("v3", "crash")
    project.write(f"services:\n  shop: {{image: {v1}}}\n")
    project.up()
    result = project.roll({"shop": v2})
    assert outcomes(result) == {"shop": "healthy"} and result["services"][0]["seconds"]["rolling"] >= 5
    result = project.roll({"shop": crash})
    assert outcomes(result) == {"shop": "rolled_back"} and "ended with code 3" in result["msg"]
    assert "boom: no configuration" in json.dumps(result["services"][0]["logs"])
    assert project.images("shop") == [v2]


REAL_FILE = """
name: {name}
x-common: &common
  restart: unless-stopped
  networks: [front, back]
  environment: {{GREETING: "${{GREETING:-none}}"}}
services:
  migrate:
    image: {job}
  store:
    <<: *common
    image: {v1}
    healthcheck: {health}
    volumes: [data:/data]
  shop:
    <<: *common
    image: ${{REPOSITORY}}:${{TAG}}
    healthcheck: {health}
    depends_on:
      migrate: {{condition: service_completed_successfully}}
      store: {{condition: service_healthy, restart: true}}
    labels: {{team: shops}}
    deploy: {{replicas: 2}}
  tools:
    image: {v1}
    profiles: [tools]
networks: {{front: {{}}, back: {{internal: true}}}}
volumes: {{data: {{}}}}
"""


def test_what_a_file_says_beside_the_image_stays(project, image):
    """Networks, volumes, environment by .env, labels, replicas, conditions, an anchor; a name in the file itself."""
    v1, v2, job = image("v1"), image("v2"), image("v1", "job")
    repository, _, tag = v1.rpartition(":")
    project.write(f"REPOSITORY={repository}\nTAG={tag}\nGREETING=hello\n", ".env")
    project.write(REAL_FILE.format(name=project.name, job=job, v1=v1, health=HEALTH))
    project.up()
    docker("exec", *project.containers("store"), "/bin/touch", "/data/kept")
    store = project.containers("store")
    result = project.roll({"shop": v2}, compose={"project_name": None})
    assert outcomes(result) == {"shop": "healthy"}, result
    assert project.images("shop") == [v2, v2] and project.containers("store") == store and not project.images("tools")
    for id in project.containers("shop"):
        found = json.loads(docker("container", "inspect", id))[0]
        assert set(found["NetworkSettings"]["Networks"]) == {f"{project.name}_front", f"{project.name}_back"}
        assert "GREETING=hello" in found["Config"]["Env"] and found["Config"]["Labels"]["team"] == "shops"
    # A volume belongs to one writer at a time, so the store is replaced in place, and keeps its data.
    result = project.roll({"store": v2}, compose={"project_name": None})
    assert outcomes(result) == {"store": "healthy"} and "writes to the volume data" in json.dumps(result["warnings"])
    docker("exec", *project.containers("store"), "/bin/busybox", "test", "-e", "/data/kept")
    # A plain Compose with what was written comes to the same.
    override = ["--file", "compose.yml", "--file", ".rollout/compose.override.json"]
    docker("compose", *override, "up", "--detach", "--wait", "shop", "store", cwd=project.folder)
    assert project.images("shop") == [v2, v2] and project.images("store") == [v2]
