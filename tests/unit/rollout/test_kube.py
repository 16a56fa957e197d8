"""The Kubernetes driver against an API server in memory, step by step."""

from __future__ import annotations

import time

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.kube import connect
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.plan import plan, services

from tests.unit.rollout.cluster import Cluster


@pytest.fixture
def cluster():
    with Cluster() as one:
        yield one


def stateful_set(image, generation, **status):
    return {
        "metadata": {"name": "db", "uid": "s", "generation": generation},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "db", "image": image}]}}},
        "status": status,
    }


def until(driver, condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        driver.changes(0.1)


def test_the_broken_pod_of_a_stateful_set_is_deleted_when_it_is_put_back(cluster, tmp_path):
    done = {"updateRevision": "a", "currentRevision": "a", "updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}
    cluster.put("statefulsets", stateful_set("shop/db:1", 1, observedGeneration=1, **done))
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "db", "kind": "StatefulSet", "image": "shop/db:missing"}])
    (step,) = plan(wanted, driver.observe(wanted)).steps
    assert driver.apply(step)
    assert cluster.image("db", "statefulsets") == "shop/db:missing"

    def pod(name, revision):
        owner = [{"uid": "s", "kind": "StatefulSet", "controller": True}]
        labels = {"controller-revision-hash": revision}
        cluster.put("pods", {"metadata": {"name": name, "ownerReferences": owner, "labels": labels}, "status": {}})

    def controller_saw_it(revision):
        thing = cluster.objects["statefulsets"]["db"]
        status = {**done, "updateRevision": revision, "updatedReplicas": 0, "readyReplicas": 0}
        status["observedGeneration"] = thing["metadata"]["generation"]
        cluster.put("statefulsets", {**thing, "status": status})

    controller_saw_it("b")
    pod("db-0", "b")
    until(driver, lambda: driver.seen("db").pods)
    assert driver.put_back(step)
    assert cluster.image("db", "statefulsets") == "shop/db:1"
    # Not before the controller has seen the old template: it would make the same broken pod again.
    assert "db-0" in cluster.objects["pods"]
    controller_saw_it("a")
    until(driver, lambda: "db-0" not in cluster.objects["pods"])
    assert not driver.put_back(step)
    driver.close()


def test_an_api_server_that_is_away_for_a_moment(cluster, tmp_path):
    cluster.deployment("api")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    port = cluster.server.server_port
    cluster.server.shutdown()
    cluster.server.server_close()

    import threading
    from http.server import ThreadingHTTPServer

    def back():
        time.sleep(1)
        cluster.server = ThreadingHTTPServer(("127.0.0.1", port), cluster._handler())
        cluster.server.daemon_threads = True
        cluster.server.serve_forever(0.05)

    threading.Thread(target=back, daemon=True).start()
    wanted = services([{"name": "api", "image": "shop/api:good2"}])
    assert driver.observe(wanted)["api"].settled
    driver.close()


def test_two_workloads_by_one_list_and_a_revision_history(cluster, tmp_path):
    cluster.deployment("api")
    cluster.deployment("web")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "api"}, {"name": "web"}, {"name": "gone"}])
    states = driver.observe(wanted)
    assert [states[name].exists for name in ("api", "web", "gone")] == [True, True, False]
    (revision,) = driver.history(wanted[0])
    assert (revision.revision, revision.current, dict(revision.images)) == ("1", True, {"api": "shop/api:good1"})
    driver.close()


def test_a_signal_between_a_patch_and_its_answer(cluster, tmp_path):
    cluster.deployment("api")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "api", "image": "shop/api:good2"}])
    (step,) = plan(wanted, driver.observe(wanted)).steps
    patch = driver.api.patch

    def interrupted(*arguments):
        patch(*arguments)
        raise KeyboardInterrupt

    driver.api.patch = interrupted
    with pytest.raises(KeyboardInterrupt):
        driver.apply(step)
    driver.api.patch = patch
    assert cluster.image("api") == "shop/api:good2"
    assert driver.put_back(step)
    assert cluster.image("api") == "shop/api:good1"
    driver.close()


def test_an_autoscaler_that_scales_meanwhile_is_no_reason_to_give_up(cluster, tmp_path):
    cluster.deployment("api")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "api", "image": "shop/api:good2"}])
    (step,) = plan(wanted, driver.observe(wanted)).steps
    with cluster.lock:
        thing = cluster.objects["deployments"]["api"]
        cluster.put("deployments", {**thing, "spec": {**thing["spec"], "replicas": 3}})
    assert driver.validate(step) is None
    assert driver.apply(step)
    assert cluster.image("api") == "shop/api:good2"
    assert cluster.objects["deployments"]["api"]["spec"]["replicas"] == 3
    driver.close()
