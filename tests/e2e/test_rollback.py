"""Rollbacks on both targets, watched from outside: what users get meanwhile and after, and what the ledger says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.traffic import Traffic
from tests.conftest import ROOT
from tests.deployments import deploy, everything, get, hosts, kill, playbook, records, versions

QUICK = 60  # seconds; the runbook allows five minutes


class Place:
    """A target with v1.0.0 in place, and what a user asks of it."""

    def __init__(self, sandbox, target):
        self.sandbox, self.target = sandbox, target
        self.edge = sandbox[f"{target.upper()}_EDGE_URL"]
        self.more = ("-e", f"eazepay_target={target}")
        subprocess.run(
            [sys.executable, "-m", "sandbox", "seed", "--target", target, "--reset"], cwd=ROOT, check=True, timeout=600
        )

    def serves(self, release):
        return set(versions(self.edge).values()) == {release}

    def deploy(self, release="v1.1.0"):
        done = deploy(release, *self.more)
        assert done.returncode == 0, done.stdout[-5000:]
        assert self.serves(release)

    def back(self, *more):
        """A rollback under traffic; gives what it printed, its seconds, and what users met."""
        begun = time.monotonic()
        with Traffic(self.edge, hosts()) as traffic:
            traffic.await_sent(20)
            begun = time.monotonic()
            done = playbook("rollback.yml", *self.more, *more)
            seconds = time.monotonic() - begun
        assert "Traceback" not in done.stdout + done.stderr
        return done, seconds, traffic.result


KUBERNETES = pytest.param("kubernetes", marks=pytest.mark.kubernetes)


@pytest.fixture(scope="module", params=["compose", KUBERNETES])
def place(request, sandbox):
    made = Place(sandbox, request.param)
    made.deploy()
    return made


# Databases, portals and code are the same on both targets.
ON_COMPOSE = pytest.mark.parametrize("place", ["compose"], indirect=True)


def migrations(database="wallet"):
    asked = ["psql", "-At", "-d", database, "-c", "SELECT count(*) FROM migrations"]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def test_the_plan_is_shown_and_nothing_is_touched(place):
    before = everything(place.sandbox)
    done = playbook("rollback.yml", *place.more, "-e", "scope=complete", "--check")
    assert done.returncode == 0, done.stdout[-5000:]
    screen = done.stdout[done.stdout.rindex("TASK [Summary]") :]
    assert "planned, nothing was touched" in screen
    assert "v1.1.0 -> v1.0.0" in screen and "Portal admin" in screen and "Database wallet: revert" in screen, screen
    assert everything(place.sandbox) == before and place.serves("v1.1.0")


def test_bad_input_is_refused(place):
    refused = playbook("rollback.yml", *place.more, "-e", "scope=everything")
    assert refused.returncode != 0 and "scope is services, portals, database or complete" in refused.stdout
    refused = playbook("rollback.yml", *place.more, "-e", "to_release=v0.9.0")
    assert refused.returncode != 0 and "knows no good release v0.9.0" in " ".join(refused.stdout.split())
    assert place.serves("v1.1.0")


def test_a_quick_rollback_needs_no_input_loses_no_request_and_can_be_undone(place):
    done, seconds, users = place.back()
    assert done.returncode == 0, done.stdout[-5000:]
    assert "Back at v1.0.0, from v1.1.0" in " ".join(done.stdout.split())
    assert place.serves("v1.0.0") and users.failed == 0, users.summary()
    assert seconds <= QUICK, f"{seconds:.0f} s"
    record = records(place.sandbox)[-1]
    assert (record["release"], record["outcome"], record["rolled_back_from"]) == ("v1.0.0", "good", "v1.1.0")
    # What was left is not where a second rollback goes.
    again, _seconds, _users = place.back()
    assert place.serves("v1.0.0"), again.stdout[-3000:]
    undone, seconds, users = place.back("-e", "to_release=v1.1.0")
    assert undone.returncode == 0, undone.stdout[-5000:]
    assert place.serves("v1.1.0") and users.failed == 0, users.summary()
    assert seconds <= QUICK, f"{seconds:.0f} s"


@ON_COMPOSE
def test_a_loss_is_agreed_to_before_anything_is_touched(place):
    refused, _seconds, users = place.back(
        "-e", "scope=complete", "-e", "to_release=v1.0.0", "-e", "database_way=restore"
    )
    assert refused.returncode != 0 and "accept_loss=true" in refused.stdout, refused.stdout[-3000:]
    assert place.serves("v1.1.0") and users.failed == 0


@ON_COMPOSE
def test_a_complete_rollback(place):
    """Services, portals and databases; the code is prepared and not pushed."""
    sandbox = place.sandbox
    assert migrations() == 3
    done, _seconds, users = place.back("-e", "scope=complete")
    assert done.returncode == 0, done.stdout[-5000:]
    assert users.failed == 0, users.summary()
    assert place.serves("v1.0.0") and migrations() == 2
    for portal in ("admin", "customer"):
        assert "v1.0.0" in get(f"{sandbox['CDN_URL']}/version.json", f"{portal}.eazepay.test")

    def git(*words):
        argv = ["git", "-C", str(Path(sandbox["SANDBOX_DIR"], "company")), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert git("rev-parse", "revert-v1.1.0-to-v1.0.0^{tree}") == git("rev-parse", "v1.0.0^{tree}")
    assert not git("ls-remote", "origin", "revert-v1.1.0-to-v1.0.0"), "people push it"
    assert git("worktree", "list").count("\n") == 0


def test_a_deployment_that_was_killed_is_rolled_back(place):
    if not place.serves("v1.0.0"):
        done, _seconds, _users = place.back()
        assert done.returncode == 0, done.stdout[-3000:]
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    argv = [program, "playbooks/deploy.yml", "-i", "inventories/local", "-e", "release=v1.1.0", *place.more]
    run = subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ
    )
    deadline = time.monotonic() + 300
    while set(versions(place.edge).values()) == {"v1.0.0"}:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    kill(run)
    assert records(place.sandbox)[-1]["outcome"] == "running"
    done, _seconds, _users = place.back()
    assert done.returncode == 0, done.stdout[-5000:]
    assert place.serves("v1.0.0")
    assert json.loads(Path(place.sandbox["SANDBOX_DIR"], "ledger", "lock.json").read_text())["owner"] == ""
