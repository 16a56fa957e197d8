"""Deployments of a shop that are killed in one of their steps."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Any

import pytest

from tests import portals
from tests.deployments import kill
from tests.images import tiny
from tests.shop import NAMES, ClusterShop, Shop

RELEASE = "v1.2.0"


def prepared(made: Any) -> Any:
    """The images and the source of the release that is to come."""
    made.repository = f"{made.sandbox['REGISTRY']}/t/shop-{made.id}"
    for name in NAMES:
        image = f"{made.repository}/{name}-service:{RELEASE}"
        if name == "identity" and isinstance(made, ClusterShop):
            made.newest(image)
            continue
        for words in (["tag", tiny(made.sandbox["REGISTRY"], "v3"), image], ["push", "--quiet", image]):
            subprocess.run(["docker", *words], check=True, capture_output=True)
    origin, work = made.folder / "origin.git", made.folder / "work"
    who = {f"GIT_{role}_{key}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

    def git(*words: str) -> None:
        subprocess.run(["git", *words], check=True, capture_output=True, env={**os.environ, **who})

    git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git("clone", "--quiet", str(origin), str(work))
    portals.source(work / "portal")
    for release in ("v1.1.0", RELEASE):
        (work / "code").write_text(f"{release}\n")
        (work / "migrations").write_text("First\n" if release == RELEASE else "")
        git("-C", str(work), "add", "--all")
        git("-C", str(work), "commit", "--quiet", "-m", release)
        git("-C", str(work), "tag", "-a", release, "-m", release)
    git("-C", str(work), "push", "--quiet", "--tags", "origin", "HEAD:main")
    return made


def given(company: Any) -> dict[str, Any]:
    return {
        "eazepay_images": company.repository,
        "eazepay_images_elsewhere": list(NAMES),
        "eazepay_backup": {"dest": str(company.folder / "backups"), "max_age": "24h", "keep": {"last": 2}},
        "eazepay_databases": [company.database],
        "eazepay_checklist": {},
        "eazepay_bake": 0,
        "eazepay_watch": {"interval": 1, "consecutive": 10},
    }


def killed_in(company: Shop, step: str) -> None:
    """Begins a deployment and kills it in that step: in the rollout once a service is new, in the migrations and the
    portals once they are done and the run has not yet heard of it."""
    run = company.start("deploy.yml", "-e", f"release={RELEASE}", **given(company))
    watchdog = threading.Timer(240, kill, [run])
    watchdog.start()
    seen = []
    for line in run.stdout:
        seen.append(line)
        if f"TASK [Begin of {step}]" in line:
            break
    else:
        pytest.fail(f"it never came to {step}: {''.join(seen)[-5000:]}")
    while step == "rollout" and "v3" not in company.versions():
        assert run.poll() is None, run.stdout.read()[-5000:]
    while step == "migrate" and not company.migrations():
        assert run.poll() is None, run.stdout.read()[-5000:]
    while step == "portals" and RELEASE not in company.page():
        assert run.poll() is None, run.stdout.read()[-5000:]
    watchdog.cancel()
    kill(run)
    run.stdout.close()
