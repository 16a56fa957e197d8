"""Kinds, states and interruptions on a real cluster: what is put back, taken up, refused, and left alone."""

from __future__ import annotations

import json
import signal

import pytest

from tests.images import tiny
from tests.kubernetes import container, namespace, until, workload
from tests.modules import finish_module, run_module

pytestmark = pytest.mark.kubernetes

CRASH = "echo boom; exit 3"
ORDERED = {"db": "StatefulSet", "store": "StatefulSet", "agent": "DaemonSet"}
GRACES = {"crash_loop": 2, "not_ready": 3, "unschedulable": 5}


@pytest.fixture(scope="module")
def v1(sandbox):
    return tiny(sandbox["REGISTRY"], "v1")


@pytest.fixture(scope="module")
def v2(sandbox):
    return tiny(sandbox["REGISTRY"], "v2")


@pytest.fixture(scope="module")
def v3(sandbox):
    return tiny(sandbox["REGISTRY"], "v3")


@pytest.fixture(scope="module")
def shop(sandbox, v1):
    """One workload a test, all made at once."""
    scaler = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"}}
    stored = {"name": "data", "persistentVolumeClaim": {"claimName": "going"}}
    with namespace(sandbox) as one:
        one.apply(
            workload("db", [container(v1, fault=CRASH)], "StatefulSet"),
            workload("store", [container(v1, fault=CRASH)], "StatefulSet"),
            workload("agent", [container(v1, fault=CRASH)], "DaemonSet"),
            workload("api", [container(v1)]),
            workload("web", [container(v1, fault=CRASH)]),
            workload("scaled", [container(v1)]),
            workload("greedy", [container(v1, resources={})]),
            workload("stored", [container(v1)], pod={"volumes": [stored]}, replicas=0),
            workload("paused", [container(v1)], paused=True, replicas=0),
            {
                "apiVersion": "autoscaling/v1",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "scaled"},
                "spec": {**scaler, "minReplicas": 2, "maxReplicas": 3},
            },
        )
        one.settled("statefulset", "daemonset")
        for name in ("api", "web", "greedy"):
            one.kubectl("rollout", "status", f"deployment/{name}", "--timeout=240s")
        yield one


def images_of(shop):
    """What runs, by workload."""
    return {
        one["metadata"]["labels"]["name"]: one["spec"]["containers"][0]["image"]
        for one in shop.items("pods")
        if "deletionTimestamp" not in one["metadata"] and one["metadata"]["labels"]["name"] in ORDERED
    }


def test_a_broken_pod_that_kubernetes_would_wait_for_for_ever(shop, v1, v2, v3):
    """A StatefulSet does not replace it before it is ready: neither the way forward nor any way back may stick."""
    kinds = [{"name": name, "kind": kind} for name, kind in ORDERED.items()]
    broken = [{**one, "image": v2} for one in kinds]
    held = shop.rollout(broken, graces=GRACES, on_failure="hold")
    assert {one["outcome"] for one in held["services"]} == {"failed"}
    assert {one["cause"]["code"] for one in held["services"]} == {"crash_loop"}
    assert all("boom" in one["logs"][0]["text"] for one in held["services"])
    assert images_of(shop) == dict.fromkeys(ORDERED, v2)

    db, store, agent = kinds
    number = int(held["by_name"]["db"]["before"]["revision"])
    ways = [{**db, "to_revision": number}, {**store, "image": v3}, agent]
    mended = shop.rollout(ways, state="rolled_back")
    assert not mended["failed"], mended["msg"]
    assert images_of(shop) == {"db": v1, "store": v3, "agent": v1}

    failed = shop.rollout(broken, graces=GRACES)
    assert set(failed["rolled_back"]) == set(ORDERED), failed["msg"]
    assert images_of(shop) == {"db": v1, "store": v3, "agent": v1}


def both(image):
    return [{"name": "api", "image": image}, {"name": "web", "image": image, "depends_on": ["api"]}]


def test_one_fails_and_all_go_back_to_the_very_template(shop, v1, v2):
    before = {name: shop.get("deployment", name) for name in ("api", "web")}
    failed = shop.rollout(both(v2), release="v2", graces=GRACES)
    assert set(failed["rolled_back"]) == {"api", "web"}, failed["msg"]
    assert "web: container app of pod web-" in failed["msg"]
    assert failed["msg"].splitlines()[-1].startswith("Next: kubectl ")
    for name, one in before.items():
        now = shop.get("deployment", name)
        assert now["spec"] == one["spec"]
        assert "eazepay.ops/release" not in now["metadata"]["annotations"]
    assert not shop.rollout(both(v1))["changed"]


def rolling(shop, name, image):
    return until(lambda: shop.image(name) == image, what=f"{name} is patched")


def test_a_run_that_was_killed_is_taken_up_and_all_is_put_back(shop, v1, v2):
    run = shop.start(both(v2), release="v2", graces={"crash_loop": 600})
    rolling(shop, "web", v2)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    after = shop.rollout(both(v2), release="v2", graces=GRACES)
    assert [one["action"] for one in after["services"]] == ["adopt", "adopt"]
    assert set(after["rolled_back"]) == {"api", "web"}, after["msg"]
    assert [shop.image(name) for name in ("api", "web")] == [v1, v1]


def test_sigterm_puts_back(shop, v1, v2):
    run = shop.start(both(v2), graces={"crash_loop": 600})
    rolling(shop, "web", v2)
    run.send_signal(signal.SIGTERM)
    result = finish_module(run)
    assert "interrupted by SIGTERM" in result["msg"]
    assert set(result["rolled_back"]) == {"api", "web"}, result["msg"]
    assert [shop.image(name) for name in ("api", "web")] == [v1, v1]


def test_sigint_holds_as_told_and_the_way_back_is_known(shop, v1, v2):
    run = shop.start(both(v2), graces={"crash_loop": 600}, on_failure="hold")
    rolling(shop, "web", v2)
    run.send_signal(signal.SIGINT)
    result = finish_module(run)
    assert "interrupted by SIGINT" in result["msg"]
    assert result["rolled_back"] == []
    assert [shop.image(name) for name in ("api", "web")] == [v2, v2]
    back = shop.rollout([{"name": "api"}, {"name": "web"}], state="rolled_back")
    assert not back["failed"], back["msg"]
    assert [shop.image(name) for name in ("api", "web")] == [v1, v1]


def test_what_preflight_finds_is_refused_before_anything_is_touched(shop, v1, v2):
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    shop.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "going", "finalizers": ["eazepay.test/held"]},
            "spec": claim,
        }
    )
    shop.kubectl("delete", "pvc", "going", "--wait=false")
    shop.put("ResourceQuota", "small", spec={"scopes": ["BestEffort"], "hard": {"pods": "1"}})
    try:
        until(lambda: (shop.get("resourcequota", "small").get("status") or {}).get("used") == {"pods": "1"})
        result = shop.rollout([{"name": name, "image": v2} for name in ("api", "greedy", "stored")])
        assert "greedy: quota small has no room for one more pod: pods (1 of 1 used)" in result["msg"]
        assert "stored: PersistentVolumeClaim going is being deleted" in result["msg"]
        assert "api:" not in result["msg"]
        assert "Nothing was touched" in result["msg"]
        assert [shop.image(name) for name in ("api", "greedy", "stored")] == [v1] * 3
    finally:
        shop.kubectl("delete", "resourcequota", "small")
        shop.kubectl("patch", "pvc", "going", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')


def test_an_autoscaler_keeps_its_replicas(shop, v2):
    until(lambda: shop.get("deployment", "scaled")["spec"]["replicas"] == 2, what="it is scaled up")
    shop.kubectl("rollout", "status", "deployment/scaled", "--timeout=240s")
    result = shop.rollout([{"name": "scaled", "image": v2}])
    assert result["by_name"]["scaled"]["outcome"] == "healthy", result["msg"]
    path = f"/apis/apps/v1/namespaces/{shop.name}/deployments/scaled"
    now = json.loads(shop.kubectl("get", "--raw", path))  # kubectl hides managers otherwise
    assert (now["spec"]["replicas"], now["status"]["updatedReplicas"]) == (2, 2)
    # The image is ours; every other field keeps its manager.
    mine = [one for one in now["metadata"]["managedFields"] if one["manager"] == "eazepay.ops"]
    assert "f:replicas" not in json.dumps(mine)
    assert "f:image" in json.dumps(mine)


def test_a_paused_one_is_refused_before_anything_is_touched(shop, v1, v2):
    result = shop.rollout([{"name": "api", "image": v2}, {"name": "paused", "image": v2}])
    assert "paused (deployment/paused): it is paused: resume it first" in result["msg"]
    assert "Nothing was touched" in result["msg"]
    assert shop.image("api") == v1


def test_restart_once_a_token_and_check_mode_touches_nothing(shop, v1, v2):
    again = [{"name": "api"}]
    before = shop.get("deployment", "api")
    planned = shop.rollout([{"name": "api", "image": v2}], check=True)
    assert planned["by_name"]["api"]["outcome"] == "planned"
    assert shop.get("deployment", "api") == before
    restarted = shop.rollout(again, state="restarted", restart_token="a")["by_name"]["api"]
    assert int(restarted["after"]["revision"]) == int(restarted["before"]["revision"]) + 1
    after = shop.get("deployment", "api")
    assert not shop.rollout(again, state="restarted", restart_token="a")["changed"]
    assert shop.get("deployment", "api") == after


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        ({"pods": ["get"]}, "Allow the verb list on deployments"),
        ({"deployments": ["get", "list", "watch"]}, "Allow the verb patch on deployments"),
        ({"deployments": ["get", "list", "watch", "patch"]}, "Allow the verb list on replicasets"),
    ],
)
def test_a_forbidden_verb_is_named(shop, v1, v2, rights, words, tmp_path):
    name = f"limited-{len(rights)}-{len(next(iter(rights.values())))}"
    shop.put("ServiceAccount", name)
    rules = [{"apiGroups": ["apps", ""], "resources": [what], "verbs": verbs} for what, verbs in rights.items()]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": shop.name}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    shop.apply(
        {**rbac, "kind": "Role", "rules": rules},
        {**rbac, "kind": "RoleBinding", "subjects": [subject], "roleRef": reference},
    )
    path = f"/api/v1/namespaces/{shop.name}/serviceaccounts/{name}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = json.loads(shop.kubectl("create", "--raw", path, "-f", "-", given=asked))["status"]["token"]
    config = json.loads(shop.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    result = run_module(
        "service_rollout",
        **{**shop.arguments([{"name": "api", "image": v2}]), "kubeconfig": str(tmp_path / "kubeconfig")},
    )
    assert result["failed"]
    assert words in result["msg"]
    assert "cannot" in result["msg"]
    assert token not in json.dumps(result)
    assert shop.image("api") == v1
