"""Deployments and rollbacks as AWX starts them: ansible-runner, a project folder, the inventory as AWX imported it,
credentials in the environment. What AWX keeps of them: events and artifacts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ansible_runner
import pytest

from tests.conftest import ROOT
from tests.deployments import SLOS, versions


class Controller:
    """Starts jobs like AWX."""

    def __init__(self, private: Path, sandbox: dict[str, str]) -> None:
        self.private, self.sandbox = private, sandbox
        (private / "project").symlink_to(ROOT)
        # AWX imports an inventory's file once and hands each job what it knows then, by a script.
        imported = subprocess.run(
            [
                Path(sys.executable).with_name("ansible-inventory"),
                "-i",
                "inventories/local/hosts",
                "--list",
                "--export",
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        (private / "inventory").mkdir()
        script = private / "inventory" / "hosts"
        script.write_text(f"#!{sys.executable}\nprint('''{imported.translate({92: chr(92) * 2})}''')\n")
        script.chmod(0o755)

    def start(self, playbook: str, **survey: str) -> tuple[ansible_runner.Runner, list[dict]]:
        """The job, and its events."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = ansible_runner.run(
            private_data_dir=str(self.private),
            playbook=f"playbooks/{playbook}.yml",
            extravars={**survey, "eazepay_slos": SLOS},
            envvars={**self.sandbox, "PATH": path, "ANSIBLE_NOCOLOR": "1"},
            settings={"job_timeout": 900},
            quiet=True,
        )
        files = Path(done.config.artifact_dir, "job_events").glob("*.json")
        return done, sorted((json.loads(file.read_text()) for file in files), key=lambda event: event["counter"])


@pytest.fixture(scope="module")
def controller(sandbox, tmp_path_factory):
    seed = [sys.executable, "-m", "sandbox", "seed", "--target", "compose", "--reset"]
    subprocess.run(seed, cwd=ROOT, check=True, timeout=600)
    return Controller(tmp_path_factory.mktemp("runner"), sandbox)


@pytest.fixture(scope="module")
def job(controller):
    return controller.start("deploy", release="v1.1.0", services="")


@pytest.fixture(scope="module")
def rollback(job, controller):
    """With all that the template's survey sends when nothing is typed."""
    return controller.start("rollback", to_release="", scope="services", accept_loss="no")


JOBS = pytest.mark.parametrize("started", ["job", "rollback"])


def artifacts(events: list[dict]) -> dict:
    (stats,) = [event for event in events if event["event"] == "playbook_on_stats"]
    return stats["event_data"]["artifact_data"]


def test_it_deploys(job, sandbox):
    done, _events = job
    assert done.rc == 0 and done.status == "successful", done.stdout.read()[-5000:]
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.1.0"}


def test_it_leaves_artifacts_for_the_workflow(job):
    _done, events = job
    report = artifacts(events)["run_report"]
    assert report["outcome"] == "good" and report["release"] == "v1.1.0" and report["environment"] == "local"
    assert report["backup"] and not report["not_put_back"]
    assert "to_release" not in artifacts(events), "a good deployment is not rolled back"


def test_it_rolls_back(rollback, sandbox):
    done, events = rollback
    assert done.rc == 0 and done.status == "successful", done.stdout.read()[-5000:]
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.0.0"}
    report = artifacts(events)["run_report"]
    assert report["outcome"] == "good" and "v1.0.0" in report["purpose"] and report["release"] == "v1.0.0", report


@JOBS
def test_events_are_what_awx_stores(started, request):
    _done, events = request.getfixturevalue(started)
    assert [event["counter"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["uuid"] for event in events}) == len(events)
    kinds = {event["event"] for event in events}
    assert {"playbook_on_start", "playbook_on_task_start", "runner_on_ok", "playbook_on_stats"} <= kinds
    assert len(events) < 2000, "every line is a row in AWX's database"
    assert os.environ["PGPASSWORD"] not in json.dumps(events)


def test_a_deployment_that_fails_hands_on_where_to_go_back(rollback, controller, sandbox):
    done, events = controller.start("deploy", release="v1.2.0-crash", services="")
    assert done.rc != 0 and done.status == "failed"
    report = artifacts(events)["run_report"]
    assert report["outcome"] == "failed" and report["failed_step"] == "rollout" and report["put_back"], report
    to = artifacts(events)["to_release"]
    # The workflow's next node: nothing has to change for it.
    again, events = controller.start("rollback", to_release=to, scope="services", accept_loss="no")
    assert again.rc == 0, again.stdout.read()[-5000:]
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {to} == {"v1.0.0"}
