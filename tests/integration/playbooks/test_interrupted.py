"""A deployment that is killed in each of its steps, then a rollback of each scope, or the next deployment."""

from __future__ import annotations

import pytest

from tests.interruptions import RELEASE, given, killed_in, prepared
from tests.portals import portal
from tests.postgres import server
from tests.shop import shop

BEFORE = "by hand, of v1.1.0"


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with portal(sandbox) as bucket, shop(tmp_path_factory.mktemp("shop"), sandbox, server(15), bucket) as made:
        yield prepared(made)


@pytest.mark.parametrize(
    ("step", "scope"),
    [
        ("backup", "services"),
        ("migrate", "database"),
        ("rollout", "complete"),
        ("portals", "complete"),
        ("verify", "complete"),
    ],
)
def test_what_was_killed_is_rolled_back(company, step, scope):
    killed_in(company, step)
    assert bool(company.migrations()) is (step != "backup")
    assert company.ledger.query(1)["records"][0]["outcome"] == "running"
    company.play("rollback.yml", "-e", f"scope={scope}", **given(company))
    assert company.versions() == {"v2"} and not company.migrations() and company.page() == BEFORE
    found = company.ledger.query(1)
    record = found["records"][0]
    assert not found["lock"] and record["rolled_back_from"] == RELEASE
    if scope != "database":
        assert (record["release"], record["outcome"]) == ("v1.1.0", "good") and found["in_place"] == "v1.1.0"


def test_a_rollback_of_the_services_says_that_the_portals_stay_and_how_they_go_back(company):
    killed_in(company, "portals")
    done = company.play("rollback.yml", **given(company))
    assert company.versions() == {"v2"} and RELEASE in company.page()
    assert f"STAYS: portal front is as {RELEASE} left it" in done, done[-3000:]
    command = "rollback.yml -i local -e scope=portals -e to_release=v1.1.0"
    assert command in done, done[-3000:]
    done = company.play("rollback.yml", "-e", "scope=portals", "-e", "to_release=v1.1.0", **given(company))
    assert company.page() == BEFORE and company.versions() == {"v2"} and "Portal front: found" in done
    # Nothing stays any more, and the ledger tells what is in place.
    found = company.ledger.query(1)
    assert found["in_place"] == "v1.1.0" and found["records"][0]["outcome"] == "rolled_back"
    company.play("rollback.yml", "-e", "scope=complete", "-e", "to_release=v1.1.0", **given(company))
    assert not company.migrations()


def test_the_first_deployment_of_all_goes_back_to_what_it_found(company):
    records = company.folder / "ledger" / "records"
    kept = {file: file.read_bytes() for file in records.iterdir()}
    for file in kept:
        file.unlink()
    try:
        killed_in(company, "rollout")
        assert "goes on, or died. If it died: ansible-playbook rollback.yml -i local" in company.play("status.yml")
        company.play("rollback.yml", "-e", "scope=complete", **given(company))
    finally:
        for file, text in kept.items():
            file.write_bytes(text)
    assert company.versions() == {"v2"} and company.page() == BEFORE and not company.migrations()


def test_a_deployment_that_fails_takes_back_what_a_killed_one_had_done(company):
    killed_in(company, "portals")
    services = company.variables()["eazepay_services"]
    services[1]["health"] = "/nobody"
    more = {**given(company), "eazepay_services": services, "verify_deadline": 10}
    failed = company.play("deploy.yml", "-e", f"release={RELEASE}", ok=False, **more)
    assert "FAILED in step verify; what was touched was put back" in failed, failed[-4000:]
    assert company.versions() == {"v2"} and company.page() == BEFORE
    found = company.ledger.query(1)
    assert found["in_place"] == "v1.1.0" and not found["lock"]


def test_the_next_deployment_takes_up_what_was_killed(company):
    killed_in(company, "rollout")
    company.play("deploy.yml", "-e", f"release={RELEASE}", **given(company))
    found = company.ledger.query(1)
    assert company.versions() == {"v3"} and company.migrations() == ["First"]
    assert found["in_place"] == RELEASE and not found["lock"]
