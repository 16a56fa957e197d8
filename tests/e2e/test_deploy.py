"""The main job on the Compose target, watched from outside: what users get while a release is deployed, and after."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.traffic import Traffic
from tests.conftest import ROOT
from tests.deployments import deploy, everything, get, hosts, playbook, screen, versions


@pytest.fixture(scope="module")
def deployed(sandbox):
    """v1.0.0 in production, then v1.1.0 deployed over it while people use it."""
    subprocess.run(
        [sys.executable, "-m", "sandbox", "seed", "--target", "compose", "--reset"], cwd=ROOT, check=True, timeout=600
    )
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.0.0"}
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy("v1.1.0")
    return done, traffic.result


def test_a_good_release_is_deployed_and_nobody_notices(deployed, sandbox):
    done, users = deployed
    assert done.returncode == 0, done.stdout[-5000:]
    assert users.failed == 0, users.summary()
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.1.0"}
    for portal in ("admin", "customer"):
        assert "v1.1.0" in get(f"{sandbox['CDN_URL']}/version.json", f"{portal}.eazepay.test")
    assert "deploy v1.1.0 on local (compose): done" in done.stdout
    found = everything(sandbox)
    assert found["backups"] and found["invalidations"]
    migrated = subprocess.run(
        ["psql", "-At", "-d", "wallet", "-c", "SELECT count(*) FROM migrations"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert migrated.stdout.strip() == "3"


def test_the_second_run_changes_nothing(deployed, sandbox):
    before = everything(sandbox)
    again = deploy("v1.1.0")
    assert again.returncode == 0, again.stdout[-5000:]
    assert everything(sandbox) == before
    assert "Images: 0 built and pushed, 6 unchanged" in again.stdout
    assert "taken earlier" in again.stdout
    assert "done; all was in place and nothing had to change" in again.stdout


def test_check_mode_touches_nothing(deployed, sandbox):
    before = everything(sandbox)
    checked = deploy("v1.2.0-slow", "--check", "--diff")
    assert checked.returncode == 0, checked.stdout[-5000:]
    assert everything(sandbox) == before


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        ("v1.2.0-crash", "cannot start: configuration key LEDGER_URL is not set"),
        ("v1.2.0-unready", "its healthcheck fails"),
        ("v1.2.0-missing", "v1.2.0-missing"),
    ],
)
def test_a_broken_release_is_put_back_and_nobody_notices(deployed, sandbox, release, reason):
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy(release)
    seen = screen(done)
    assert "FAILED in step rollout" in seen
    assert "transaction" in seen and reason in seen, seen
    assert "Next:" in seen
    assert traffic.result.failed == 0, traffic.result.summary()
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.1.0"}
    assert "v1.1.0" in get(f"{sandbox['CDN_URL']}/version.json", "admin.eazepay.test")
    # The bundle was made after all was put back, and still names the cause; the dossier tells the same times.
    first = Path(re.search(r"less (\S+/index\.txt)", seen)[1]).read_text()
    top = " ".join(first.partition("Also seen")[0].partition("Released")[0].split())
    assert "Nothing wrong" not in first and "transaction: " in top and reason in top, first
    assert ("Put back before this was gathered" in top) == ("put back and healthy" in seen), first
    assert f"being tried: {release}" in first and "in place before it: v1.1.0" in first, first
    document = json.loads(Path(re.search(r"Dossier: (\S+)\.html", seen)[1] + ".json").read_text())
    took = {one["name"]: one["ended"] - one["began"] for one in document["steps"]}
    assert f"rollout {took['rollout']:.1f} s (failed)" in seen, took


def test_without_anything_to_judge_by_nothing_is_begun(deployed, sandbox):
    before = everything(sandbox)
    metrics = {"labels": {}, "version_label": "", "window": 20, "min_window": 4, "min_requests": 1000000}
    done = deploy("v1.1.0", eazepay_no_data="fail", eazepay_metrics=metrics, verify_deadline=2)
    seen = screen(done)
    assert "FAILED in step preflight; no service was touched" in seen
    assert "too little to judge by" in seen, seen
    assert everything(sandbox) == before


def test_bad_input_is_refused_before_anything_is_touched(deployed, sandbox):
    for more, said in (
        (["-e", "services=identity,nobody"], "Unknown services: nobody"),
        (["-e", "eazepay_target=vms"], "eazepay_target"),
    ):
        refused = deploy("v1.1.0", *more)
        assert refused.returncode != 0
        assert said in refused.stdout and "Nothing was touched" in refused.stdout
    refused = deploy("latest")
    assert "Which release?" in refused.stdout


def test_a_release_that_fails_its_smoke_test_is_put_back_with_its_portals(deployed, sandbox):
    flow = {
        "name": "nobody pays",
        "service": "identity",
        "steps": [{"name": "look", "path": "/health", "status": [418]}],
    }
    nowhere = {
        "mail": {"host": "127.0.0.1", "port": 1, "sender": "a@eazepay.test"},
        "slack": {"secret": "eazepay/local/jwt"},
    }
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy("v1.2.0-slow", eazepay_flows=[flow], eazepay_slos={}, eazepay_notifications=nowhere)
    seen = screen(done)
    assert "FAILED in step verify; what was touched was put back" in seen and "nobody pays" in seen, seen
    for name in ("identity", "biometric", "wallet", "transaction", "agent", "ussd"):
        assert f"  {name:<12} {'v1.1.0':<12} put back and healthy" in seen, seen
    # Nobody could be told, and that stopped nothing.
    assert "Not told:" in seen, seen
    assert traffic.result.failed == 0, traffic.result.summary()
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.1.0"}
    for portal in ("admin", "customer"):
        assert "v1.1.0" in get(f"{sandbox['CDN_URL']}/version.json", f"{portal}.eazepay.test")


def test_a_quick_rollback_needs_no_input(deployed, sandbox):
    done = deploy("v1.2.0-slow", eazepay_slos={})
    assert done.returncode == 0, done.stdout[-5000:]
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.2.0-slow"}
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        back = playbook("rollback.yml")
    assert back.returncode == 0, back.stdout[-5000:]
    assert "Back at v1.1.0" in back.stdout
    assert set(versions(sandbox["COMPOSE_EDGE_URL"]).values()) == {"v1.1.0"}
    assert traffic.result.failed == 0, traffic.result.summary()
