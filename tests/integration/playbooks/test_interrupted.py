"""A deployment that is killed in each of its steps, then a rollback of each scope, or the next deployment."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from tests.deployments import kill
from tests.images import tiny
from tests.shop import NAMES, shop

RELEASE = "v1.2.0"


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with shop(tmp_path_factory.mktemp("shop"), sandbox) as made:
        made.repository = f"{sandbox['REGISTRY']}/t/shop-{made.id}"
        for name in NAMES:
            image = f"{made.repository}/{name}-service:{RELEASE}"
            for words in (["tag", tiny(sandbox["REGISTRY"], "v3"), image], ["push", "--quiet", image]):
                subprocess.run(["docker", *words], check=True, capture_output=True)
        origin, work = made.folder / "origin.git", made.folder / "work"
        who = {f"GIT_{role}_{key}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

        def git(*words):
            subprocess.run(["git", *words], check=True, capture_output=True, env={**os.environ, **who})

        git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
        git("clone", "--quiet", str(origin), str(work))
        for release in ("v1.1.0", RELEASE):
            (work / "code").write_text(f"{release}\n")
            git("-C", str(work), "add", "--all")
            git("-C", str(work), "commit", "--quiet", "-m", release)
            git("-C", str(work), "tag", "-a", release, "-m", release)
        git("-C", str(work), "push", "--quiet", "--tags", "origin", "HEAD:main")
        yield made


@pytest.fixture(scope="module")
def given(company):
    return {
        "eazepay_images": company.repository,
        "eazepay_images_elsewhere": list(NAMES),
        "eazepay_backup": {"dest": str(company.folder / "backups"), "max_age": "24h", "keep": {"last": 2}},
        "eazepay_databases": ["wallet"],
        "eazepay_checklist": {},
        "eazepay_bake": 0,
        "eazepay_watch": {"interval": 1, "consecutive": 10},
    }


def killed_in(company, step, given):
    """Begins a deployment and kills it in that step; in the rollout once a service is new."""
    run = company.start("deploy.yml", "-e", f"release={RELEASE}", **given)
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
    watchdog.cancel()
    kill(run)
    run.stdout.close()


@pytest.mark.parametrize(
    ("step", "scope"),
    [
        ("backup", "services"),
        ("migrate", "database"),
        ("rollout", "complete"),
        ("verify", "complete"),
    ],
)
def test_what_was_killed_is_rolled_back(company, given, step, scope):
    killed_in(company, step, given)
    assert company.ledger.query(1)["records"][0]["outcome"] == "running"
    company.play("rollback.yml", "-e", f"scope={scope}", **given)
    assert company.versions() == {"v2"}
    found = company.ledger.query(1)
    record = found["records"][0]
    assert not found["lock"] and record["rolled_back_from"] == RELEASE
    if scope != "database":
        assert (record["release"], record["outcome"]) == ("v1.1.0", "good") and found["in_place"] == "v1.1.0"


def test_the_next_deployment_takes_up_what_was_killed(company, given):
    killed_in(company, "rollout", given)
    company.play("deploy.yml", "-e", f"release={RELEASE}", **given)
    found = company.ledger.query(1)
    assert company.versions() == {"v3"} and found["in_place"] == RELEASE and not found["lock"]
