from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sandbox.traffic import Traffic


class Server(ThreadingHTTPServer):
    status = 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.send_header("X-Service-Version", "v7")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_counts_answers_and_versions(server):
    with Traffic(f"http://127.0.0.1:{server.server_port}", ["identity.x", "wallet.x"], rate=200) as traffic:
        traffic.await_sent(20)
    assert traffic.result.failed == 0
    assert set(traffic.result.answers) == {"200"}
    assert {name: set(seen) for name, seen in traffic.result.versions.items()} == {"identity": {"v7"}, "wallet": {"v7"}}


def test_an_error_is_a_failure_that_says_what_and_where(server):
    server.status = 500
    with Traffic(f"http://127.0.0.1:{server.server_port}", ["agent.x"], rate=200) as traffic:
        traffic.await_sent(5)
    assert traffic.result.failed == traffic.result.sent
    assert {(one.service, one.cause) for one in traffic.result.failures} == {("agent", "500")}


def test_a_refused_connection_is_a_failure():
    closed = Server(("127.0.0.1", 0), Handler)
    closed.server_close()
    with Traffic(f"http://127.0.0.1:{closed.server_port}", rate=200) as traffic:
        traffic.await_sent(5)
    assert set(traffic.result.answers) == {"ConnectionRefusedError"}
    assert traffic.result.failed == traffic.result.sent
