"""A run's lock while one task takes long, and after the run was killed, as another machine sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.ledger import ledger as ledgers
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import open_store

from tests.deployments import end, kill, started_by
from tests.kubernetes import until

ROOT = Path(__file__).parents[3]
PLAY = f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ledger_target: ""
    run_by: {{user: somebody, url: ""}}
  tasks:
    - ansible.builtin.include_tasks: {ROOT}/playbooks/tasks/lock.yml
    - name: Roll it out, which takes long
      ansible.builtin.wait_for: {{path: "{{{{ given_end }}}}", timeout: 240}}
    - ansible.builtin.include_tasks: {ROOT}/playbooks/tasks/unlock.yml
"""
INTERVAL, TTL = 0.5, 6  # seconds


class Run:
    """A run that takes the lock of a store for two hours, and gives it back when there is a file ``end``."""

    def __init__(self, folder, store, *more):
        self.end = folder / "end"
        (folder / "play.yml").write_text(PLAY)
        options = {key: value for key, value in store.items() if key != "store"}
        given = {"run_owner": "run-1", "run_purpose": "deploy v9", "given_end": str(self.end)}
        (folder / "vars.json").write_text(
            json.dumps({**given, "ledger_store": store["store"], "ledger_options": options})
        )
        # As another machine sees it: there no process can be asked.
        self.book = ledgers.Ledger(open_store(store["store"], options))
        self.process = subprocess.Popen(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}"),
                *("-e", f"@{folder / 'vars.json'}", folder / "play.yml", *more),
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_HEARTBEAT_INTERVAL": str(INTERVAL), "ANSIBLE_HEARTBEAT_TTL": str(TTL)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def lock(self):
        try:
            return self.book.read_lock()[1] or {}
        except OpsError:
            return {}

    def left(self):
        """Seconds until the lock expires, if nothing is heard of the run; 0 without one."""
        held = self.lock()
        return held["expires"] - held["heartbeat"] if held.get("owner") == "run-1" else 0

    def beating(self):
        """Waits for a heartbeat that is not yet there."""

        def later(than):
            assert self.process.poll() is None, self.process.stdout.read()
            return 0 < self.left() <= TTL and self.lock()["heartbeat"] > than

        until(lambda: later(than=0), what="a heartbeat")
        seen = self.lock()["heartbeat"]
        until(lambda: later(than=seen), what="one more")

    def done(self):
        self.end.touch()
        output = self.process.communicate(timeout=120)[0]
        assert self.process.returncode == 0, output
        return output


@pytest.fixture
def run(store, tmp_path, monkeypatch):
    monkeypatch.setattr(ledgers, "ended", lambda _holder: False)
    made = Run(tmp_path, store)
    yield made
    if made.process.poll() is None:
        kill(made.process)
    made.process.stdout.close()


def test_a_step_that_takes_long_keeps_the_lock(run):
    run.beating()
    first = run.lock()
    until(lambda: time.time() > first["expires"] + 1, what="the lock would have expired")
    with pytest.raises(OpsError, match=r"run-1 .*holds it since .* for 'deploy v9, started by somebody'"):
        run.book.lock("run-2", "deploy v10", 60)
    assert run.lock()["generation"] == first["generation"] and run.lock()["since"] == first["since"]
    output = run.done()
    assert not run.book.query(1)["lock"] and "WARNING" not in output, output
    assert "test-secret" not in output


def test_a_run_that_was_killed_is_taken_over_soon_on_another_machine_too(run):
    run.beating()
    # The run alone: what it started has to see that for itself.
    left = started_by(run.process.pid)
    run.process.kill()
    run.process.wait()
    until(lambda: len([pid for pid in left if Path(f"/proc/{pid}").exists()]) < len(left), what="the heart to stop")
    last = run.lock()
    with pytest.raises(OpsError, match=r"run-1 .*holds it"):
        run.book.lock("run-2", "deploy v10", 60)

    def taken():
        try:
            return run.book.lock("run-2", "deploy v10", 60)
        except OpsError:
            return None

    over = until(taken, TTL + 30)
    assert over["taken_from"]["why"] == "expired" and over["taken_from"]["owner"] == "run-1"
    assert last["expires"] <= time.time() < last["expires"] + 10
    end(left)


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_a_heartbeat_that_cannot_be_written_is_told_and_fails_nothing(run, store):
    run.beating()
    file = Path(store["store"], "lock.json")
    aside = file.rename(file.with_name("aside"))
    file.mkdir()
    lines = iter(run.process.stdout.readline, "")
    assert any("heartbeat could not be written" in line for line in lines)
    file.rmdir()
    aside.rename(file)
    run.beating()
    assert "WARNING" not in run.done() and not run.book.query(1)["lock"]


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_a_lock_that_somebody_took_is_left_to_them_and_told(run):
    run.beating()
    run.book.lock("run-2", "deploy v10", 60, force="its machine burnt")
    lines = iter(run.process.stdout.readline, "")
    assert any("the deployment lock was taken by run-2" in line for line in lines)
    assert run.lock()["owner"] == "run-2"
    run.end.touch()
    assert "run-2" in run.process.communicate(timeout=120)[0] and run.process.returncode == 2
    assert run.lock()["owner"] == "run-2"


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_check_mode_takes_none_and_keeps_none(store, tmp_path):
    run = Run(tmp_path, store, "--check")
    assert "WARNING" not in run.done() and not run.lock()
