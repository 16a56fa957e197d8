"""A deployment that is killed in each of its steps, then a rollback of each scope, or the next deployment."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from tests.deployments import kill
from tests.images import tiny
from tests.postgres import server
from tests.shop import NAMES, ClusterShop, cluster_shop, shop

RELEASE = "v1.2.0"


def prepared(made):
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
    return made


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with shop(tmp_path_factory.mktemp("shop"), sandbox) as made:
        yield prepared(made)


@pytest.fixture(scope="module")
def cluster(sandbox, tmp_path_factory):
    with cluster_shop(tmp_path_factory.mktemp("shop"), sandbox, server(15)) as made:
        yield prepared(made)


def given(company):
    return {
        "eazepay_images": company.repository,
        "eazepay_images_elsewhere": list(NAMES),
        "eazepay_backup": {"dest": str(company.folder / "backups"), "max_age": "24h", "keep": {"last": 2}},
        "eazepay_databases": [company.database],
        "eazepay_checklist": {},
        "eazepay_bake": 0,
        "eazepay_watch": {"interval": 1, "consecutive": 10},
    }


def killed_in(company, step):
    """Begins a deployment and kills it in that step: in the rollout once a service is new, in the migrations once they
    are applied and the run has not yet heard of it."""
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
    while step == "migrate" and isinstance(company, ClusterShop) and not company.migrations():
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
def test_what_was_killed_is_rolled_back(company, step, scope):
    killed_in(company, step)
    assert company.ledger.query(1)["records"][0]["outcome"] == "running"
    company.play("rollback.yml", "-e", f"scope={scope}", **given(company))
    assert company.versions() == {"v2"}
    found = company.ledger.query(1)
    record = found["records"][0]
    assert not found["lock"] and record["rolled_back_from"] == RELEASE
    if scope != "database":
        assert (record["release"], record["outcome"]) == ("v1.1.0", "good") and found["in_place"] == "v1.1.0"


# In this order: when the first one is killed, nothing but its own record says where the databases were, and the last
# one finds them migrated by the one before.
@pytest.mark.kubernetes
@pytest.mark.parametrize(
    ("step", "scope"),
    [
        ("migrate", "database"),
        ("verify", "services"),
        ("rollout", "complete"),
    ],
)
def test_what_was_killed_on_kubernetes_is_rolled_back(cluster, step, scope):
    killed_in(cluster, step)
    assert cluster.ledger.query(1)["records"][0]["outcome"] == "running"
    assert cluster.migrations(), "they were applied"
    cluster.play("rollback.yml", "-e", f"scope={scope}", **given(cluster))
    assert cluster.versions() == {"v2"}
    for name in NAMES:
        assert cluster.place.image(f"{name}-service") == cluster.images["v1.1.0"]
    # A rollback of the services leaves the databases, which the release before can read.
    assert bool(cluster.migrations()) is (scope == "services")
    found = cluster.ledger.query(1)
    record = found["records"][0]
    assert not found["lock"] and record["rolled_back_from"] == RELEASE
    assert record["outcome"] == ("rolled_back" if scope == "database" else "good")
    if scope != "database":
        assert record["release"] == found["in_place"] == "v1.1.0"


def test_the_next_deployment_takes_up_what_was_killed(company):
    killed_in(company, "rollout")
    company.play("deploy.yml", "-e", f"release={RELEASE}", **given(company))
    found = company.ledger.query(1)
    assert company.versions() == {"v3"} and found["in_place"] == RELEASE and not found["lock"]
