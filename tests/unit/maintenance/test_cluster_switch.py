import json
import re
from copy import deepcopy

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import INGRESSES, PODS, ApiError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import SERVICES as SERVICES_OF
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance import cluster_switch
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.cluster_switch import ClusterSwitch, Led
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.maintenance import Maintenance
from hypothesis import given
from hypothesis import strategies as st

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
    monkeypatch.setattr(cluster_switch, "detach", found.append)
    return found


def maintenance(cluster, clock=lambda: 1000.0):
    names = [one["metadata"]["name"] for one in SERVICES]
    led = [Led(SERVICES_OF, name, BACKEND) for name in names]
    return Maintenance(ClusterSwitch(lambda: cluster, led), clock)


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
    monkeypatch.setattr(cluster_switch.time, "time", lambda: now[0])
    monkeypatch.setattr(cluster_switch.time, "sleep", sleep)
    started[0]()
    assert max(waits) <= 5 and 1060 <= now[0] <= 1070
    assert cluster.now() == [one for one in before if one["metadata"]["name"] != "api"]


PAGE = {"service": {"name": "closed", "port": {"name": "http"}}}
backends = st.builds(lambda name: {"service": {"name": name, "port": {"number": 80}}}, st.sampled_from(["a", "b"]))
paths = st.lists(
    st.fixed_dictionaries({"backend": backends, "pathType": st.just("Prefix")}, optional={"path": st.just("/x")}),
    min_size=1,
    max_size=3,
)
rules = st.fixed_dictionaries({}, optional={"host": st.just("a.test"), "http": st.fixed_dictionaries({"paths": paths})})
ingresses = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("shop"), "resourceVersion": st.just("1")},
            optional={"annotations": st.dictionaries(st.sampled_from(["a/b", "c"]), st.text(max_size=3))},
        ),
        "spec": st.fixed_dictionaries(
            {"rules": st.lists(rules, min_size=1, max_size=3)},
            optional={"defaultBackend": backends, "tls": st.just([{"hosts": ["a.test"]}])},
        ),
    }
)


@given(ingresses, st.integers(1, 3))
def test_all_of_an_ingress_leads_to_the_page_and_it_is_put_back_exactly(ingress, renewals):
    led, now = Led(INGRESSES, "shop", PAGE), deepcopy(ingress)
    for expires in range(renewals):
        apply(now, cluster_switch.switched(led, now, {"owner": "a", "expires": expires}))
    found = [path["backend"] for rule in now["spec"]["rules"] if "http" in rule for path in rule["http"]["paths"]]
    assert all(one == PAGE for one in found) and now["spec"].get("defaultBackend", PAGE) == PAGE
    # Hosts, paths and TLS stay.
    bare = re.compile(r'"backend": \{.*?\}\}\}|"defaultBackend": \{.*?\}\}\}')
    assert bare.sub("", json.dumps(now["spec"])) == bare.sub("", json.dumps(ingress["spec"]))
    apply(now, cluster_switch.restored(now))
    assert now == ingress
