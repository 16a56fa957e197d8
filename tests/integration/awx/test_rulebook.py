"""The rulebook, by ansible-rulebook itself: its parser and rule engine, against the templates that awx.yml makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sandbox import packages
from tests.conftest import ROOT
from tests.integration.awx.controller import TOKEN, Controller
from tests.integration.awx.test_setup import set_up

RULEBOOK = ROOT / "extensions" / "eda" / "rulebooks" / "rollback_on_alert.yml"


@pytest.fixture(scope="module")
def programs() -> Path:
    """ansible-rulebook has an environment of its own: it brings a driver of PostgreSQL that our modules do not use."""
    home = ROOT / "build" / "rulebook"
    uv = [str(Path(sys.executable).with_name("uv"))]
    if not (home / "bin" / "python").exists():
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    wanted = ["ansible-rulebook==1.3.2", "ansible-core==2.19.*"]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", *wanted], check=True)
    packages.install(["default-jre-headless"], "rulebook")
    return home / "bin"


@pytest.fixture(scope="module")
def controller():
    with Controller() as made:
        done = set_up(made)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr
        yield made


def alert(environment: str = "production", **more: str) -> dict:
    """As ansible.eda.alertmanager hands on each alert of a message."""
    labels = {"alertname": "ErrorRate", "environment": environment, "rollback": "true", **more}
    return {"alert": {"status": "firing", "labels": labels, "annotations": {}}, "meta": {}}


def told(programs: Path, controller: Controller, folder: Path, *alerts: dict) -> list[tuple[str, dict]]:
    """The jobs that these alerts start. Only where they come from is another than in the rulebook."""
    (rules,) = yaml.safe_load(RULEBOOK.read_text())
    rules["sources"] = [{"name": "alerts", "eda.builtin.generic": {"payload": list(alerts), "shutdown_after": 1}}]
    (folder / "rules.yml").write_text(yaml.safe_dump([rules], sort_keys=False))
    (folder / "hosts").write_text("localhost\n")
    before = len(controller.jobs)
    done = subprocess.run(
        [programs / "ansible-rulebook", "--rulebook", "rules.yml", "--inventory", "hosts"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "EDA_CONTROLLER_URL": controller.url,
            "EDA_CONTROLLER_TOKEN": TOKEN,
            "EDA_JOB_TEMPLATE_REFRESH_DELAY": "0.1",
        },
    )
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stdout + done.stderr
    return [(job["template"], job["given"]) for job in controller.jobs[before:]]


def test_it_is_what_ansible_rulebook_takes(programs):
    ask = """
import json, sys, yaml, jsonschema, ansible_rulebook
from pathlib import Path
from ansible_rulebook.rules_parser import parse_rule_sets
rules = yaml.safe_load(Path(sys.argv[1]).read_text())
jsonschema.validate(rules, json.loads(Path(ansible_rulebook.__path__[0], "schema", "ruleset_schema.json").read_text()))
(parsed,) = parse_rule_sets(rules, {})
print(json.dumps([parsed.sources[0].source_name, parsed.rules[0].throttle.once_within]))
"""
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    argv = [programs / "python", "-c", ask, str(RULEBOOK)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["ansible.eda.alertmanager", "6 hours"]


def test_an_alert_starts_one_rollback_of_its_environment(programs, controller, tmp_path):
    resolved, asks_nothing = alert("staging"), alert("staging", rollback="false")
    resolved["alert"]["status"] = "resolved"
    alerts = [resolved, asks_nothing, alert(), alert(alertname="Latency")]
    assert told(programs, controller, tmp_path, *alerts) == [
        ("roll back production", {"to_release": "", "scope": "services", "accept_loss": "no"})
    ]


def test_each_environment_has_its_own(programs, controller, tmp_path):
    started = told(programs, controller, tmp_path, alert("staging"), alert(), alert("staging"))
    assert sorted(template for template, _given in started) == ["roll back production", "roll back staging"]
