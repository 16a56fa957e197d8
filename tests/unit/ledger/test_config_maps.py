from types import SimpleNamespace

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import ConfigMaps
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError


class Cluster:
    """ConfigMaps of one namespace, as the API server keeps them."""

    def __init__(self):
        self.maps = {}
        self.denied = False

    def shown(self, name):
        version, body = self.maps[name]
        return SimpleNamespace(data=body["data"], metadata=SimpleNamespace(resource_version=str(version)))

    def read_namespaced_config_map(self, name, namespace, _request_timeout):
        if self.denied:
            raise ApiException(status=403, reason="Forbidden")
        if name not in self.maps:
            raise ApiException(status=404)
        return self.shown(name)

    def create_namespaced_config_map(self, namespace, body, _request_timeout):
        name = body["metadata"]["name"]
        assert name == name.lower() and "/" not in name and "_" not in name
        if name in self.maps:
            raise ApiException(status=409)
        self.maps[name] = (1, body)

    def replace_namespaced_config_map(self, name, namespace, body, _request_timeout):
        version, _old = self.maps[name]
        if body["metadata"]["resourceVersion"] != str(version):
            raise ApiException(status=409)
        self.maps[name] = (version + 1, body)

    def list_namespaced_config_map(self, namespace, label_selector, _request_timeout):
        assert label_selector == "app.kubernetes.io/part-of=ledger"
        return SimpleNamespace(items=[self.shown(name) for name in self.maps])


def test_the_same_ledger_in_config_maps():
    ledger = Ledger(ConfigMaps(Cluster(), "ops", "ledger"))
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
    store = ConfigMaps(cluster, "ops", "ledger")
    assert store.write("lock", b"1", None) and not store.write("lock", b"2", None)
    seen = store.read("lock")
    assert store.write("lock", b"2", seen.version) and not store.write("lock", b"3", seen.version)


def test_missing_rights_are_said():
    cluster = Cluster()
    cluster.denied = True
    with pytest.raises(OpsError, match=r"403 Forbidden.*rights on ConfigMaps"):
        ConfigMaps(cluster, "ops", "ledger").read("lock")


def test_what_is_written_under_the_same_name_is_never_taken_for_another_document():
    cluster = Cluster()
    store = ConfigMaps(cluster, "ops", "ledger")
    assert store.write("records/20261126T113000Z-V1_0", b"1", None)
    for act in (
        lambda: store.read("records/20261126T113000Z-v1-0"),
        lambda: store.write("records/20261126T113000Z-v1-0", b"1", None),
    ):
        with pytest.raises(OpsError, match="holds 'records/20261126T113000Z-V1_0'"):
            act()


def test_an_api_server_that_is_away_is_said():
    def away(*_arguments, **_options):
        raise MaxRetryError(None, "/api", "refused")

    api = SimpleNamespace(read_namespaced_config_map=away)
    with pytest.raises(OpsError, match="no answer of the API server"):
        ConfigMaps(api, "ops", "ledger").read("lock")
