"""What can be known before anything is touched."""

from __future__ import annotations

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.claims import claims, unusable
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.plan import plan, services
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.preflight import (
    container_needs,
    counts,
    defaulted,
    must_surge,
    pod_needs,
    quantity,
    references,
    selects,
    short_of,
    together,
    unspecified,
)
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.types import State
from hypothesis import given
from hypothesis import strategies as st


def container(cpu=None, limit=None, **more):
    requests = {"requests": {"cpu": cpu}} if cpu else {}
    limits = {"limits": {"cpu": limit}} if limit else {}
    return {"name": "c", "resources": {**requests, **limits}, **more}


def quota(hard, used=None, **spec):
    return {"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used or {}}}


def test_quantities():
    assert [quantity(one) for one in ("100m", "1Ki", "2", "1e3", "0.5")] == [0.1, 1024, 2, 1000, 0.5]


@pytest.mark.parametrize(
    ("init", "main", "cpu"),
    [
        ([], [container("1"), container("500m")], 1.5),
        ([container("3")], [container("1"), container("1")], 3),
        ([container("1"), container("1")], [container("1")], 1),
        ([container("1", restartPolicy="Always"), container("4")], [container("1")], 5),
        ([container("1", restartPolicy="Always")], [container("4")], 5),
        ([], [container(limit="2")], 2),
        ([], [container("1", limit="2")], 1),
    ],
)
def test_what_a_pod_needs(init, main, cpu):
    needs = pod_needs({"spec": {"initContainers": init, "containers": main}})
    assert needs["requests.cpu"] == needs["cpu"] == cpu
    assert needs["pods"] == 1


CPUS = st.lists(st.integers(0, 9).map(lambda n: container(str(n))), max_size=4)


@given(CPUS, CPUS)
def test_no_container_needs_more_than_its_pod(init, main):
    needs = pod_needs({"spec": {"initContainers": init, "containers": main}}).get("requests.cpu", 0)
    alone = [container_needs(one).get("requests.cpu", 0) for one in init]
    assert needs == max([sum(container_needs(one).get("requests.cpu", 0) for one in main), *alone])


def test_room_in_a_quota():
    full = quota({"pods": "2", "requests.cpu": "1"}, {"pods": "2", "requests.cpu": "500m"})
    assert short_of(full, {"pods": 1.0, "requests.cpu": 0.5}) == ["pods (2 of 2 used)"]


def test_a_quota_that_wants_needs_to_be_said():
    template = {"spec": {"initContainers": [container("1")], "containers": [container(limit="1"), container()]}}
    assert unspecified(quota({"requests.cpu": "9"}), template) == ["container c does not set requests.cpu"]
    assert unspecified(quota({"cpu": "9"}), template) == ["container c does not set requests.cpu"]
    assert len(unspecified(quota({"limits.cpu": "9"}), template)) == 2
    assert unspecified(quota({"pods": "9"}), template) == []
    ranges = [{"spec": {"limits": [{"type": "Container", "default": {"cpu": "2"}}, {"type": "Pod"}]}}]
    assert unspecified(quota({"requests.cpu": "9", "limits.cpu": "9"}), defaulted(template, ranges)) == []
    assert pod_needs(defaulted(template, ranges))["requests.cpu"] == 3


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "surges"),
    [
        (1, 0, "25%", False),
        (1, "25%", "25%", True),
        (4, "25%", "25%", False),
        (3, "25%", "25%", True),
        (4, 1, 0, True),
        (2, 0, 1, False),
        (0, 1, 0, False),
        (1, "0%", "0%", False),
    ],
)
def test_whether_a_new_pod_comes_first(replicas, surge, unavailable, surges):
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    spec = {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}
    assert must_surge({"kind": "Deployment", "spec": spec}) == surges
    assert not must_surge({"kind": "Deployment", "spec": {**spec, "strategy": {"type": "Recreate"}}})
    assert not must_surge({"kind": "StatefulSet", "spec": spec})


def planned(*edges):
    raw = [{"name": name, "image": "a:2", "depends_on": list(needs)} for name, *needs in edges]
    wanted = services(raw)
    found = {one.name: State(one.name, images={"app": "a:1"}, main=("app",), snapshot={}) for one in wanted}
    return plan(wanted, found)


def test_who_starts_together():
    steps = planned(("a",), ("b",), ("c", "a"), ("d", "a"), ("e", "a", "b"))
    assert together(steps) == [["a", "b"], ["c", "d"], ["e"]]
    assert together(steps, 1) == [["a"], ["c"], ["e"]]


@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=1, max_size=8), st.integers(0, 3))
def test_who_starts_together_never_waits_for_each_other(needs, most):
    edges = [(str(n), *(str(m) for m in of if m < n)) for n, of in enumerate(needs)]
    depends = {name: set(of) for name, *of in edges}
    for group in together(planned(*edges), most):
        assert not any(depends[one] & set(group) for one in group)
        assert not most or len(group) <= most


@pytest.mark.parametrize(
    ("selector", "labels", "means"),
    [
        (None, {"app": "a"}, False),
        ({}, {"app": "a"}, True),
        ({"matchLabels": {"app": "a"}}, {"app": "a", "x": "y"}, True),
        ({"matchLabels": {"app": "a"}}, {"app": "b"}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, {"app": "b"}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]}, {}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, {}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, {"app": ""}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, {"app": ""}, False),
        (
            {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]},
            {"app": "a"},
            False,
        ),
    ],
)
def test_label_selectors(selector, labels, means):
    assert selects(selector, labels) == means


def scoped(name, operator="In", *values):
    return quota({"pods": "1"}, scopeSelector={"matchExpressions": [scope(name, operator, *values)]})


def scope(name, operator, *values):
    return {"scopeName": name, "operator": operator, "values": list(values)}


LARGE = {"spec": {"containers": [container("1")]}}
NOTHING = {"spec": {"containers": [container()]}}
ZERO = {"spec": {"containers": [container("0")]}}
INIT = {"spec": {"initContainers": [container("1")], "containers": [container()]}}
URGENT = {"spec": {"containers": [], "priorityClassName": "urgent"}}
BRIEF = {"spec": {"containers": [], "activeDeadlineSeconds": 5}}


@pytest.mark.parametrize(
    ("limited", "template", "counted"),
    [
        (quota({}), NOTHING, True),
        (quota({}, scopes=["BestEffort"]), NOTHING, True),
        (quota({}, scopes=["BestEffort"]), ZERO, True),
        (quota({}, scopes=["BestEffort"]), LARGE, False),
        (quota({}, scopes=["BestEffort"]), INIT, False),
        (quota({}, scopes=["NotBestEffort"]), INIT, True),
        (quota({}, scopes=["NotBestEffort"]), NOTHING, False),
        (quota({}, scopes=["NotTerminating"]), LARGE, True),
        (quota({}, scopes=["Terminating"]), LARGE, False),
        (quota({}, scopes=["Terminating"]), BRIEF, True),
        (quota({}, scopes=["NotBestEffort", "Terminating"]), LARGE, False),
        (scoped("PriorityClass", "In", "urgent", "high"), URGENT, True),
        (scoped("PriorityClass", "NotIn", "urgent"), URGENT, False),
        (scoped("PriorityClass", "Exists"), URGENT, True),
        # The cluster's default class is not known.
        (scoped("PriorityClass", "NotIn", "urgent"), LARGE, False),
        (quota({}, scopes=["CrossNamespacePodAffinity"]), LARGE, False),
    ],
)
def test_in_which_quotas_a_pod_counts(limited, template, counted):
    assert counts(limited, template) == counted


def stateful(*own, replicas=2):
    templates = [{"metadata": {"name": name}} for name in own]
    return {"metadata": {"name": "db"}, "spec": {"replicas": replicas, "volumeClaimTemplates": templates}}


def test_which_claims_pods_need():
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "replaced"}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "config", "configMap": {"name": "config"}},
    ]
    needed = list(claims({"spec": {"volumes": volumes}}, stateful("data")))
    assert needed == [("shared", True), ("data-db-0", False), ("data-db-1", False)]
    assert list(claims({"spec": {}}, {"metadata": {"name": "web"}, "spec": {}})) == []


@pytest.mark.parametrize(
    ("claim", "surges", "words", "sure"),
    [
        ({}, True, "", False),
        ({"status": {"phase": "Pending"}}, True, "", False),
        ({"status": {"phase": "Lost"}}, False, "lost its volume", True),
        ({"metadata": {"name": "data", "deletionTimestamp": "now"}}, False, "data is being deleted", True),
        ({"spec": {"accessModes": ["ReadWriteOncePod"]}}, True, "one pod at a time", True),
        ({"spec": {"accessModes": ["ReadWriteOncePod"]}}, False, "", False),
        ({"spec": {"accessModes": ["ReadWriteOnce"]}}, True, "one node at a time", False),
        ({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}, True, "", False),
    ],
)
def test_claims_that_no_new_pod_can_have(claim, surges, words, sure):
    text, certain = unusable(claim, surges)
    assert words in text
    assert bool(text) == bool(words)
    assert certain == sure


def test_what_a_template_cannot_do_without():
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "config", "configMap": {"name": "config", "optional": True}},
        {"name": "tls", "secret": {"secretName": "tls", "items": [{"key": "crt", "path": "crt"}]}},
    ]
    assert list(references({"spec": {"volumes": volumes}})) == [
        ("Secret", "tls", "crt"),
    ]
