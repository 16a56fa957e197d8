"""The image for AWX: built as its description says, and used by ansible-runner as AWX does."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_runner
import pytest
import yaml

from sandbox import packages
from sandbox.apt import codename, machine_sources, other_suite, render
from tests.conftest import ROOT
from tests.postgres import PASSWORD, server

DESCRIPTION = ROOT / "execution-environment.yml"


def run(program: str, *argv: str, cwd: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *argv],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def base() -> str:
    """Where images cannot be pulled, Debian's own Python 3.11 stands in for Docker Hub's; made once a machine.

    It trusts and asks whom this machine trusts and asks.
    """
    name = "eazepay-ops/python:3.11"
    if subprocess.run(["docker", "image", "inspect", name], check=False, capture_output=True).returncode == 0:
        return name
    packages.install(["mmdebstrap"], "execution environment")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "mirror.sources").write_text(render(other_suite(machine_sources(), codename(), "bookworm")))
        wanted = ["--quiet", "--variant=minbase", "--include=ca-certificates,python3,python3-pip", "bookworm"]
        subprocess.run(["mmdebstrap", *wanted, folder / "root.tar", folder / "mirror.sources"], check=True)
        subprocess.run(["docker", "import", folder / "root.tar", f"{name}-debian"], check=True, capture_output=True)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "ca.crt")
        index = os.environ.get("PIP_INDEX_URL", "")
        (folder / "Dockerfile").write_text(
            f"FROM {name}-debian\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\n"
            f"ENV LANG=C.UTF-8{f' PIP_INDEX_URL={index}' if index else ''}\n"
            "RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s /usr/bin/python3 /usr/local/bin/python3\n"
        )
        (folder / "root.tar").unlink()
        subprocess.run(["docker", "build", "--quiet", "--tag", name, folder], check=True, capture_output=True)
    return name


@pytest.fixture(scope="module")
def image(sandbox, tmp_path_factory) -> str:
    """The execution environment, built as its file says, of the collection as it is here."""
    folder = tmp_path_factory.mktemp("environment")
    run("ansible-galaxy", "collection", "build", "--output-path", str(folder / "build" / "artifact"), cwd=ROOT)
    shutil.copy(DESCRIPTION, folder)
    name = "eazepay-ops/execution-environment:test"
    before = id_of(name)
    run(
        "ansible-builder", "build", "--file", DESCRIPTION.name, "--context", "context", "--tag", name,
        "--container-runtime", "docker", "--build-arg", f"EE_BASE_IMAGE={base()}",
        "--extra-build-cli-args=--network=host", cwd=folder,
    )  # fmt: skip
    if before and before != id_of(name):
        subprocess.run(["docker", "rmi", before], check=False, capture_output=True)
    return name


def id_of(image: str) -> str:
    argv = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout.strip()


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - eazepay.ops.pg_backup:
        login_host: 127.0.0.1
        login_port: "{{ books_port }}"
        login_user: super
        login_password: "{{ lookup('ansible.builtin.env', 'DATABASE_PASSWORD') }}"
        databases: [books]
        dest: /runner/artifacts/backups
      register: backup
    - ansible.builtin.command: "{{ item }} --version"
      loop: [docker, git, node, npm, psql]
    - ansible.builtin.command: python3 -c 'import boto3, docker, kubernetes, psycopg2, requests'
    - ansible.builtin.set_stats: {data: {backup: "{{ backup }}"}}
"""


def test_it_is_built_and_works_as_awx_uses_it(image, tmp_path):
    """The checkout as the project's folder, secrets in the environment; nothing else of this machine."""
    for name in ("project", "inventory"):
        (tmp_path / name).mkdir()
    (tmp_path / "inventory" / "hosts").write_text("localhost ansible_connection=local\n")
    (tmp_path / "project" / "play.yml").write_text(PLAY)
    shutil.copy(ROOT / "ansible.cfg", tmp_path / "project")
    books = server(15)
    books.make("books")
    done = ansible_runner.run(
        private_data_dir=str(tmp_path),
        playbook="play.yml",
        extravars={"books_port": books.port},
        envvars={"DATABASE_PASSWORD": PASSWORD, "ANSIBLE_NOCOLOR": "1"},
        process_isolation=True,
        process_isolation_executable="docker",
        container_image=image,
        container_options=["--network=host"],
        settings={"job_timeout": 300},
        quiet=True,
    )
    said = done.stdout.read()
    assert done.rc == 0 and "WARNING" not in said, said
    events = [json.loads(file.read_text()) for file in Path(done.config.artifact_dir, "job_events").glob("*.json")]
    (stats,) = [event for event in events if event["event"] == "playbook_on_stats"]
    backup = stats["event_data"]["artifact_data"]["backup"]
    assert backup["changed"] and backup["backup"]["id"] in os.listdir(tmp_path / "artifacts" / "backups")


def test_the_same_plugins_watch_a_run_there():
    here = configparser.ConfigParser()
    here.read(ROOT / "ansible.cfg")
    steps = yaml.safe_load(DESCRIPTION.read_text())["additional_build_steps"]["append_final"]
    (enabled,) = re.findall(r"ANSIBLE_CALLBACKS_ENABLED=(\S+)", "\n".join(steps))
    assert enabled.split(",") == here["defaults"]["callbacks_enabled"].split(", ")


def test_it_holds_the_versions_that_are_tested():
    said = yaml.safe_load(DESCRIPTION.read_text())
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), re.M))
    for key, name in (("ansible_core", "ansible"), ("ansible_runner", "ansible-runner")):
        assert said["dependencies"][key]["package_pip"] == f"{name}=={locked[name]}"
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert f"eazepay-ops-{version}.tar.gz" in DESCRIPTION.read_text()
    assert set(said["dependencies"]["galaxy"]) == {"collections"}
