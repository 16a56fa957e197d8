"""A release that only its users suffer from is put back by itself, on both targets, and the record shows the graph."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

import pytest

from sandbox.traffic import Traffic
from tests.deployments import SERVICES, deploy, hosts, playbook, records, screen, versions


@dataclass
class Target:
    """Where v1.1.0 serves everyone."""

    name: str
    url: str
    sandbox: dict[str, str]

    def deploy(self, release: str, **variables: object):
        return deploy(release, eazepay_target=self.name, **variables)

    def serves(self, release: str = "v1.1.0") -> bool:
        return set(versions(self.url).values()) == {release}

    def traffic(self, rate: float = 60) -> Traffic:
        return Traffic(self.url, hosts(), rate=rate)

    def record(self) -> dict:
        return [one for one in records(self.sandbox) if one["target"] == self.name][-1]


def standing(name: str, sandbox: dict[str, str]) -> Target:
    made = Target(name, sandbox[f"{name.upper()}_EDGE_URL"], sandbox)
    if not made.serves():
        done = made.deploy("v1.1.0")
        assert done.returncode == 0, done.stdout[-5000:]
    assert made.serves()
    return made


@pytest.fixture(params=["compose", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def target(request, sandbox):
    return standing(request.param, sandbox)


def graph(record: dict, name: str) -> list[dict]:
    """The samples of a limit, as the ledger keeps them."""
    [limit] = [one for one in record["limits"] if one["name"] == name]
    assert limit["query"] and limit["verdict"] == "fail"
    return limit["samples"]


def test_a_release_that_fails_two_requests_in_a_hundred_is_put_back(target):
    with target.traffic() as traffic:
        traffic.await_sent(60)
        # The bake ends with the breach.
        done = target.deploy("v1.2.0-errors", eazepay_no_data="fail", eazepay_bake=300)
    seen = screen(done)
    assert "FAILED in step rollout; what was touched was put back" in seen
    assert "ALERT        error_rate of transaction-service" in seen, seen
    assert "above the alert of 1 %" in seen
    assert "not judged" not in seen
    for name in SERVICES:
        assert f"  {name:<12} {'v1.1.0':<12} put back and healthy" in seen, seen
    assert target.serves()
    # Nobody but those who met the error itself has lost anything.
    assert {one.service for one in traffic.result.failures} <= {"transaction"}, traffic.result.summary()
    record = target.record()
    assert (record["release"], record["outcome"]) == ("v1.2.0-errors", "failed")
    samples = graph(record, "error_rate of transaction-service")
    assert [one["verdict"] for one in samples[-3:]] == ["fail"] * 3
    assert all(one["value"] > 0.01 for one in samples[-3:])
    with urllib.request.urlopen(target.sandbox["MAIL_URL"], timeout=30) as answer:
        assert "deploy v1.2.0-errors on local: failed" in answer.read().decode()


def test_a_release_that_is_slow_is_put_back(target):
    with target.traffic() as traffic:
        traffic.await_sent(60)
        # Other services are seconds slow on a busy machine; this one is not judged by what they do.
        done = target.deploy(
            "v1.2.0-slow",
            services="transaction",
            eazepay_no_data="fail",
            eazepay_bake=300,
            eazepay_slos={"p95_seconds": {"warn": 0.1, "fail": 0.75}},
        )
    seen = screen(done)
    assert "FAILED in step rollout; what was touched was put back" in seen
    assert "ALERT        p95_seconds of transaction-service" in seen, seen
    assert target.serves()
    assert traffic.result.failed == 0, traffic.result.summary()
    assert all(one["value"] > 0.75 for one in graph(target.record(), "p95_seconds of transaction-service")[-3:])


def test_where_the_inventory_says_so_a_breach_waits_for_a_person(sandbox):
    target = standing("compose", sandbox)
    # Few enough requests that the errors show in the bake, and not while the service still rolls.
    with target.traffic(rate=30) as traffic:
        traffic.await_sent(60)
        done = target.deploy(
            "v1.2.0-errors", services="transaction", eazepay_no_data="fail", eazepay_bake=300, eazepay_on_breach="hold"
        )
        seen = screen(done)
        assert "FAILED in step bake; the new release was left in place" in seen, seen
        assert "ansible-playbook rollback.yml -i local" in seen
        assert versions(target.url)["transaction"] == "v1.2.0-errors"
        back = playbook("rollback.yml", "-e", "to_release=v1.1.0")
        assert back.returncode == 0, back.stdout[-5000:]
    assert target.serves()
