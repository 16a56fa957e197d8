"""The Kubernetes driver against an API server in memory, step by step."""

from __future__ import annotations

import time

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import ApiError, patience
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


DONE = {"updateRevision": "a", "currentRevision": "a", "updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}


def observed(cluster, revision):
    """The controller has seen the template, which is this revision; the pod is not ready."""
    thing = cluster.objects["statefulsets"]["db"]
    status = {**DONE, "updateRevision": revision, "updatedReplicas": 0, "readyReplicas": 0}
    status["observedGeneration"] = thing["metadata"]["generation"]
    cluster.put("statefulsets", {**thing, "status": status})


def broken_pod(cluster, name, revision):
    owner = [{"uid": "s", "kind": "StatefulSet", "controller": True}]
    labels = {"controller-revision-hash": revision}
    cluster.put("pods", {"metadata": {"name": name, "ownerReferences": owner, "labels": labels}, "status": {}})


def until(driver, condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        driver.changes(0.1)


def test_the_broken_pod_of_a_stateful_set_is_deleted_when_it_is_put_back(cluster, tmp_path):
    cluster.put("statefulsets", stateful_set("shop/db:1", 1, observedGeneration=1, **DONE))
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "db", "kind": "StatefulSet", "image": "shop/db:missing"}])
    (step,) = plan(wanted, driver.observe(wanted)).steps
    assert driver.apply(step)
    assert cluster.image("db", "statefulsets") == "shop/db:missing"

    def controller_saw_it(revision):
        observed(cluster, revision)

    controller_saw_it("b")
    broken_pod(cluster, "db-0", "b")
    until(driver, lambda: driver.known.seen("db").pods)
    assert driver.put_back(step)
    assert cluster.image("db", "statefulsets") == "shop/db:1"
    # Not before the controller has seen the old template: it would make the same broken pod again.
    assert "db-0" in cluster.objects["pods"]
    controller_saw_it("a")
    until(driver, lambda: "db-0" not in cluster.objects["pods"])
    assert not driver.put_back(step)
    driver.close()


def test_the_pod_that_was_broken_before_is_deleted_on_the_way_forward(cluster, tmp_path):
    cluster.put("statefulsets", stateful_set("shop/db:missing", 1))
    observed(cluster, "b")
    broken_pod(cluster, "db-0", "b")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "db", "kind": "StatefulSet", "image": "shop/db:3"}])
    (step,) = plan(wanted, driver.observe(wanted)).steps
    assert driver.apply(step)
    # Not before the controller has seen the new template: it would make the same broken pod again.
    assert "db-0" in cluster.objects["pods"]
    broken_pod(cluster, "db-1", "b")
    until(driver, lambda: len(driver.known.seen("db").pods) == 2)
    observed(cluster, "c")
    until(driver, lambda: "db-0" not in cluster.objects["pods"])
    # It was not there before: whatever holds it up may pass.
    driver.changes(0.3)
    assert "db-1" in cluster.objects["pods"]
    driver.close()


def test_who_takes_up_a_killed_run_deletes_the_broken_pod_in_its_place(cluster, tmp_path):
    cluster.put("statefulsets", stateful_set("shop/db:missing", 1))
    observed(cluster, "b")
    broken_pod(cluster, "db-0", "b")
    wanted = services([{"name": "db", "kind": "StatefulSet", "image": "shop/db:3"}])
    killed, driver = (connect({"kubeconfig": cluster.kubeconfig(tmp_path)}) for _ in range(2))
    (step,) = plan(wanted, killed.observe(wanted)).steps
    assert killed.apply(step)
    killed.close()
    observed(cluster, "c")
    (step,) = plan(wanted, driver.observe(wanted)).steps
    assert step.action == "adopt"
    driver.adopt(step)
    until(driver, lambda: "db-0" not in cluster.objects["pods"])
    driver.close()


def test_an_address_where_nothing_listens_is_given_up_in_seconds(cluster, tmp_path):
    cluster.deployment("api")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    cluster.server.shutdown()
    cluster.server.server_close()
    began = time.monotonic()
    with pytest.raises(OpsError) as raised:
        driver.observe(services([{"name": "api"}]))
    assert time.monotonic() - began < 10
    assert "does not answer" in raised.value.message
    assert "Is the API server up" in raised.value.message


@pytest.mark.parametrize(
    ("status", "message", "answered", "seconds"),
    [
        (0, "refused", False, 3),
        (0, "refused", True, 30),
        (503, "starting", True, 30),
        (429, "too many requests", True, 30),
        (500, "etcdserver: leader changed", True, 30),
        (500, "Internal error occurred", True, 3),
        (500, 'Internal error occurred: failed calling webhook "a.b"', True, 0),
        (403, "forbidden", True, 0),
    ],
)
def test_how_long_a_request_is_repeated(status, message, answered, seconds):
    assert patience(ApiError(status, message), answered) == seconds


def test_a_dead_webhook_is_told_at_once_and_a_moment_of_etcd_is_waited_for(cluster, tmp_path):
    cluster.deployment("api")
    driver = connect({"kubeconfig": cluster.kubeconfig(tmp_path)})
    wanted = services([{"name": "api", "image": "shop/api:good2"}])
    (step,) = plan(wanted, driver.observe(wanted)).steps
    cluster.faults = ["Internal error occurred: failed calling webhook: connection refused"]
    assert "failed calling webhook" in driver.validate(step)
    cluster.faults = ["etcdserver: leader changed"]
    assert driver.validate(step) is None
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
