"""Logs of pods on a real cluster: all that was written counts, and a pod that ends takes nobody down with it."""

from __future__ import annotations

import time

import pytest

from tests.images import tiny
from tests.kubernetes import container, namespace, until, workload
from tests.modules import run_module

pytestmark = pytest.mark.kubernetes

LINES = "; ".join(f"echo ERROR number {number}" for number in range(3))


def saying(image: str, commands: str, **more):
    return container(image, command=["/bin/sh", "-c", commands], probe={"exec": {"command": ["true"]}}, **more)


@pytest.fixture(scope="module")
def shop(sandbox):
    image = tiny(sandbox["REGISTRY"], "v1")
    with namespace(sandbox) as one:
        init = saying(image, "echo prepared", name="init")
        del init["readinessProbe"]
        one.apply(
            workload("calm", [saying(image, "echo fine; exec sleep 3600")], pod={"initContainers": [init]}),
            workload("loud", [saying(image, f"{LINES}; exec sleep 3600")]),
            # The second container of the pod fails once, and says why before its restart.
            workload(
                "again",
                [
                    saying(image, "echo fine; exec sleep 3600"),
                    saying(
                        image,
                        f"if [ -e /kept/once ]; then exec sleep 3600; fi; touch /kept/once; {LINES}; exit 1",
                        name="side",
                        volumeMounts=[{"name": "kept", "mountPath": "/kept"}],
                    ),
                ],
                pod={"volumes": [{"name": "kept", "emptyDir": {}}]},
            ),
            workload("silent", [saying(image, "exec sleep 3600")]),
            # Its last words take a while.
            workload("leaving", [saying(image, "trap '' TERM; while true; do echo here; sleep 1; done")]),
        )
        one.settled()
        yield one


def ask(shop, name, **options):
    source = {"selector": f"name={name}", "namespace": shop.name, "kubeconfig": shop.kubeconfig, **options}
    check = {"name": "log", "logs": {"pods": source, "most": 2}}
    result = run_module("health_gate", checks=[check], deadline=0, report_only=True)
    return result["checks"][0]


@pytest.mark.parametrize(
    "name, verdict, said",
    [
        ("calm", "pass", "no errors"),
        ("loud", "fail", "3 errors within 60 s, more than 2; the last: "),
        ("again", "fail", "ERROR number 2"),
        ("silent", "no_data", "there is no line with a time"),
        ("nobody", "error", "has no pod of name=nobody"),
    ],
)
def test_bursts(shop, name, verdict, said):
    found = ask(shop, name)
    assert found["verdict"] == verdict, found
    assert said in found["reason"]


def test_what_was_written_before_does_not_count(shop):
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert ask(shop, "loud", since=later)["verdict"] == "no_data"


def test_a_pod_that_ends_meanwhile_is_no_error(shop):
    """Asked all the while from its deletion until it is gone; what takes its place is read."""
    [pod] = [one["metadata"] for one in shop.items("pods") if one["metadata"]["labels"]["name"] == "leaving"]
    shop.kubectl("delete", "pod", pod["name"], "--wait=false", "--grace-period=3")

    def gone():
        found = ask(shop, "leaving")
        assert found["verdict"] in ("pass", "no_data"), found
        names = [one["metadata"]["name"] for one in shop.items("pods")]
        return pod["name"] not in names and found["verdict"] == "pass"

    until(gone, 120)


def test_who_may_not_read_is_told(shop):
    found = ask(shop, "calm", context="nowhere")
    assert found["verdict"] == "error" and "nowhere" in found["reason"], found
