"""What lies between: an API server that goes away or forgets, users' requests during a rollout, a registry's tags."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
import uuid
from base64 import b64decode
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.images import tiny
from tests.kubernetes import container, kubectl, namespace, until, workload
from tests.modules import finish_module, start_module

pytestmark = pytest.mark.kubernetes


class Between:
    """An address of the API server whose connections can be cut, that can be away, and that can forget."""

    def __init__(self, folder) -> None:
        config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
        cluster = config["clusters"][0]["cluster"]
        self.token = config["users"][0]["user"]["token"]
        self.server_url = urlsplit(cluster["server"])
        self.tls = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        self.clients: set[socket.socket] = set()
        self.forget = 0  # how many of the next watches begin at a version that is long gone
        self.requests = 0
        self.server = self._listen(0)
        self.port = self.server.server_port
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))

    def _listen(self, port: int) -> ThreadingHTTPServer:
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                between.clients.add(self.connection)

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

            def log_message(self, *_) -> None:
                pass

            def forward(self) -> None:
                between.requests += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                between.forward(self, body)

            do_GET = do_PATCH = do_DELETE = forward

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = handler.path
        if "watch=1" in path and self.forget:
            self.forget -= 1
            path = re.sub(r"resourceVersion=\d+", "resourceVersion=1", path)
        real = HTTPSConnection(self.server_url.hostname, self.server_url.port, context=self.tls, timeout=90)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if body:
            headers["Content-Type"] = handler.headers["Content-Type"]
        real.request(handler.command, path, body or None, headers)
        answer = real.getresponse()
        handler.send_response(answer.status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while data := answer.read1(65536):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.write(b"0\r\n\r\n")
        real.close()

    def cut(self) -> int:
        """Breaks every connection off; how many there were."""
        clients, self.clients = self.clients, set()
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        return len(clients)

    def go_away(self, seconds: float) -> None:
        self.close()
        time.sleep(seconds)
        self.server = self._listen(self.port)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.cut()


@pytest.fixture
def between(sandbox, tmp_path):
    one = Between(tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def v1(sandbox):
    return tiny(sandbox["REGISTRY"], "v1")


@pytest.fixture(scope="module")
def v2(sandbox):
    return tiny(sandbox["REGISTRY"], "v2")


TROUBLES = ("cut", "forgotten", "away")


@pytest.fixture(scope="module")
def shop(sandbox, v1):
    with namespace(sandbox) as one:
        # Their v2 takes its time: there is trouble enough meanwhile.
        slow = [workload(name, [container(v1, fault="sleep 8")]) for name in TROUBLES]
        lasting = {"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 6"]}}}
        front = container(v1, fault="exec sleep 100000", lifecycle=lasting)
        one.apply(
            *slow,
            workload("front", [front], pod={"terminationGracePeriodSeconds": 15}, replicas=2),
            workload("moved", [container(v1)]),
        )
        port = {"port": 80, "targetPort": 8080}
        one.put("Service", "front", spec={"type": "NodePort", "selector": {"name": "front"}, "ports": [port]})
        one.settled()
        yield one


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_api_server_in_trouble_is_no_reason_to_give_up(shop, between, v2, trouble):
    arguments = shop.arguments([{"name": trouble, "image": v2}])
    run = start_module("service_rollout", **{**arguments, "kubeconfig": str(between.kubeconfig)})
    until(lambda: shop.image(trouble) == v2, what="it is patched")
    if trouble == "away":
        between.go_away(5)
    else:
        between.forget = 4 if trouble == "forgotten" else 0
        for _ in range(3):
            asked = between.requests
            assert between.cut()
            until(lambda asked=asked: between.requests > asked, what="it asks again")
    result = finish_module(run)
    assert not result["failed"], result["msg"]
    assert result["services"][0]["outcome"] == "healthy"
    assert between.forget == 0


class Users:
    """Two who ask for /version without a pause, each time anew."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[str] = []
        self.lost: list[str] = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(2)]

    def ask(self) -> None:
        while not self.ended.wait(0.02):
            try:
                with urllib.request.urlopen(self.url, timeout=20) as answer:
                    self.answers.append(answer.read().decode().strip())
            except OSError as error:
                self.lost.append(str(error))

    def __enter__(self) -> Users:
        for thread in self.threads:
            thread.start()
        until(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_) -> None:
        count = len(self.answers)
        until(lambda: len(self.answers) > count + 20)
        self.ended.set()
        for thread in self.threads:
            thread.join(30)


def test_no_request_is_lost_whether_it_goes_well_or_not(shop, sandbox, v2):
    port = shop.get("service", "front")["spec"]["ports"][0]["nodePort"]
    v3 = tiny(sandbox["REGISTRY"], "v3")
    with Users(f"http://127.0.0.1:{port}/version") as users:
        good = shop.rollout([{"name": "front", "image": v3}])
        bad = shop.rollout([{"name": "front", "image": v2}], graces={"not_ready": 3})
    assert not good["failed"], good["msg"]
    assert bad["rolled_back"] == ["front"], bad["msg"]
    assert not users.lost, users.lost[:5]
    assert set(users.answers) == {"v1", "v3"}
    assert users.answers[-1] == "v3"


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True, text=True)


def test_a_tag_that_moves(shop, sandbox, v1, v2):
    tag = f"{sandbox['REGISTRY']}/t/moved-{uuid.uuid4().hex[:8]}:now"

    def push(image):
        docker("tag", image, tag)
        docker("push", "--quiet", tag)

    def served():
        (pod,) = [
            one
            for one in shop.items("pods")
            if one["metadata"]["labels"]["name"] == "moved" and "deletionTimestamp" not in one["metadata"]
        ]
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/version", timeout=20) as answer:
            return answer.read().decode().strip()

    asked = {"services": [{"name": "moved", "image": tag}], "resolve_digests": True}
    try:
        push(v1)
        first = shop.rollout(**asked)
        assert first["by_name"]["moved"]["after"]["images"]["app"].startswith(f"{tag}@sha256:"), first
        assert not shop.rollout(**asked)["changed"]
        push(v2)
        second = shop.rollout(**asked)
        assert second["by_name"]["moved"]["outcome"] == "healthy", second["msg"]
        assert served() == "v2"
    finally:
        docker("rmi", tag)
    gone = shop.rollout([{"name": "moved", "image": f"{tag}-not"}], resolve_digests=True)
    assert f"its registry has no image {tag}-not" in gone["msg"]
    assert "Nothing was touched" in gone["msg"]
    away = shop.rollout([{"name": "moved", "image": "127.0.0.1:1/t/moved:now"}], resolve_digests=True, check=True)
    assert "was not resolved to a digest" in json.dumps(away.get("warnings"))
