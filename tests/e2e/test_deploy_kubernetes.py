"""The main job on Kubernetes, watched from outside: what users get while a release is deployed, and after."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.traffic import Traffic
from tests.conftest import ROOT
from tests.deployments import deploy, everything, hosts, versions

pytestmark = pytest.mark.kubernetes
TARGET = ("-e", "eazepay_target=kubernetes")


def deployments() -> dict[str, dict]:
    asked = subprocess.run(
        ["kubectl", "-n", "eazepay", "get", "deployments", "-o", "json"], capture_output=True, text=True, check=True
    )
    return {one["metadata"]["name"]: one for one in json.loads(asked.stdout)["items"]}


@pytest.fixture(scope="module")
def deployed(sandbox):
    """v1.0.0 in production, then v1.1.0 deployed over it while people use it."""
    seed = [sys.executable, "-m", "sandbox", "seed", "--target", "kubernetes", "--reset"]
    subprocess.run(seed, cwd=ROOT, check=True, timeout=600)
    assert set(versions(sandbox["KUBERNETES_EDGE_URL"]).values()) == {"v1.0.0"}
    with Traffic(sandbox["KUBERNETES_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy("v1.1.0", *TARGET)
    return done, traffic.result


def test_a_good_release_is_deployed_and_nobody_notices(deployed, sandbox):
    done, users = deployed
    assert done.returncode == 0, done.stdout[-5000:]
    assert users.failed == 0, users.summary()
    assert set(versions(sandbox["KUBERNETES_EDGE_URL"]).values()) == {"v1.1.0"}
    assert "deploy v1.1.0 on local (kubernetes): done" in done.stdout
    for name, one in deployments().items():
        if name.endswith("-service"):
            assert one["status"]["updatedReplicas"] == one["status"]["replicas"] == one["spec"]["replicas"], name


def test_the_second_run_changes_nothing(deployed, sandbox):
    before, objects = everything(sandbox), deployments()
    again = deploy("v1.1.0", *TARGET)
    assert again.returncode == 0, again.stdout[-5000:]
    assert everything(sandbox) == before
    generations = {name: one["metadata"]["generation"] for name, one in deployments().items()}
    assert generations == {name: one["metadata"]["generation"] for name, one in objects.items()}


@pytest.mark.parametrize(
    ("release", "reason"),
    [("v1.2.0-crash", "cannot start: configuration key LEDGER_URL is not set"), ("v1.2.0-missing", "v1.2.0-missing")],
)
def test_a_broken_release_is_put_back_and_nobody_notices(deployed, sandbox, release, reason):
    with Traffic(sandbox["KUBERNETES_EDGE_URL"], hosts()) as traffic:
        traffic.await_sent(20)
        done = deploy(release, *TARGET)
    assert done.returncode != 0
    screen = done.stdout[done.stdout.index("Summary of the failure") :]
    assert "transaction" in screen and reason in screen, screen
    assert "Next:" in screen
    assert "Traceback" not in done.stdout + done.stderr
    assert traffic.result.failed == 0, traffic.result.summary()
    assert set(versions(sandbox["KUBERNETES_EDGE_URL"]).values()) == {"v1.1.0"}
    # What was at the failure is in the bundle, though it was put back before: why first, then all else.
    first = Path(re.search(r"less (\S+/index\.txt)", screen)[1])
    cause = " ".join(first.read_text().partition("At the failure")[0].split())
    assert "LIKELY CAUSE transaction: " in cause and reason in cause, first.read_text()
    if release == "v1.2.0-missing":
        (events,) = first.parent.glob("at_failure/*/events.txt")
        assert "manifest unknown" in events.read_text().splitlines()[0], events.read_text()
        page = Path(re.search(r"Dossier: (\S+\.html)", screen)[1])
        failure = json.loads(page.with_suffix(".json").read_text())["failure"]
        assert "manifest unknown" in failure["causes"][0]["events"][0], failure
