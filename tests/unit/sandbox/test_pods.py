"""Which pods Prometheus is told of."""

from sandbox.servers.pods import targets


def pod(app="wallet-service", phase="Running", ip="172.17.0.9", **metadata):
    labels = {"app": app} if app else None
    return {"metadata": {"name": "wallet-1", "labels": labels, **metadata}, "status": {"phase": phase, "podIP": ip}}


def test_a_running_pod_of_a_service_is_a_target():
    labels = {"service": "wallet-service", "pod": "wallet-1", "target": "kubernetes"}
    assert targets([pod()], 8080) == [{"targets": ["172.17.0.9:8080"], "labels": labels}]


def test_others_are_not():
    others = [pod(app=""), pod(app="edge"), pod(phase="Pending"), pod(ip=None), pod(deletionTimestamp="2026-01-01")]
    assert targets(others, 8080) == []
