import json
from copy import deepcopy
from types import SimpleNamespace

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance import service_switch
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.maintenance import Maintenance
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.service_switch import ANNOTATION, ServiceSwitch

BACKEND = {"app": "maintenance"}
SERVICES = [
    {"metadata": {"name": "edge", "resourceVersion": "1"}, "spec": {"selector": {"app": "edge"}}},
    {
        "metadata": {"name": "api", "resourceVersion": "1", "annotations": {"a/b": "c", "x": ""}},
        "spec": {"selector": {"app": "api", "tier": "front"}},
    },
    {"metadata": {"name": "bare", "resourceVersion": "1", "annotations": {}}, "spec": {"selector": {"app": "bare"}}},
]


def apply(document, patch):
    """JSON Patch, as far as it is used."""
    for step in patch:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        at = document
        for part in way:
            at = at[part]
        if step["op"] == "test":
            assert at[last] == step["value"]
        elif step["op"] == "remove":
            del at[last]
        else:
            at[last] = step["value"]


class Cluster:
    def __init__(self, ready=True):
        self.services = {one["metadata"]["name"]: deepcopy(one) for one in SERVICES}
        self.ready = "True" if ready else "False"
        self.patches = 0
        self.dies_after = None

    def answer(self, body):
        return SimpleNamespace(data=json.dumps(body))

    def read_namespaced_service(self, name, namespace, _preload_content):
        return self.answer(self.services[name])

    def patch_namespaced_service(self, name, namespace, patch, _preload_content):
        self.patches += 1
        if self.dies_after is not None and self.patches > self.dies_after:
            raise KeyboardInterrupt
        service = self.services[name]
        apply(service, patch)
        service["metadata"]["resourceVersion"] = str(int(service["metadata"]["resourceVersion"]) + 1)
        return self.answer(service)

    def list_namespaced_pod(self, namespace, label_selector, _preload_content):
        assert label_selector == "app=maintenance"
        return self.answer({"items": [{"status": {"conditions": [{"type": "Ready", "status": self.ready}]}}]})

    def now(self):
        found = deepcopy(list(self.services.values()))
        for one in found:
            one["metadata"].pop("resourceVersion")
        return found


@pytest.fixture
def started(monkeypatch):
    found = []
    monkeypatch.setattr(service_switch, "start", lambda argv, stdin="": found.append(json.loads(stdin)))
    return found


def maintenance(cluster, clock=lambda: 1000.0):
    names = [one["metadata"]["name"] for one in SERVICES]
    return Maintenance(ServiceSwitch(cluster, "shop", names, BACKEND, {"kubeconfig": "k", "context": None}), clock)


def test_services_are_led_away_and_put_back_exactly(started):
    cluster = Cluster()
    before = cluster.now()
    assert maintenance(cluster).enable("a", "upgrade", 60)["changed"]
    assert all(one["spec"]["selector"] == BACKEND for one in cluster.now())
    assert started[0]["services"] == ["edge", "api", "bare"] and started[0]["annotation"] == ANNOTATION
    assert not maintenance(cluster).enable("a", "upgrade", 90)["changed"]
    assert maintenance(cluster).status()["lease"]["expires"].endswith("00:18:10+00:00")
    with pytest.raises(OpsError, match="a has it on"):
        maintenance(cluster).disable("b")
    assert maintenance(cluster).disable("a")["changed"]
    assert cluster.now() == before
    assert not maintenance(cluster).disable("a")["changed"]


def test_a_run_that_dies_half_way_is_put_back_in_full(started):
    cluster = Cluster()
    before = cluster.now()
    cluster.dies_after = 2
    with pytest.raises(KeyboardInterrupt):
        maintenance(cluster).enable("a", "upgrade", 60)
    cluster.dies_after = None
    # Once it has expired anybody may lift it.
    late = maintenance(cluster, lambda: 1061.0)
    assert late.status()["overdue"]
    assert late.disable("b")["changed"] and cluster.now() == before


def test_nobody_is_led_to_where_nothing_answers(started):
    cluster = Cluster(ready=False)
    before = cluster.now()
    with pytest.raises(OpsError, match="no ready pod"):
        maintenance(cluster).enable("a", "upgrade", 60)
    assert cluster.now() == before and not started


def test_check_mode_touches_nothing(started):
    cluster = Cluster()
    before = cluster.now()
    assert maintenance(cluster).enable("a", "upgrade", 60, check=True)["changed"]
    assert cluster.now() == before


def test_the_watchdog_is_valid():
    compile(service_switch.WATCHDOG, "watchdog", "exec")
