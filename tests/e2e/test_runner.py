"""A deployment as AWX starts it: ansible-runner, a project folder, the inventory as AWX imported it, credentials in the
environment. What AWX keeps of it: events and artifacts."""

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


@pytest.fixture(scope="module")
def job(sandbox, tmp_path_factory):
    private = tmp_path_factory.mktemp("runner")
    (private / "project").symlink_to(ROOT)
    # AWX imports an inventory's file once and hands each job what it knows then, by a script.
    imported = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", "inventories/local/hosts", "--list", "--export"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (private / "inventory").mkdir()
    script = private / "inventory" / "hosts"
    script.write_text(f"#!{sys.executable}\nprint('''{imported.translate({92: chr(92) * 2})}''')\n")
    script.chmod(0o755)
    done = ansible_runner.run(
        private_data_dir=str(private),
        playbook="playbooks/deploy.yml",
        extravars={"release": "v1.1.0", "services": "", "eazepay_slos": SLOS},
        envvars={**sandbox, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
        settings={"job_timeout": 900},
        quiet=True,
    )
    return done, [json.loads(file.read_text()) for file in Path(done.config.artifact_dir, "job_events").glob("*.json")]


def test_it_deploys(job, sandbox):
    done, _events = job
    assert done.rc == 0 and done.status == "successful", done.stdout.read()[-5000:]
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.1.0"}


def test_its_events_are_what_awx_stores(job):
    _done, events = job
    events.sort(key=lambda event: event["counter"])
    assert [event["counter"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["uuid"] for event in events}) == len(events)
    kinds = {event["event"] for event in events}
    assert {"playbook_on_start", "playbook_on_task_start", "runner_on_ok", "playbook_on_stats"} <= kinds
    assert len(events) < 2000, "every line is a row in AWX's database"
    text = json.dumps(events)
    assert os.environ["PGPASSWORD"] not in text


def test_it_leaves_artifacts_for_the_workflow(job):
    _done, events = job
    (stats,) = [event for event in events if event["event"] == "playbook_on_stats"]
    report = stats["event_data"]["artifact_data"]["run_report"]
    assert report["outcome"] == "good" and report["release"] == "v1.1.0" and report["environment"] == "local"
    assert report["backup"] and not report["not_put_back"]
    assert "to_release" not in stats["event_data"]["artifact_data"], "a good deployment is not rolled back"
