"""The main job on the Compose target, watched from outside: what users get while a release is deployed, and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest

from sandbox.traffic import Traffic
from tests.conftest import ROOT

SERVICES = ("identity", "biometric", "wallet", "transaction", "agent", "ussd")


def playbook(name: str, *more: str) -> subprocess.CompletedProcess:
    """Runs a playbook as a user does."""
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    return subprocess.run(
        [program, f"playbooks/{name}", "-i", "inventories/local", *more],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )


def deploy(release: str, *more: str) -> subprocess.CompletedProcess:
    return playbook("deploy.yml", "-e", f"release={release}", *more)


def get(url: str, host: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=30) as answer:
        return answer.read().decode()


def versions(sandbox) -> dict[str, str]:
    return {
        name: json.loads(get(f"{sandbox['COMPOSE_EDGE_URL']}/version", f"{name}.eazepay.test"))["version"]
        for name in SERVICES
    }


def hosts() -> list[str]:
    return [f"{name}.eazepay.test" for name in SERVICES]


def everything(sandbox) -> dict[str, object]:
    """What a second run must leave alone."""
    ids = ["docker", "ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.project=eazepay"]
    cloudfront, s3 = boto3.client("cloudfront"), boto3.client("s3")
    return {
        "containers": sorted(subprocess.run(ids, capture_output=True, text=True, check=True).stdout.split()),
        "backups": sorted(path.parent.name for path in Path(sandbox["SANDBOX_DIR"], "backups").glob("*/manifest.json")),
        "invalidations": sorted(
            one["Id"]
            for distribution in cloudfront.list_distributions()["DistributionList"]["Items"]
            for one in cloudfront.list_invalidations(DistributionId=distribution["Id"])["InvalidationList"].get(
                "Items", []
            )
        ),
        "objects": sorted(
            (portal, one["Key"], one["LastModified"].isoformat())
            for portal in ("admin", "customer")
            for one in s3.list_objects_v2(Bucket=f"eazepay-{portal}-portal")["Contents"]
        ),
    }


@pytest.fixture(scope="module")
def deployed(sandbox):
    """v1.0.0 in production, then v1.1.0 deployed over it while people use it."""
    subprocess.run(
        [sys.executable, "-m", "sandbox", "seed", "--target", "compose", "--reset"], cwd=ROOT, check=True, timeout=600
    )
    assert set(versions(sandbox).values()) == {"v1.0.0"}
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy("v1.1.0")
    return done, traffic.result


def test_a_good_release_is_deployed_and_nobody_notices(deployed, sandbox):
    done, users = deployed
    assert done.returncode == 0, done.stdout[-5000:]
    assert users.failed == 0, users.summary()
    assert set(versions(sandbox).values()) == {"v1.1.0"}
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


def test_check_mode_touches_nothing(deployed, sandbox):
    before = everything(sandbox)
    checked = deploy("v1.2.0-slow", "--check", "--diff")
    assert checked.returncode == 0, checked.stdout[-5000:]
    assert everything(sandbox) == before


@pytest.mark.pending
@pytest.mark.parametrize(
    ("release", "reason"),
    [
        ("v1.2.0-crash", "cannot start: configuration key LEDGER_URL is not set"),
        ("v1.2.0-unready", "unhealthy"),
        ("v1.2.0-missing", "v1.2.0-missing"),
    ],
)
def test_a_broken_release_is_put_back_and_nobody_notices(deployed, sandbox, release, reason):
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy(release)
    assert done.returncode != 0
    screen = done.stdout[done.stdout.index("Summary of the failure") :]
    assert "FAILED in step rollout" in screen
    assert "transaction" in screen and reason in screen, screen
    assert "Next:" in screen
    assert "Traceback" not in done.stdout + done.stderr
    assert traffic.result.failed == 0, traffic.result.summary()
    assert set(versions(sandbox).values()) == {"v1.1.0"}
    assert "v1.1.0" in get(f"{sandbox['CDN_URL']}/version.json", "admin.eazepay.test")


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


@pytest.mark.pending
def test_a_release_that_fails_its_smoke_test_is_put_back_with_its_portals(deployed, sandbox):
    flow = {
        "name": "nobody pays",
        "service": "identity",
        "steps": [{"name": "look", "path": "/health", "status": [418]}],
    }
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy("v1.2.0-slow", "-e", json.dumps({"eazepay_flows": [flow]}))
    assert done.returncode != 0
    screen = done.stdout[done.stdout.index("Summary of the failure") :]
    assert "FAILED in step verify" in screen and "nobody pays" in screen, screen
    assert "Put back and proved healthy: identity, biometric, wallet, transaction, agent, ussd" in screen, screen
    assert traffic.result.failed == 0, traffic.result.summary()
    assert set(versions(sandbox).values()) == {"v1.1.0"}
    for portal in ("admin", "customer"):
        assert "v1.1.0" in get(f"{sandbox['CDN_URL']}/version.json", f"{portal}.eazepay.test")


@pytest.mark.pending
def test_a_quick_rollback_needs_no_input(deployed, sandbox):
    done = deploy("v1.2.0-slow")
    assert done.returncode == 0, done.stdout[-5000:]
    assert set(versions(sandbox).values()) == {"v1.2.0-slow"}
    with Traffic(sandbox["COMPOSE_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        back = playbook("rollback.yml")
    assert back.returncode == 0, back.stdout[-5000:]
    assert "Back at v1.1.0" in back.stdout
    assert set(versions(sandbox).values()) == {"v1.1.0"}
    assert traffic.result.failed == 0, traffic.result.summary()
