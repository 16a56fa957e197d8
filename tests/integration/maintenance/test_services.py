"""The switch of Services and Ingresses, on the real cluster: where users are led, and that each is put back as it was.

The sandbox has no Ingress controller: of Ingresses it is seen what the API server keeps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.modules import maintenance_mode

from tests.images import tiny
from tests.integration.announce.play import play
from tests.integration.site.server import in_process
from tests.kubernetes import container, namespace, until, workload
from tests.modules import finish_module, start_module

pytestmark = pytest.mark.kubernetes
NAMES = ("shop", "bare")
BACKEND = {"app": "closed"}
PAGE = """
error_log /dev/stderr; pid /tmp/nginx.pid; daemon off; events {}
http { access_log off; keepalive_timeout 0;
  server { listen 8080; location = /health { return 200; }
    location / { add_header Retry-After 120 always; return 503 'closed'; } } }
"""


def service(name, **metadata):
    """A Service of the workload of this name, with a node port that the cluster chooses."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, **metadata},
        "spec": {"type": "NodePort", "selector": {"name": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


@pytest.fixture(scope="module")
def place(sandbox):
    with namespace(sandbox) as made:
        image = tiny(sandbox["REGISTRY"], "v1")
        page = container(f"{sandbox['REGISTRY']}/sandbox/base:1", command=["nginx", "-c", "/conf/nginx.conf"])
        page["volumeMounts"] = [{"name": "conf", "mountPath": "/conf"}]
        made.put("ConfigMap", "closed", data={"nginx.conf": PAGE})
        volumes = [{"name": "conf", "configMap": {"name": "closed"}}]
        made.apply(
            *(workload(name, [container(image)]) for name in NAMES),
            workload("closed", [page], pod={"volumes": volumes}, labels=BACKEND, selector=BACKEND),
            service("shop", labels={"team": "a"}, annotations={"note.example.com/why": "x", "empty": ""}),
        )
        # Not by `apply`, which would give it an annotation.
        made.kubectl("create", "-f", "-", given=service("bare"))
        made.settled()
        yield made


@pytest.fixture
def turn(place, sandbox):
    given = {
        "target": "kubernetes",
        "kubeconfig": sandbox["KUBECONFIG"],
        "namespace": place.name,
        "services": list(NAMES),
        "backend": BACKEND,
        "owner": "a",
    }

    def run(state="status", **options):
        return in_process(maintenance_mode, maintenance_mode.maintenance_mode, **{**given, "state": state, **options})

    run.given = given
    yield run
    run("disabled", force=True, reason="test")


def services(place):
    """Each Service, but for what every write changes."""
    found = []
    for name in NAMES:
        one = place.get("service", name)
        for key in ("resourceVersion", "managedFields"):
            one["metadata"].pop(key, None)
        found.append(one)
    return found


def ask(place, name):
    port = place.get("service", name)["spec"]["ports"][0]["nodePort"]

    def status():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=20) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Retry-After"]

    return status


def test_users_are_led_to_the_page_and_back_and_each_service_is_as_it_was(place, turn):
    before, users = services(place), [ask(place, name) for name in NAMES]
    until(lambda: [user() for user in users] == [(200, "v1")] * 2)
    assert turn("enabled", reason="upgrade", check=True)["changed"] and services(place) == before
    first = turn("enabled", reason="upgrade", duration=600)
    assert first["changed"] and first["lease"]["purpose"] == "upgrade"
    until(lambda: [user() for user in users] == [(503, "120")] * 2)
    assert not turn("enabled", reason="upgrade", duration=900)["changed"]
    refused = turn("disabled", owner="b")
    assert refused["failed"] and "a has it on" in refused["msg"] and users[0]() == (503, "120")
    assert turn("disabled")["changed"] and services(place) == before
    until(lambda: [user() for user in users] == [(200, "v1")] * 2)
    assert not turn("disabled")["changed"] and turn()["enabled"] is False


def test_nobody_meets_anything_but_pages_and_503_meanwhile(place, turn):
    user, answers, over = ask(place, "shop"), [], threading.Event()

    def work():
        while not over.is_set():
            answers.append(user())

    until(lambda: user() == (200, "v1"))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for state, seen in (("enabled", (503, "120")), ("disabled", (200, "v1"))) * 2:
            turn(state, reason="upgrade")
            until(lambda seen=seen: answers[-4:] == [seen] * 4)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert set(answers) == {(200, "v1"), (503, "120")}


def test_it_lifts_itself_also_when_the_run_was_killed(place, turn):
    before = services(place)
    started = start_module("maintenance_mode", **turn.given, state="enabled", reason="upgrade", duration=4)
    started.communicate(timeout=60)
    assert started.returncode == 0 and services(place) != before
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    until(lambda: services(place) == before, 60)


def test_it_lifts_itself_when_what_ansible_unpacked_is_gone(place, turn, tmp_path):
    before = services(place)
    given = {f"maintenance_{key}": value for key, value in turn.given.items()}
    given |= {"maintenance_state": "enabled", "maintenance_reason": "upgrade", "maintenance_duration": 12}
    done = play(tmp_path, "maintenance", "maintenance_result", given)
    assert done.rc == 0, done.output
    assert done.result["enabled"] and services(place) != before
    until(lambda: services(place) == before, 60)


def test_a_run_that_died_half_way_is_put_back_by_the_next_one(place, turn):
    """Killed at any time: some Services are led away, and others are not."""
    before = services(place)
    for wait in (0.9, 1.0, 1.1, 1.2):
        started = start_module("maintenance_mode", **turn.given, state="enabled", reason="upgrade", duration=600)
        time.sleep(wait)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        turn("disabled", force=True, reason="it was killed")
        assert services(place) == before, wait


def test_nobody_is_led_to_where_nothing_answers(place, turn):
    before = services(place)
    refused = turn("enabled", reason="upgrade", backend={"app": "none"})
    assert refused["failed"] and "no ready pod" in refused["msg"] and services(place) == before
    gone = turn("enabled", reason="upgrade", services=["shop", "none"])
    assert gone["failed"] and "not found" in gone["msg"] and services(place) == before


def test_the_watchdog_ends_with_the_maintenance(place, turn):
    mark = f"T_MARK={uuid.uuid4().hex}"
    name, value = mark.split("=")
    # As a user may say where the cluster is; the watchdog finds it in the same way.
    env = {name: value, "K8S_AUTH_KUBECONFIG": turn.given["kubeconfig"], "KUBECONFIG": "/nowhere"}
    given = {key: value for key, value in turn.given.items() if key != "kubeconfig"}
    started = start_module("maintenance_mode", env=env, **given, state="enabled", reason="upgrade", duration=600)
    assert not finish_module(started)["failed"]

    def watchdogs():
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark.encode() in file.read_bytes():
                    found.append(int(file.parent.name))
        return found

    assert watchdogs()
    turn("disabled")
    until(lambda: not watchdogs(), 60)


@pytest.fixture
def ingress(place):
    """An Ingress of three paths, one of which leads to another Service, and a Service of the maintenance page."""

    def to(name, port):
        return {"service": {"name": name, "port": port}}

    paths = [{"path": path, "pathType": "Prefix", "backend": to("shop", {"number": 80})} for path in ("/", "/a")]
    paths.append({"path": "/b", "pathType": "Exact", "backend": to("bare", {"name": "http"})})
    rules = [{"host": "shop.test", "http": {"paths": paths}}, {"host": "bare.test"}]
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "shop", "labels": {"team": "a"}},
        "spec": {"defaultBackend": to("shop", {"number": 80}), "tls": [{"hosts": ["shop.test"]}], "rules": rules},
    }
    place.kubectl("create", "-f", "-", given=body)
    page = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "closed"}}
    place.apply({**page, "spec": {"selector": BACKEND, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})

    def stands():
        one = place.get("ingress", "shop")
        for key in ("resourceVersion", "managedFields", "generation"):
            one["metadata"].pop(key, None)
        return one

    until(lambda: place.get("endpoints", "closed").get("subsets"), 60)
    yield stands
    place.kubectl("delete", "ingress/shop", "service/closed")


def test_an_ingress_leads_to_the_page_and_back(place, turn, ingress):
    before, untouched = ingress(), services(place)
    given = {"services": [], "ingresses": ["shop"], "ingress_backend": {"name": "closed", "port": "http"}}
    assert turn("enabled", reason="upgrade", check=True, **given)["changed"] and ingress() == before
    assert turn("enabled", reason="upgrade", duration=600, **given)["changed"]
    spec = ingress()["spec"]
    page = {"service": {"name": "closed", "port": {"name": "http"}}}
    assert [one["backend"] for one in spec["rules"][0]["http"]["paths"]] == [page] * 3 == [spec["defaultBackend"]] * 3
    assert spec["tls"] == before["spec"]["tls"] and services(place) == untouched
    assert not turn("enabled", reason="upgrade", duration=900, **given)["changed"]
    assert turn(**given)["enabled"] and turn("disabled", owner="b", **given)["failed"]
    assert turn("disabled", **given)["changed"] and ingress() == before
    assert not turn("disabled", **given)["changed"]
    # It lifts itself as well, and Services are led with it.
    both = {**given, "services": list(NAMES)}
    assert turn("enabled", reason="upgrade", duration=3, **both)["changed"] and ingress() != before
    until(lambda: ingress() == before and services(place) == untouched, 60)


def test_an_ingress_is_not_led_to_where_nothing_answers(place, turn, ingress):
    before, given = ingress(), {"services": [], "ingresses": ["shop"]}
    for options, said in (
        ({"ingress_backend": {"name": "none"}}, "not found"),
        ({}, "'ingress_backend'"),
        ({"ingresses": []}, "neither services nor ingresses"),
    ):
        refused = turn("enabled", reason="upgrade", **{**given, **options})
        assert refused["failed"] and said in refused["msg"] and ingress() == before, refused
    place.kubectl("scale", "deployment/closed", "--replicas=0")
    try:
        until(
            lambda: not any(one.get("addresses") for one in place.get("endpoints", "closed").get("subsets") or []), 60
        )
        refused = turn("enabled", reason="upgrade", ingress_backend={"name": "closed"}, **given)
        assert refused["failed"] and "no ready pod" in refused["msg"] and ingress() == before
    finally:
        place.kubectl("scale", "deployment/closed", "--replicas=1")
        place.settled()
