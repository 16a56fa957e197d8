"""Verdicts on recorded and generated states of workloads."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.cause import RANK, Found, pod_cause, worst
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.images import parse
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.kube_known import remember_pull
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.kube_patch import (
    containers,
    fingerprint,
    template_operations,
)
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.order import Cycle, ordered
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.types import Cause
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.verdict import Seen, judge, new_replica_set
from hypothesis import given, settings
from hypothesis import strategies as st

NEW, OLD = (
    {"spec": {"containers": [{"name": "app", "image": "a:2"}]}},
    {"spec": {"containers": [{"name": "app", "image": "a:1"}]}},
)


def owner(uid):
    return {"ownerReferences": [{"uid": uid, "controller": True}]}


def deployment(generation=2, observed=2, conditions=(), paused=False, **status):
    return {
        "kind": "Deployment",
        "metadata": {
            "uid": "d",
            "name": "web",
            "generation": generation,
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": 2, "template": NEW, "paused": paused},
        "status": {"observedGeneration": observed, "conditions": list(conditions), **status},
    }


def replica_set(uid, revision, template, by="d", **status):
    metadata = {"uid": uid, "name": f"web-{uid}", "annotations": {"deployment.kubernetes.io/revision": str(revision)}}
    return {"metadata": {**metadata, **owner(by)}, "spec": {"template": template, "replicas": 2}, "status": status}


def pod(uid, by, container=None, **status):
    container = {"name": "app", "image": "a:2", "restartCount": 0, **(container or {"state": {"running": {}}})}
    return {
        "metadata": {"uid": uid, "name": f"pod-{uid}", **owner(by)},
        "status": {"containerStatuses": [container], **status},
    }


WAITING = {"updatedReplicas": 1, "replicas": 3, "availableReplicas": 2}
SETS = [replica_set("new", 2, NEW), replica_set("old", 1, OLD)]


def test_nothing_is_believed_before_the_generation_is_observed():
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": '"web-new"'}
    thing = deployment(3, 2, [late], updatedReplicas=2, replicas=2, availableReplicas=2)
    assert judge(Seen(thing, SETS)).state == "progressing"


def test_done_means_no_old_pod_and_all_new_available():
    assert judge(Seen(deployment(updatedReplicas=2, replicas=2, availableReplicas=2), SETS)).state == "healthy"
    for status in (
        {"updatedReplicas": 1, "replicas": 2, "availableReplicas": 2},
        {"updatedReplicas": 2, "replicas": 3, "availableReplicas": 3},
        {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 1},
    ):
        assert judge(Seen(deployment(**status), SETS)).state == "progressing"


def test_a_deadline_of_another_replica_set_is_stale():
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    stale = {**late, "message": 'ReplicaSet "web-old" has timed out progressing.'}
    assert judge(Seen(deployment(conditions=[stale], **WAITING), SETS)).state == "progressing"
    ours = {**late, "message": 'ReplicaSet "web-new" has timed out progressing.'}
    assert judge(Seen(deployment(conditions=[ours], **WAITING), SETS)).cause.code == "deadline"


def test_a_refusal_of_the_old_replica_set_is_not_ours():
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    old = [replica_set("new", 2, NEW), replica_set("old", 1, OLD, conditions=[failure])]
    assert judge(Seen(deployment(**WAITING), old)).state == "progressing"
    new = [replica_set("new", 2, NEW, conditions=[failure]), replica_set("old", 1, OLD)]
    verdict = judge(Seen(deployment(**WAITING), new))
    assert (verdict.state, verdict.cause.code) == ("failing", "refused")
    ending = pod("p", "old")
    ending["metadata"]["deletionTimestamp"] = "now"
    assert judge(Seen(deployment(**WAITING), new, [ending])).state == "progressing"
    # Not all at once, but it goes on.
    assert judge(Seen(deployment(**WAITING), new, [pod("p", "new")])).state == "progressing"
    webhook = [replica_set("new", 2, NEW, conditions=[{**failure, "message": "denied the request"}])]
    assert judge(Seen(deployment(**WAITING), webhook, [pod("p", "new")])).state == "failing"


def test_pods_of_others_with_the_same_labels_do_not_count():
    missing = {"state": {"waiting": {"reason": "InvalidImageName"}}}
    others = [replica_set("theirs", 2, NEW, by="another")]
    assert judge(Seen(deployment(**WAITING), SETS + others, [pod("p", "theirs", missing)])).state == "progressing"
    assert judge(Seen(deployment(**WAITING), SETS, [pod("p", "old", missing)])).state == "progressing"
    assert judge(Seen(deployment(**WAITING), SETS, [pod("p", "new", missing)])).cause.code == "image_name"
    assert new_replica_set(deployment(), others) is None


def test_paused():
    assert judge(Seen(deployment(paused=True, **WAITING), SETS)).cause.code == "paused"


CAUSES = [
    (
        {"waiting": {"reason": "ErrImagePull", "message": "manifest for a:2 not found: manifest unknown"}},
        "image_not_found",
        True,
    ),
    (
        {"waiting": {"reason": "ErrImagePull", "message": "pull access denied for a, repository does not exist"}},
        "image_unauthorised",
        True,
    ),
    ({"waiting": {"reason": "ErrImagePull", "message": "dial tcp 1.2.3.4:443: i/o timeout"}}, "image_pull", False),
    (
        {
            "waiting": {
                "reason": "ErrImagePull",
                "message": 'Head "https://r/v2/a/manifests/2": no basic auth credentials',
            }
        },
        "image_unauthorised",
        True,
    ),
    (
        {"waiting": {"reason": "ErrImagePull", "message": "r/api/orders/refused:2: manifest unknown"}},
        "image_not_found",
        True,
    ),
    ({"waiting": {"reason": "ErrImagePull", "message": "dial tcp: connection refused"}}, "image_pull", False),
    ({"waiting": {"reason": "ErrImagePull", "message": "toomanyrequests: rate limit"}}, "image_pull", False),
    ({"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "a:2"'}}, "image_pull", False),
    ({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "db" not found'}}, "config_missing", True),
    (
        {"waiting": {"reason": "CreateContainerConfigError", "message": "couldn't find key p in Secret shop/db"}},
        "config_missing",
        True,
    ),
    (
        {"waiting": {"reason": "CreateContainerConfigError", "message": "failed to sync secret cache: timed out"}},
        "config_pending",
        False,
    ),
    ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "oom_killed", False),
    ({"terminated": {"exitCode": 3, "reason": "Error"}}, "crash_loop", False),
    (
        {"terminated": {"exitCode": 127, "reason": "ContainerCannotRun", "message": "no such file"}},
        "start_error",
        False,
    ),
    ({"running": {}}, "not_ready", False),
]


@pytest.mark.parametrize(
    ("state", "code", "permanent"), CAUSES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_causes(state, code, permanent):
    found = pod_cause(pod("p", "new", {"state": state}))
    assert (found.cause.code, found.permanent) == (code, permanent)


def test_the_first_words_about_an_image_are_remembered():
    first = pod("p", "new", {"state": {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}})
    later = pod("p", "new", {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}})
    remember_pull(first, later)
    again = pod("p", "new", {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}})
    remember_pull(later, again)
    assert pod_cause(again).cause.code == "image_not_found"


def test_init_containers_and_probes_and_mounts():
    bad = {"initContainerStatuses": [{"name": "migrate", "restartCount": 1, "state": {"terminated": {"exitCode": 2}}}]}
    assert "init container migrate" in pod_cause(pod("p", "new", {"state": {}}, **bad)).cause.text
    probe = [{"reason": "Unhealthy", "message": "Readiness probe failed: 503"}]
    assert "503" in pod_cause(pod("p", "new"), probe).cause.text
    mount = [{"reason": "FailedMount", "message": 'MountVolume.SetUp failed for volume "x" : secret "tls" not found'}]
    assert pod_cause(pod("p", "new", {"state": {"waiting": {"reason": "ContainerCreating"}}}), mount).permanent
    nowhere = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu"}]}
    assert "Insufficient cpu" in pod_cause(pod("p", "new", {"state": {}}, **nowhere)).cause.text


@given(st.lists(st.builds(Found, st.sampled_from(RANK).map(lambda code: Cause(code, code)), st.booleans())))
def test_a_permanent_cause_is_told_first(found):
    chosen = worst(found)
    assert (chosen is None) == (not found)
    if found:
        assert chosen.permanent == any(one.permanent for one in found)


@settings(max_examples=200)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(1, 3), st.integers(1, 3))
def test_healthy_only_when_everything_is(updated, total, available, replicas, generation, observed):
    thing = deployment(generation, observed, updatedReplicas=updated, replicas=total, availableReplicas=available)
    thing["spec"]["replicas"] = replicas
    healthy = judge(Seen(thing, SETS)).state == "healthy"
    assert healthy == (observed >= generation and updated >= replicas and total <= updated and available >= updated)


def stateful_set(**status):
    return {
        "kind": "StatefulSet",
        "metadata": {"uid": "s", "name": "db", "generation": 1},
        "spec": {"replicas": 2, "template": NEW},
        "status": {"observedGeneration": 1, **status},
    }


def test_stateful_sets():
    done = {"updateRevision": "b", "currentRevision": "b", "updatedReplicas": 2, "readyReplicas": 2, "replicas": 2}
    assert judge(Seen(stateful_set(**done))).state == "healthy"
    rolling = {**done, "currentRevision": "a", "updatedReplicas": 1, "readyReplicas": 1}
    stuck = pod("p", "s", {"state": {"waiting": {"reason": "InvalidImageName"}}})
    stuck["metadata"]["labels"] = {"controller-revision-hash": "b"}
    assert judge(Seen(stateful_set(**rolling), (), [stuck])).cause.code == "image_name"
    stuck["metadata"]["labels"] = {"controller-revision-hash": "a"}
    verdict = judge(Seen(stateful_set(**rolling), (), [stuck]))
    assert verdict.state == "failing"
    assert "of the old template" in verdict.cause.text


def test_daemon_sets():
    thing = {
        "kind": "DaemonSet",
        "metadata": {"uid": "s", "name": "agent", "generation": 1},
        "spec": {"template": NEW},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1},
    }
    revision = {"metadata": {"uid": "r", "labels": {"controller-revision-hash": "b"}, **owner("s")}, "revision": 2}
    bad = pod("p", "s", {"state": {"terminated": {"exitCode": 1, "reason": "Error"}}})
    bad["metadata"]["labels"] = {"controller-revision-hash": "b"}
    assert judge(Seen(thing, [revision], [bad])).cause.code == "crash_loop"
    thing["status"].update(updatedNumberScheduled=1, numberAvailable=1)
    assert judge(Seen(thing, [revision], [])).state == "healthy"


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=14))
def test_order_or_cycle(edges):
    needs = {str(one): [str(to) for of, to in edges if of == one] for one in range(9)}
    try:
        order = ordered(needs)
    except Cycle as cycle:
        for name, needed in zip(cycle.names, cycle.names[1:], strict=False):
            assert needed in needs[name]
        return
    assert sorted(order) == sorted(needs)
    assert all(order.index(needed) < order.index(name) for name in needs for needed in needs[name])


IMAGES = st.sampled_from(["a:1", "a:2", "b:1"])


@given(st.lists(IMAGES, min_size=1, max_size=4), st.lists(IMAGES, min_size=4, max_size=4), st.booleans())
def test_a_patch_brings_exactly_the_template_about(before, after, token):
    now = {"spec": {"containers": [{"name": f"c{n}", "image": image} for n, image in enumerate(before)]}}
    wanted = copy.deepcopy(now)
    for container, image in zip(wanted["spec"]["containers"], after, strict=False):
        container["image"] = image
    if token:
        wanted["metadata"] = {"annotations": {"eazepay.ops/restart-token": "x"}}
    operations = template_operations(now, wanted)
    assert len([one for one in operations if one["path"].endswith("/image")]) == sum(
        one != other for one, other in zip(before, after, strict=False)
    )
    assert (fingerprint(now) != fingerprint(wanted)) == bool(operations)
    assert containers(wanted)[1] == {f"c{n}": image for n, image in enumerate(after[: len(before)])}


@pytest.mark.parametrize("bad", ["", "A", "a b", "a:", "a@sha256:12", "-a", "a//b", "http://a"])
def test_what_is_no_image(bad):
    with pytest.raises(ValueError, match="is no image reference"):
        parse(bad)


def test_images():
    assert parse("localhost:5000/shop/web-app:v1.0_x").tag == "v1.0_x"
    assert parse("Registry.example.com/a/b@sha256:" + "0" * 64).digest.startswith("sha256:")
