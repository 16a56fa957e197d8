"""The module as Ansible runs it, against an API server in memory: also what no real cluster does at will."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest

from tests.kubernetes import until
from tests.modules import finish_module, run_module, start_module
from tests.unit.rollout.cluster import Cluster


@pytest.fixture
def cluster():
    with Cluster() as one:
        yield one


@pytest.fixture
def rollout(cluster, tmp_path):
    def run(services, **more):
        return run_module(
            "service_rollout",
            kubeconfig=cluster.kubeconfig(tmp_path),
            services=services,
            **{"timeout": 60, "graces": {"crash_loop": 0.5, "refused": 0.5, "not_ready": 0.5}, **more},
        )

    return run


def service(name, tag, *needs):
    return {"name": name, "image": f"shop/{name}:{tag}", "depends_on": list(needs)}


def outcomes(result):
    return {one["name"]: one["outcome"] for one in result["services"]}


def test_deploys_in_order_and_the_second_run_changes_nothing(cluster, rollout):
    for name in ("web", "api"):
        cluster.deployment(name)
    services = [service("web", "good2", "api"), service("api", "good2")]
    planned = rollout(services, check=True, diff=True)
    assert planned["changed"]
    assert cluster.image("web") == "shop/web:good1"

    result = rollout(services, release="v2")
    assert not result["failed"], result
    assert outcomes(result) == {"api": "healthy", "web": "healthy"}
    assert [(one["before"]["revision"], one["after"]["revision"]) for one in result["services"]] == [("1", "2")] * 2
    assert [one["name"] for one in result["services"]] == ["api", "web"]
    assert cluster.image("web") == "shop/web:good2"
    assert cluster.annotations("web")["eazepay.ops/release"] == "v2"
    assert json.loads(cluster.annotations("web")["eazepay.ops/rollout"])["state"] == "done"

    cluster.requests.clear()
    again = rollout(services, release="v2")
    assert not again["failed"]
    assert not again["changed"]
    # However many services: one list.
    assert cluster.requests == [("list", "deployments")]


@pytest.mark.parametrize(
    ("tag", "code", "words"),
    [
        ("missing", "image_not_found", "manifest unknown"),
        ("crash", "crash_loop", "exit code 3"),
        ("unready", "not_ready", "statuscode: 503"),
    ],
)
def test_the_root_cause_and_all_put_back(cluster, rollout, tag, code, words):
    for name in ("api", "web"):
        cluster.deployment(name)
    result = rollout([service("api", "good2"), service("web", tag, "api")], release="v2")
    assert result["failed"]
    assert words in result["msg"]
    assert "hunter22" not in json.dumps(result)
    assert outcomes(result) == {"api": "rolled_back", "web": "rolled_back"}
    assert result["services"][1]["cause"]["code"] == code
    assert [cluster.image(name) for name in ("api", "web")] == ["shop/api:good1", "shop/web:good1"]
    assert "eazepay.ops/release" not in cluster.annotations("web")
    again = rollout([service("api", "good1"), service("web", "good1", "api")])
    assert not again["changed"]


def test_the_log_of_a_container_that_was_removed_meanwhile(cluster, rollout):
    cluster.deployment("api")
    cluster.no_previous_logs = True
    result = rollout([service("api", "crash")])
    assert "no database" in result["msg"]


def test_a_quota_refusal(cluster, rollout):
    cluster.deployment("api")
    cluster.refuse_pods = 'pods "api" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2'
    result = rollout([service("api", "good2")])
    assert "exceeded quota: small" in result["msg"]
    assert outcomes(result) == {"api": "rolled_back"}


def counted(cluster, rollout, number, **more):
    """How many requests of each verb and kind a call makes, with so many services."""
    cluster.requests.clear()
    result = rollout([{"name": f"service-{index}"} for index in range(number)], **more)
    assert not result["failed"], result
    return Counter(cluster.requests)


def test_requests_do_not_grow_with_the_number_of_services(cluster, rollout):
    pod = {"containers": [{"name": "app", "image": "shop/app:good1", "envFrom": [{"secretRef": {"name": "keys"}}]}]}
    cluster.put("secrets", {"metadata": {"name": "keys"}, "data": {}})
    for index in range(60):
        cluster.deployment(f"service-{index}", replicas=0, pod=pod)
    until(lambda: all(one["status"] for one in cluster.objects["deployments"].values()))
    counts = {}
    for number in (6, 60):
        token = {"state": "restarted", "restart_token": str(number)}
        rolled = counted(cluster, rollout, number, **token)
        # What is written is written to each: a dry run, the change, and that it ended well.
        assert rolled.pop(("patch", "deployments")) == 3 * number
        assert all(count == 1 for count in rolled.values()), rolled
        counts[number] = rolled, counted(cluster, rollout, number, **token)
    assert counts[6] == counts[60]
    assert counts[60][1] == {("list", "deployments"): 1}


def test_hold_leaves_it_and_the_next_run_adopts_it(cluster, rollout):
    cluster.deployment("api")
    held = rollout([service("api", "missing")], on_failure="hold", release="v2")
    assert outcomes(held) == {"api": "failed"}
    assert cluster.image("api") == "shop/api:missing"
    adopted = rollout([service("api", "missing")], release="v2")
    assert adopted["services"][0]["action"] == "adopt"
    # Back to what was before the run that did not end, not to what this run found.
    assert outcomes(adopted) == {"api": "rolled_back"}
    assert cluster.image("api") == "shop/api:good1"


def killed(cluster, tmp_path, how, **more):
    cluster.deployment("api")
    cluster.deployment("web")
    process = start_module(
        "service_rollout",
        kubeconfig=cluster.kubeconfig(tmp_path),
        services=[service("api", "good2"), service("web", "slow", "api")],
        release="v2",
        timeout=60,
        **more,
    )
    limit = time.monotonic() + 60
    while cluster.image("web") != "shop/web:slow":
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(how)
    return process


def test_a_run_that_was_killed_is_taken_up(cluster, tmp_path, rollout):
    killed(cluster, tmp_path, signal.SIGKILL).communicate(timeout=60)
    result = rollout([service("api", "good2"), service("web", "slow", "api")], release="v2")
    assert [one["action"] for one in result["services"]] == ["adopt", "adopt"]
    assert outcomes(result) == {"api": "rolled_back", "web": "rolled_back"}
    assert [cluster.image(name) for name in ("api", "web")] == ["shop/api:good1", "shop/web:good1"]


def test_sigterm_puts_back(cluster, tmp_path):
    result = finish_module(killed(cluster, tmp_path, signal.SIGTERM), timeout=60)
    assert result["failed"]
    assert "SIGTERM" in result["msg"]
    assert set(result["rolled_back"]) == {"api", "web"}
    assert [cluster.image(name) for name in ("api", "web")] == ["shop/api:good1", "shop/web:good1"]


def test_back_to_a_release(cluster, rollout):
    cluster.deployment("api")
    for tag, release in (("good2", "v2"), ("good3", "v3")):
        assert not rollout([service("api", tag)], release=release)["failed"]
    vague = rollout([{"name": "api"}], state="rolled_back")
    assert "say where to" in vague["msg"]
    assert "v2" in vague["msg"]
    result = rollout([{"name": "api"}], state="rolled_back", release="v2")
    assert not result["failed"], result["msg"]
    assert cluster.image("api") == "shop/api:good2"
    assert not rollout([{"name": "api"}], state="rolled_back", release="v2")["changed"]
    assert not rollout([{"name": "api"}], state="rolled_back", to_revision=1)["failed"]
    assert cluster.image("api") == "shop/api:good1"


def test_back_to_the_last_good_release_of_the_ledger(cluster, rollout, tmp_path):
    cluster.deployment("api")
    store = str(tmp_path / "ledger")
    for number, (tag, outcome) in enumerate([("good1", "good"), ("good2", "good"), ("good3", "failed")], 1):
        release = f"v{number}"
        assert not rollout([service("api", tag)], release=release)["failed"]
        recorded = run_module(
            "release_ledger",
            store=store,
            state="recorded",
            id=f"2026112{number}T000000Z-{release}",
            release=release,
            outcome=outcome,
            record={"images": {"api": f"shop/api:{tag}"}},
        )
        assert not recorded["failed"], recorded
    # The newest good one before what is in place.
    result = rollout([{"name": "api"}], state="rolled_back", ledger=store)
    assert not result["failed"], result["msg"]
    assert cluster.image("api") == "shop/api:good2"
    assert result["services"][0]["after"]["release"] == "v2"
    assert not rollout([{"name": "api"}], state="rolled_back", ledger=store)["changed"]
    result = rollout([{"name": "api"}], state="rolled_back", ledger=store, release="v1")
    assert cluster.image("api") == "shop/api:good1"
    unknown = rollout([{"name": "api"}], state="rolled_back", ledger=store, release="v3")
    assert "knows no good release v3; it knows as good: v2, v1" in unknown["msg"]


def test_restart_once_a_token(cluster, rollout):
    cluster.deployment("api")
    assert "restart_token" in rollout([{"name": "api"}], state="restarted")["msg"]
    assert rollout([{"name": "api"}], state="restarted", restart_token="a")["changed"]
    assert not rollout([{"name": "api"}], state="restarted", restart_token="a")["changed"]
    assert cluster.image("api") == "shop/api:good1"


def test_observed(cluster, rollout):
    cluster.deployment("api")
    cluster.deployment("web", "missing")
    time.sleep(0.5)
    result = rollout([{"name": "api"}, {"name": "web"}], state="observed")
    assert outcomes(result) == {"api": "healthy", "web": "failed"}
    assert result["services"][1]["cause"]["code"] == "image_not_found"


@pytest.mark.parametrize("verb", ["list", "patch"])
def test_a_forbidden_verb_is_named(cluster, rollout, verb):
    cluster.deployment("api")
    cluster.forbidden.add((verb, "deployments"))
    result = rollout([service("api", "good2")])
    assert f"Allow the verb {verb} on deployments" in result["msg"]
    assert cluster.image("api") == "shop/api:good1"


def test_preflight_finds_what_is_missing(cluster, rollout):
    env = [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]
    cluster.deployment("api", beside=[{"name": "beside", "image": "shop/beside:1", "env": env}])
    assert "Secret db does not exist" in rollout([service("api", "good2")])["msg"]
    cluster.put("secrets", {"metadata": {"name": "db"}, "data": {"user": "eA=="}})
    assert "Secret db has no key password" in rollout([service("api", "good2")])["msg"]
    assert cluster.image("api") == "shop/api:good1"


def test_preflight_adds_up_what_starts_at_once(cluster, rollout):
    for name in ("api", "web"):
        cluster.deployment(name, replicas=1)
    quota = {"metadata": {"name": "small"}, "status": {"hard": {"pods": "3"}, "used": {"pods": "2"}}}
    cluster.put("resourcequotas", quota)
    both = [service("api", "good2"), service("web", "good2")]
    refused = rollout(both, graces={})
    assert "no room for one more pod of each of api, web at once: pods (2 of 3 used)" in refused["msg"]
    assert cluster.image("api") == "shop/api:good1"
    # One after the other there is room, and so there is for who waits for a refusal to pass.
    assert not rollout(both, graces={}, max_parallel=1, check=True)["failed"]
    assert not rollout(both, graces={"refused": 60}, check=True)["failed"]
    assert not rollout([service("api", "good2"), service("web", "good2", "api")], graces={}, check=True)["failed"]


def test_preflight_finds_a_missing_claim_and_unsaid_needs(cluster, rollout):
    cluster.deployment("api", pod={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]})
    assert "PersistentVolumeClaim data does not exist" in rollout([service("api", "good2")])["msg"]
    cluster.put("persistentvolumeclaims", {"metadata": {"name": "data"}})
    quota = {"metadata": {"name": "cpu"}, "status": {"hard": {"requests.cpu": "9"}, "used": {"requests.cpu": "0"}}}
    cluster.put("resourcequotas", quota)
    assert "quota cpu lets no pod in" in rollout([service("api", "good2")])["msg"]
    given = {"type": "Container", "defaultRequest": {"cpu": "1"}}
    cluster.put("limitranges", {"metadata": {"name": "defaults"}, "spec": {"limits": [given]}})
    assert not rollout([service("api", "good2")], check=True)["failed"]


def test_preflight_knows_scopes_and_claims_that_are_going(cluster, rollout):
    cluster.deployment("api", replicas=1, pod={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]})
    cluster.put("persistentvolumeclaims", {"metadata": {"name": "d", "deletionTimestamp": "now"}})
    small = {"metadata": {"name": "small"}, "status": {"hard": {"pods": "1"}, "used": {"pods": "1"}}}
    cluster.put("resourcequotas", {**small, "spec": {"scopes": ["BestEffort"]}})
    refused = rollout([service("api", "good2")])["msg"]
    assert "PersistentVolumeClaim d is being deleted" in refused
    assert "quota small has no room for one more pod: pods (1 of 1 used)" in refused
    cluster.put("persistentvolumeclaims", {"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}})
    cluster.put("resourcequotas", {**small, "spec": {"scopes": ["NotBestEffort"]}})
    passed = rollout([service("api", "good2")], check=True)
    assert not passed["failed"]
    assert "one node at a time" in json.dumps(passed["warnings"])


def test_a_compacted_history(cluster, tmp_path):
    cluster.deployment("api")
    process = start_module(
        "service_rollout",
        kubeconfig=cluster.kubeconfig(tmp_path),
        services=[service("api", "slow")],
        on_failure="hold",
        timeout=60,
    )
    limit = time.monotonic() + 60
    while cluster.image("api") != "shop/api:slow":
        assert time.monotonic() < limit
        time.sleep(0.05)

    def unready():
        with cluster.lock:
            return [
                pod
                for pod in cluster.objects["pods"].values()
                if not pod["status"]["containerStatuses"][0].get("ready")
            ]

    while len(unready()) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    cluster.compact()
    # They become well under watches that have to be begun anew.
    for pod in unready():
        pod["status"]["conditions"][0]["status"] = "True"
        pod["status"]["containerStatuses"][0]["ready"] = True
        cluster.put("pods", pod)
    result = finish_module(process, timeout=90)
    assert not result["failed"], result["msg"]


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ([service("api", "good2", "api")], "in a circle: api -> api"),
        ([service("api", "good2", "db")], "depends on db, which is not among the services"),
        ([service("api", "good2"), service("api", "good3")], "given twice"),
        ([{"name": "api", "image": "Shop/API:x y"}], "is no image reference"),
        ([{"name": "api", "images": {"other": "a:1"}}], "no container other, only api"),
        ([service("api", "good2"), service("gone", "good2")], "there is no such workload in namespace shop"),
    ],
)
def test_one_clear_error_before_anything_is_touched(cluster, rollout, services, words):
    cluster.deployment("api")
    result = rollout(services)
    assert words in result["msg"]
    assert "Nothing was touched" in result["msg"]
    assert cluster.image("api") == "shop/api:good1"


def test_somebody_elses_change_is_not_overwritten(cluster, tmp_path):
    process = killed(cluster, tmp_path, 0)
    with cluster.lock:
        thing = json.loads(json.dumps(cluster.objects["deployments"]["api"]))
        thing["spec"]["template"]["spec"]["containers"][0]["image"] = "shop/api:good9"
        thing["metadata"]["generation"] += 1
        cluster.put("deployments", thing)
    process.send_signal(signal.SIGTERM)
    result = finish_module(process, timeout=60)
    assert "NOT PUT BACK: api: somebody else has changed its template since" in result["msg"]
    assert cluster.image("api") == "shop/api:good9"
    assert cluster.image("web") == "shop/web:good1"
