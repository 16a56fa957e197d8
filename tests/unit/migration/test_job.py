"""The Job of a migration, made from a workload's pod template."""

import copy
import json

from ansible_collections.eazepay.ops.plugins.module_utils.migration import job
from hypothesis import given
from hypothesis import strategies as st

MAIN = {
    "name": "api",
    "image": "old",
    "command": ["serve"],
    "args": ["--port=80"],
    "ports": [{"containerPort": 80}],
    "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
    "env": [
        {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "PGDATABASE", "value": "live"},
        {"name": "URL", "value": "postgresql:///$(PGDATABASE)"},
    ],
    "envFrom": [{"configMapRef": {"name": "api"}}],
    "volumeMounts": [{"name": "socket", "mountPath": "/run"}],
}
TEMPLATE = {
    "metadata": {"labels": {"app": "api"}, "annotations": {"prometheus.io/scrape": "true"}},
    "spec": {
        "containers": [MAIN, {"name": "proxy"}],
        "initContainers": [{"name": "wait"}],
        "serviceAccountName": "api",
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "socket"}],
        "terminationGracePeriodSeconds": 15,
    },
}


def made(**variables):
    return job.manifest("api-migration-x", "api", TEMPLATE, MAIN, "new@sha256:1", ["run", "it"], "/app", variables, 60)


def test_it_runs_where_the_workload_runs_and_is_none_of_its_pods():
    before = copy.deepcopy(TEMPLATE)
    spec = made(PGDATABASE="scratch")["spec"]["template"]
    assert before == TEMPLATE
    assert "app" not in spec["metadata"]["labels"] and "prometheus.io/scrape" not in spec["metadata"]["annotations"]
    (container,) = spec["spec"]["containers"]
    assert (container["image"], container["command"], container["workingDir"]) == (
        "new@sha256:1",
        ["run", "it"],
        "/app",
    )
    assert not {"args", "ports", "readinessProbe"} & set(container) and "initContainers" not in spec["spec"]
    assert container["envFrom"] == MAIN["envFrom"] and container["volumeMounts"] == MAIN["volumeMounts"]
    for key in ("serviceAccountName", "imagePullSecrets", "volumes"):
        assert spec["spec"][key] == TEMPLATE["spec"][key]


def test_a_failed_one_is_never_tried_again_and_ends_when_nobody_looks():
    spec = made()["spec"]
    assert spec["backoffLimit"] == 0 and spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 120


def test_a_given_variable_wins_and_what_refers_to_it_finds_it():
    env = made(PGDATABASE="scratch")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [one["name"] for one in env] == ["PGDATABASE", "PGPASSWORD", "URL"]
    assert env[0]["valueFrom"]["secretKeyRef"] == {"name": "api-migration-x", "key": "PGDATABASE"}


@given(st.dictionaries(st.sampled_from(["PGPASSWORD", "TOKEN", "A"]), st.text(min_size=8)))
def test_no_value_stands_in_it(variables):
    text = json.dumps(made(**{key: f"canary{value}" for key, value in variables.items()}))
    assert "canary" not in text


@given(st.text())
def test_names_are_what_kubernetes_takes(service):
    name = job.name_of(service, "0123456789")
    assert len(name) <= 63 and name.encode().isascii() and name.strip("-") == name and name == name.lower()
    assert all(character.isalnum() or character == "-" for character in name)


def test_which_container():
    assert job.container_of(TEMPLATE, ["other", "proxy"])["name"] == "proxy"
    assert job.container_of(TEMPLATE, ["other"]) is None
    assert job.container_of({"spec": {"containers": [MAIN]}}, ["other"]) is MAIN


def test_how_it_ended():
    waiting = {"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "X"}}}]}}
    running = {"status": {"containerStatuses": [{"state": {"running": {"startedAt": "now"}}}]}}
    over = {"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}}
    assert job.ended(waiting) is None and job.ended(running) is None and job.ended({}) is None
    assert job.ended(over)["exitCode"] == 3
    assert job.ended({"status": {"phase": "Failed", "reason": "Evicted"}}) == {"exitCode": 1, "reason": "Evicted"}
    assert job.started(running) and not job.started(waiting)
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}}
    assert job.condition(failed) == "DeadlineExceeded" and job.finished(failed)
    assert not job.condition({}) and not job.finished({"status": {}})
