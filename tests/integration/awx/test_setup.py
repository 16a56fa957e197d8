"""AWX set up from code, by awx.awx against AWX's rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.awx.controller import TOKEN, Controller


def set_up(controller: Controller, *more: str, token: str = TOKEN) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "playbooks/awx.yml",
            "-i",
            "inventories/production",
            *more,
        ],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "CONTROLLER_HOST": controller.url, "CONTROLLER_OAUTH_TOKEN": token},
    )


@pytest.fixture(scope="module")
def made():
    with Controller() as controller:
        done = set_up(controller)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr
        yield controller, done


def test_everything_is_there(made):
    controller, done = made
    assert "failed=0" in done.stdout and TOKEN not in done.stdout + done.stderr
    assert controller.names("inventories") == {"Eazepay staging", "Eazepay production"}
    kinds = ("deploy to", "plan for", "roll back", "announce for", "maintenance of", "back up", "diagnose", "status of")
    assert controller.names("job_templates") == {
        f"{kind} {where}" for kind in kinds for where in ("staging", "production")
    }
    for template in controller.rows["job_templates"].values():
        assert (ROOT / template["playbook"]).is_file()
        assert not template["extra_vars"], "what a job is given is asked for, and nothing of it is a secret"
    for source in controller.rows["inventory_sources"].values():
        assert (ROOT / source["source_path"]).is_file()
    plan = controller.one("job_templates", name="plan for production")
    assert plan["job_type"] == "check" and plan["diff_mode"]
    assert all(credential["inputs"] == {} for credential in controller.rows["credentials"].values())


def test_production_waits_for_a_person_who_sees_the_plan(made):
    controller, _done = made

    def node(where: str, step: str) -> dict:
        workflow = controller.one("workflow_job_templates", name=f"release to {where}")["id"]
        return controller.one("workflow_job_template_nodes", workflow_job_template=workflow, identifier=step)

    def then(where: str, step: str, how: str) -> list[str]:
        links = controller.links.get(("workflow_job_template_nodes", node(where, step)["id"], how), [])
        return [controller.rows["workflow_job_template_nodes"][one]["identifier"] for one in links]

    assert then("production", "plan", "success_nodes") == ["approve"]
    assert then("production", "approve", "success_nodes") == ["deploy"]
    assert then("production", "approve", "failure_nodes") == []
    assert then("production", "deploy", "failure_nodes") == ["rollback"]
    assert then("staging", "plan", "success_nodes") == ["deploy"]
    approval = node("production", "approve")["unified_job_template"]
    assert controller.rows["workflow_approval_templates"][approval]["timeout"] == 3600


def test_maintenance_that_comes_back_is_announced_by_a_schedule_of_its_own(made):
    controller, _done = made
    schedules = {row["name"]: row for row in controller.rows["schedules"].values()}
    (window,) = [name for name in schedules if name.startswith("announcement of ")]
    told, begins = schedules[window], schedules[window.removeprefix("announcement of ")]
    assert told["unified_job_template"] == controller.one("job_templates", name="announce for production")["id"]
    assert told["extra_data"]["stage"] == "maintenance" and told["extra_data"]["starts_in"] == 72
    assert begins["extra_data"]["kind"] == "scheduled" and not told["enabled"]


def test_a_second_run_changes_only_what_was_changed_by_hand(made):
    controller, _done = made
    template = controller.one("job_templates", name="deploy to production")
    controller.rows["job_templates"][template["id"]]["allow_simultaneous"] = True
    controller.surveys["job_templates", template["id"]] = {}
    before = controller.writes
    again = set_up(controller)
    assert again.returncode == 0, again.stdout[-4000:]
    assert "changed=1 " in again.stdout, again.stdout[-4000:]
    assert controller.writes == before + 2, "the template, and its survey"
    assert not controller.one("job_templates", name="deploy to production")["allow_simultaneous"]
    asked = controller.surveys["job_templates", template["id"]]["spec"]
    assert [one["variable"] for one in asked] == ["release", "services"]


def test_who_may_not_is_told_so():
    with Controller() as controller:
        done = set_up(controller, token="another")
        assert done.returncode != 0
        assert "401" in done.stdout and "Traceback" not in done.stdout + done.stderr
        unset = set_up(controller, token="")
        assert "Set CONTROLLER_OAUTH_TOKEN" in unset.stdout
        assert controller.writes == 0


def test_what_is_asked_is_what_the_playbooks_read(made):
    controller, _done = made
    for (kind, number), survey in controller.surveys.items():
        if kind == "job_templates":
            text = (ROOT / controller.rows[kind][number]["playbook"]).read_text()
            texts = text + "".join(file.read_text() for file in (ROOT / "playbooks" / "tasks").glob("*.yml"))
            texts += (ROOT / "playbooks" / "group_vars" / "all" / "main.yml").read_text()
            for question in survey["spec"]:
                assert question["variable"] in texts, json.dumps(question)
