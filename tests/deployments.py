"""Deployments as a user runs them, and what users of the company then get."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3

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


# A machine that runs all tests is slow now and then; only what is seconds slow is taken for the release's fault here.
SLOS = {"error_rate": {"warn": 0.001, "fail": 0.01}, "p95_seconds": {"warn": 0.1, "fail": 5}}


def deploy(release: str, *more: str, **variables: object) -> subprocess.CompletedProcess:
    """A deployment. ``variables`` are extra variables of any type."""
    given = json.dumps({"eazepay_slos": SLOS, **variables})
    return playbook("deploy.yml", "-e", f"release={release}", "-e", given, *more)


def screen(done: subprocess.CompletedProcess) -> str:
    """The last screen of a deployment that failed."""
    assert done.returncode != 0, done.stdout[-5000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout[done.stdout.rindex("TASK [Summary of the failure]") :]


def records(sandbox) -> list[dict]:
    """What the ledger knows, the latest run last."""
    folder = Path(sandbox["SANDBOX_DIR"], "ledger", "records")
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def get(url: str, host: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=30) as answer:
        return answer.read().decode()


def versions(edge_url: str) -> dict[str, str]:
    """What each service says that it is, asked where users ask."""
    return {name: json.loads(get(f"{edge_url}/version", f"{name}.eazepay.test"))["version"] for name in SERVICES}


def hosts() -> list[str]:
    return [f"{name}.eazepay.test" for name in SERVICES]


def everything(sandbox) -> dict[str, object]:
    """What a second run must leave alone."""
    ids = ["docker", "ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.project=eazepay"]
    pods = ["docker", "ps", "-q", "--no-trunc", "--filter", "label=io.kubernetes.pod.namespace=eazepay"]
    cloudfront, s3 = boto3.client("cloudfront"), boto3.client("s3")
    return {
        "containers": [
            sorted(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
            for argv in (ids, pods)
        ],
        "backups": sorted(path.parent.name for path in Path(sandbox["SANDBOX_DIR"], "backups").glob("*/manifest.json")),
        "invalidations": sorted(
            one["Id"]
            for distribution in cloudfront.list_distributions()["DistributionList"]["Items"]
            if {"admin.eazepay.test", "customer.eazepay.test"} & set(distribution["Aliases"].get("Items", []))
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


def kill(run: subprocess.Popen) -> None:
    """SIGKILL to a run of Ansible's that has a session of its own.

    Its workers have sessions of theirs: one goes on with its task, and then waits for ever for somebody to read the
    result. So it is with a person's, and what comes next has to bear it; those that still wait at the end are ended.
    """
    atexit.register(end, started_by(run.pid))
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def started_by(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, ()))
    for one in found:
        found += children.get(one, ())
    return found


def end(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"ansible" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
