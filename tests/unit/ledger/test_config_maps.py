from copy import deepcopy

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import CONFIG_MAPS, ApiError
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import ConfigMaps


class Cluster:
    """ConfigMaps of one namespace, as the API server keeps them. ``fault`` is what it answers to everything."""

    namespace = "ops"

    def __init__(self, fault=None):
        self.maps = {}
        self.fault = fault

    def ask(self, resource):
        assert resource is CONFIG_MAPS
        if self.fault:
            raise self.fault

    def shown(self, name):
        version, body = deepcopy(self.maps[name])
        return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}

    def get(self, resource, name):
        self.ask(resource)
        if name not in self.maps:
            raise ApiError(404, f'configmaps "{name}" not found')
        return self.shown(name)

    def create(self, resource, body):
        self.ask(resource)
        name = body["metadata"]["name"]
        assert name == name.lower() and "/" not in name and "_" not in name
        if name in self.maps:
            raise ApiError(409, f'configmaps "{name}" already exists')
        self.maps[name] = (1, body)

    def replace(self, resource, name, body):
        self.ask(resource)
        version, _old = self.maps[name]
        if body["metadata"]["resourceVersion"] != str(version):
            raise ApiError(409, "the object has been modified")
        self.maps[name] = (version + 1, body)

    def list(self, resource, labels):
        self.ask(resource)
        assert labels == "app.kubernetes.io/part-of=ledger"
        return [self.shown(name) for name in self.maps], "1"


def test_the_same_ledger_in_config_maps():
    ledger = Ledger(ConfigMaps(Cluster(), "ledger"))
    ledger.lock("a", "deploy", 60)
    with pytest.raises(OpsError, match=r"a on .* holds it"):
        ledger.lock("b", "deploy", 60)
    ledger.record("20261126T113000Z-v1.1.0", {"release": "v1.1.0"}, owner="a")
    ledger.record("20261126T113000Z-v1.1.0", {"outcome": "good"}, owner="a")
    found = ledger.query(10)
    assert found["last_good"]["release"] == "v1.1.0" and found["lock"]["owner"] == "a"
    assert ledger.unlock("a")["changed"] and ledger.lock("b", "", 60)["lock"]["generation"] == 2


def test_only_one_of_two_writers_wins():
    cluster = Cluster()
    store = ConfigMaps(cluster, "ledger")
    assert store.write("lock", b"1", None) and not store.write("lock", b"2", None)
    seen = store.read("lock")
    assert store.write("lock", b"2", seen.version) and not store.write("lock", b"3", seen.version)


def test_what_is_written_under_the_same_name_is_never_taken_for_another_document():
    cluster = Cluster()
    store = ConfigMaps(cluster, "ledger")
    assert store.write("records/20261126T113000Z-V1_0", b"1", None)
    for act in (
        lambda: store.read("records/20261126T113000Z-v1-0"),
        lambda: store.write("records/20261126T113000Z-v1-0", b"1", None),
    ):
        with pytest.raises(OpsError, match="holds 'records/20261126T113000Z-V1_0'"):
            act()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ApiError(403, "configmaps is forbidden"), r"answers 403: configmaps is forbidden.*rights on ConfigMaps"),
        (ApiError(404, 'namespaces "ops" not found'), r"namespaces \"ops\" not found.*Check the namespace"),
        (ApiError(0, "https://it does not answer: refused"), "does not answer.*Check kubeconfig"),
    ],
)
def test_what_the_api_server_says_is_told(fault, said):
    store = ConfigMaps(Cluster(fault), "ledger")
    for act in (lambda: store.read("lock"), lambda: store.write("lock", b"1", None), lambda: store.names("records/")):
        with pytest.raises(OpsError, match=said):
            act()
