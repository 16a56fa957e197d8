from copy import deepcopy

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import PODS, ApiError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import SERVICES as SERVICES_OF
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance import service_switch
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.maintenance import Maintenance
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.service_switch import ServiceSwitch

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
    namespace = "shop"

    def __init__(self, ready=True):
        self.services = {one["metadata"]["name"]: deepcopy(one) for one in SERVICES}
        self.ready = "True" if ready else "False"
        self.patches = 0
        self.dies_after = None

    def get(self, resource, name):
        assert resource is SERVICES_OF
        if name not in self.services:
            raise ApiError(404, f'services "{name}" not found')
        return deepcopy(self.services[name])

    def patch(self, resource, name, operations):
        self.patches += 1
        if self.dies_after is not None and self.patches > self.dies_after:
            raise KeyboardInterrupt
        service = self.services[name]
        apply(service, operations)
        service["metadata"]["resourceVersion"] = str(int(service["metadata"]["resourceVersion"]) + 1)
        return service

    def list(self, resource, labels):
        assert resource is PODS and labels == "app=maintenance"
        return [{"status": {"conditions": [{"type": "Ready", "status": self.ready}]}}], "1"

    def now(self):
        found = deepcopy(list(self.services.values()))
        for one in found:
            one["metadata"].pop("resourceVersion")
        return found


@pytest.fixture
def started(monkeypatch):
    found = []
    monkeypatch.setattr(service_switch, "detach", found.append)
    return found


def maintenance(cluster, clock=lambda: 1000.0):
    names = [one["metadata"]["name"] for one in SERVICES]
    return Maintenance(ServiceSwitch(lambda: cluster, names, BACKEND), clock)


def test_services_are_led_away_and_put_back_exactly(started):
    cluster = Cluster()
    before = cluster.now()
    assert maintenance(cluster).enable("a", "upgrade", 60)["changed"]
    assert all(one["spec"]["selector"] == BACKEND for one in cluster.now())
    assert len(started) == 1
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


def test_it_lifts_itself_when_its_time_is_over_also_while_the_api_server_is_away(started, monkeypatch):
    cluster, now = Cluster(), [1000.0]
    before = cluster.now()
    maintenance(cluster).enable("a", "upgrade", 60)
    away, waits = iter([True, False, True]), []
    real = cluster.get

    def get(resource, name):
        if next(away, False):
            raise ApiError(0, "no answer")
        return real(resource, name)

    def sleep(seconds):
        assert now[0] < 1080
        waits.append(seconds)
        now[0] += seconds
        if now[0] < 1060:
            assert all(one["spec"]["selector"] == BACKEND for one in cluster.now())
        else:
            # One that was deleted meanwhile is no reason to stay.
            cluster.services.pop("api", None)

    cluster.get = get
    monkeypatch.setattr(service_switch.time, "time", lambda: now[0])
    monkeypatch.setattr(service_switch.time, "sleep", sleep)
    started[0]()
    assert max(waits) <= 5 and 1060 <= now[0] <= 1070
    assert cluster.now() == [one for one in before if one["metadata"]["name"] != "api"]
