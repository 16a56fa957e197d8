"""A deployment that is killed in each of its steps, then a rollback of each scope, or the next deployment."""

from __future__ import annotations

import pytest

from tests.interruptions import RELEASE, given, killed_in, prepared
from tests.postgres import server
from tests.shop import shop


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with shop(tmp_path_factory.mktemp("shop"), sandbox, server(15)) as made:
        yield prepared(made)


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
    assert bool(company.migrations()) is (step != "backup")
    assert company.ledger.query(1)["records"][0]["outcome"] == "running"
    company.play("rollback.yml", "-e", f"scope={scope}", **given(company))
    assert company.versions() == {"v2"} and not company.migrations()
    found = company.ledger.query(1)
    record = found["records"][0]
    assert not found["lock"] and record["rolled_back_from"] == RELEASE
    if scope != "database":
        assert (record["release"], record["outcome"]) == ("v1.1.0", "good") and found["in_place"] == "v1.1.0"


def test_the_next_deployment_takes_up_what_was_killed(company):
    killed_in(company, "rollout")
    company.play("deploy.yml", "-e", f"release={RELEASE}", **given(company))
    found = company.ledger.query(1)
    assert company.versions() == {"v3"} and company.migrations() == ["First"]
    assert found["in_place"] == RELEASE and not found["lock"]
