"""Several Compose hosts over SSH: one after the other or at once, and all as before when one fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.images import tiny
from tests.integration.rollout.test_compose import GRACES, Project, docker, served
from tests.sshd import sshd

PLAY = """
- hosts: control
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.include_role: {name: eazepay.ops.rollout}
      always:
        - ansible.builtin.copy: {dest: "{{ result }}", content: "{{ rollout_result | to_json }}", mode: "0600"}
          check_mode: false
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture
def image(sandbox):
    return lambda version, fault="": tiny(sandbox["REGISTRY"], version, fault)


@pytest.fixture
def projects(sandbox, tmp_path, image):
    made = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made[name] = Project(tmp_path / name)
        made[name].write("services:" + served("shop", image("v1")))
        made[name].up()
    yield made
    for project in made.values():
        project.end()


@pytest.fixture
def play(ssh, projects, tmp_path):
    def run(images, *options, **variables):
        hosts = {
            name: {
                **ssh,
                "ansible_python_interpreter": sys.executable,
                # Both hosts are this machine; elsewhere one folder would serve for all.
                "rollout_compose": {"project_src": str(one.folder), "project_name": one.name},
            }
            for name, one in projects.items()
        }
        control = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"all": {"hosts": {"control": control}, "children": {"docker_hosts": {"hosts": hosts}}}}
        given = {
            "rollout_target": "compose",
            "rollout_hosts": "{{ groups['docker_hosts'] }}",
            "rollout_services": [{"name": name} for name in images],
            "rollout_images": images,
            "rollout_graces": GRACES,
            "rollout_timeout": 120,
            "result": str(tmp_path / "result.json"),
            **variables,
        }
        for name, content in (("hosts.json", inventory), ("vars.json", given)):
            (tmp_path / name).write_text(json.dumps(content))
        (tmp_path / "play.yml").write_text(PLAY)
        ansible = Path(sys.executable).with_name("ansible-playbook")
        argv = [ansible, "-i", tmp_path / "hosts.json", "-e", f"@{tmp_path / 'vars.json'}", *options, "play.yml"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert (tmp_path / "result.json").exists(), done.stdout + done.stderr
        return done, json.loads((tmp_path / "result.json").read_text())

    return run


def stood(projects):
    return {name: one.containers() for name, one in projects.items()}


def moments(project, action):
    """When Docker did something to the containers of a project, by its own clock, in nanoseconds."""
    [id] = project.containers("shop")
    given = docker("container", "inspect", "--format", f"{{{{.{action}}}}}", id)
    return given


def outcomes(result):
    return {(one["host"], one["name"]): one["outcome"] for one in result["services"]}


@pytest.mark.parametrize("at_once", [1, 0])
def test_all_hosts_get_the_release_and_the_second_run_changes_nothing(play, projects, image, at_once):
    done, result = play({"shop": image("v2")}, rollout_hosts_at_once=at_once, rollout_release="v2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(result) == {("one", "shop"): "healthy", ("two", "shop"): "healthy"} and result["changed"]
    assert [one.images("shop") for one in projects.values()] == [[image("v2")]] * 2
    if at_once == 1:
        # The second one was begun when the first one had been healthy.
        assert moments(projects["one"], "State.StartedAt") < moments(projects["two"], "Created")
    after = stood(projects)
    again, result = play({"shop": image("v2")}, rollout_hosts_at_once=at_once, rollout_release="v2")
    assert again.returncode == 0 and not result["changed"] and stood(projects) == after, again.stdout


@pytest.mark.parametrize("at_once", [1, 2])
def test_when_one_host_fails_all_are_as_before(play, projects, image, at_once):
    # On the second host nothing but v1 is healthy.
    project = projects["two"]
    check = '{test: [CMD, grep, -q, v1, /www/version], interval: 1s, retries: 2}'  # fmt: skip
    project.write(f"services:\n  shop:\n    image: {image('v1')}\n    healthcheck: {check}\n")
    project.up()
    images = {name: one.images("shop") for name, one in projects.items()}
    done, result = play({"shop": image("v2")}, rollout_hosts_at_once=at_once)
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    assert outcomes(result) == {("one", "shop"): "rolled_back", ("two", "shop"): "rolled_back"}, done.stdout
    assert "two: " in result["msg"] and "its healthcheck fails" in result["msg"]
    assert {name: one.images("shop") for name, one in projects.items()} == images
    assert result["rolled_back"] == ["shop"]


def test_check_mode_touches_nothing(play, projects, image):
    before = stood(projects)
    checked, planned = play({"shop": image("v2")}, "--check", rollout_hosts_at_once=0)
    assert checked.returncode == 0, checked.stdout
    assert planned["changed"] and stood(projects) == before


def test_a_host_that_does_not_answer_is_named_and_the_next_is_not_begun(play, projects, image, ssh, monkeypatch):
    before = stood(projects)
    monkeypatch.setitem(ssh, "ansible_port", 1)
    done, result = play({"shop": image("v2")})
    assert done.returncode != 0 and "one: " in result["msg"] and "two: " not in result["msg"], result
    assert stood(projects) == before
