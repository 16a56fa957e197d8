"""An API server that is killed while a rollout goes on. It, its etcd and its controllers are this test's own."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import PODS, Api, ApiError

from sandbox.box import Box
from sandbox.kubernetes import build, programs
from tests.conftest import ROOT
from tests.kubernetes import container, kubectl, until, workload
from tests.modules import finish_module, run_module, start_module

pytestmark = pytest.mark.kubernetes

NAMESPACE = "default"
TOKEN = "of-this-test"
LEFT_OUT = ("--kubelet-client", "--kubelet-preferred")  # there is no kubelet


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Plane:
    """A control plane without nodes, as the sandbox starts its own, at other ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        used = (programs.ETCD, programs.ETCD_PEER, programs.API, programs.CONTROLLER_MANAGER)
        self.ports = {one: free_port() for one in used}
        self.kubeconfig = home / "kubeconfig"
        self.etcd = f"http://127.0.0.1:{self.ports[programs.ETCD]}"
        folder = build.folder(Box(ROOT).cache)
        self.lines = {
            "etcd": programs.etcd(home),
            "api": programs.apiserver(folder, home),
            "controllers": programs.controller_manager(folder, home),
        }
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, name: str) -> None:
        line = []
        for word in self.lines[name]:
            if not word.startswith(LEFT_OUT):
                # An address or an option ends with the port.
                line.append(re.sub(r"(?<=[:=])\d{5}$", lambda port: str(self.ports.get(int(port[0]), port[0])), word))
        with open(self.home / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def start_api(self) -> None:
        self.start("api")
        authority = self.home / "keys/apiserver/apiserver.crt"
        until(authority.exists, what="the API server has a certificate")
        cluster = {
            "server": f"https://127.0.0.1:{self.ports[programs.API]}",
            "certificate-authority-data": base64.b64encode(authority.read_bytes()).decode(),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": TOKEN}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": NAMESPACE}}],
            "current-context": "it",
        }
        self.kubeconfig.write_text(json.dumps(config))
        until(lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok", what="the API server is ready")

    def up(self) -> None:
        keys = self.home / "keys"
        keys.mkdir()
        (keys / "tokens.csv").write_text(f'{TOKEN},it,it,"system:masters"\n')
        subprocess.run(["openssl", "genrsa", "-out", keys / "accounts.key", "2048"], check=True, capture_output=True)
        self.start("etcd")
        self.start_api()
        self.start("controllers")
        until(lambda: self.kubectl("get", "serviceaccount", "default", check=False), what="pods can be made")

    def down(self) -> None:
        for name in reversed(list(self.processes)):
            self.kill(name)

    def kubectl(self, *words: str, **more) -> str:
        return kubectl(*words, "--kubeconfig", str(self.kubeconfig), **more)

    def compact(self) -> None:
        """Makes etcd forget everything that is not so any more."""

        def ask(path: str, body: dict) -> dict:
            request = urllib.request.Request(f"{self.etcd}/v3/{path}", json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())

        # Something else is written meanwhile, so that no watch is at the newest revision.
        written = ask("kv/put", {"key": base64.b64encode(b"meanwhile").decode()})
        ask("kv/compaction", {"revision": written["header"]["revision"], "physical": True})


class Kubelet(threading.Thread):
    """Says of every pod that it is ready, while it works."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(daemon=True)
        self.api = Api(str(plane.kubeconfig), None, NAMESPACE)
        self.works = threading.Event()
        self.works.set()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            if self.works.is_set():
                with contextlib.suppress(ApiError):
                    for pod in self.api.list(PODS)[0]:
                        self.serve(pod)

    def serve(self, pod: dict) -> None:
        if pod["status"].get("phase") == "Running":
            return
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"lastTransitionTime": now, "status": "True"}
        running = [
            {"name": one["name"], "image": one["image"], "imageID": "", "ready": True, "restartCount": 0}
            | {"state": {"running": {"startedAt": now}}}
            for one in pod["spec"]["containers"]
        ]
        ready = [{"type": kind, **about} for kind in ("PodScheduled", "ContainersReady", "Ready")]
        status = {"phase": "Running", "conditions": ready, "containerStatuses": running}
        path = PODS.url(NAMESPACE, pod["metadata"]["name"], "status")
        merge = "application/merge-patch+json"
        self.api.json("PATCH", path, body={"status": status}, content_type=merge)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    one = Plane(tmp_path_factory.mktemp("plane"))
    try:
        one.up()
        yield one
    finally:
        one.down()


@pytest.fixture(scope="module")
def kubelet(plane):
    one = Kubelet(plane)
    one.start()
    yield one
    one.ended.set()


@pytest.mark.parametrize("good", [True, False])
def test_an_api_server_is_killed_and_its_history_is_gone(plane, kubelet, good):
    """Killed in the middle, etcd compacted, and started again: the rollout goes on, or goes back, as if nothing was."""
    name = "web" if good else "api"
    objects = [workload(name, [container("shop/it:v1", probe={"exec": {"command": ["true"]}})], replicas=2)]
    plane.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": objects})
    plane.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    kubelet.works.clear()
    given = {"kubeconfig": str(plane.kubeconfig), "timeout": 120 if good else 20, "rollback_timeout": 120}
    run = start_module("service_rollout", services=[{"name": name, "image": "shop/it:v2"}], **given)

    def pods() -> list[dict]:
        return json.loads(plane.kubectl("get", "pods", "-l", f"name={name}", "-o", "json"))["items"]

    until(lambda: any(pod["spec"]["containers"][0]["image"] == "shop/it:v2" for pod in pods()), what="it rolls")
    plane.kill("api")
    plane.compact()
    assert run.poll() is None
    plane.start_api()
    if good:
        kubelet.works.set()
    else:
        # Nothing becomes ready until the time-out is over.
        until(lambda: json.loads(plane.kubectl("get", "deployment", name, "-o", "json"))["spec"]["template"]["spec"]
              ["containers"][0]["image"] == "shop/it:v1", what="it is put back")  # fmt: skip
        kubelet.works.set()
    result = finish_module(run)
    assert result["failed"] != good, result
    assert result["services"][0]["outcome"] == ("healthy" if good else "rolled_back"), result
    assert {pod["spec"]["containers"][0]["image"] for pod in pods()} == {"shop/it:v2" if good else "shop/it:v1"}
    again = run_module("service_rollout", services=[{"name": name, "image": f"shop/it:v{2 if good else 1}"}], **given)
    assert not again["changed"], again
