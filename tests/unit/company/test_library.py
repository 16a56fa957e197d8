"""The services' shared library, in this process and as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from sandbox.seed.base import LIBRARY
from sandbox.traffic import Traffic

PROGRAM = """
from eazepay import Problem, Service
service = Service({folder!r})

@service.route("GET", "/things/<thing>")
def show(_body, thing):
    if thing == "none":
        raise Problem(404, "no such thing")
    return 200, {{"thing": thing}}

service.run()
"""


@pytest.fixture(autouse=True)
def library(monkeypatch):
    monkeypatch.syspath_prepend(str(LIBRARY))


@pytest.mark.parametrize("percent", [2, 10, 20, 33])
def test_errors_strike_exactly_that_share(percent):
    from eazepay.faults import Fault

    fault = Fault({"fault": "errors", "fault_percent": percent}, {})
    assert sum(fault.strikes() for _ in range(1000)) == percent * 10


def test_an_unknown_fault_is_refused():
    from eazepay.faults import Fault

    with pytest.raises(ValueError, match="none of"):
        Fault({"fault": "eror"}, {})


def test_buckets_are_cumulative_and_codes_never_absent():
    from eazepay.metrics import Metrics

    metrics = Metrics("a-service", "v1")
    for seconds in (0.001, 0.02, 9.0):
        metrics.observe(201, seconds)
    lines = metrics.text().splitlines()
    labels = 'service="a-service",version="v1"'
    for line in (
        f'http_requests_total{{{labels},code="201"}} 3',
        f'http_requests_total{{{labels},code="500"}} 0',
        f'http_request_duration_seconds_bucket{{{labels},le="0.005"}} 1',
        f'http_request_duration_seconds_bucket{{{labels},le="5.0"}} 2',
        f'http_request_duration_seconds_bucket{{{labels},le="+Inf"}} 3',
        f"http_request_duration_seconds_count{{{labels}}} 3",
    ):
        assert line in lines


class Process:
    def __init__(self, folder, **environment):
        (folder / "service.json").write_text(json.dumps({"name": "a-service", "database": "none"}))
        (folder / "program.py").write_text(PROGRAM.format(folder=str(folder)))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "PORT": str(self.port), "RELEASE": "v3", **environment}
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "program.py")], env=environment, stdout=subprocess.PIPE, text=True
        )

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def await_health(self, status=200):
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.get("/health")[0] == status:
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def start(tmp_path):
    started = []

    def one(**environment):
        started.append(Process(tmp_path, **environment))
        return started[-1]

    yield one
    for each in started:
        each.process.kill()
        each.process.wait(30)
        if each.process.stdout:
            each.process.stdout.close()


def test_pages(start):
    service = start()
    service.await_health()
    assert json.loads(service.get("/version")[1]) == {"service": "a-service", "version": "v3"}
    assert service.get("/things/pen") == (200, '{"thing": "pen"}')
    assert service.get("/things/none") == (404, '{"error": "no such thing"}')
    assert service.get("/nowhere")[0] == 404
    assert 'http_requests_total{service="a-service",version="v3",code="404"} 2' in service.get("/metrics")[1]


def test_sigterm_makes_it_unready_and_ends_it_without_losing_a_request(start):
    service = start(LINGER="4")
    service.await_health()
    with Traffic(f"http://127.0.0.1:{service.port}", ["a.x"], rate=50) as traffic:
        traffic.await_sent(20)
        service.process.send_signal(signal.SIGTERM)
        service.await_health(503)
        sent = traffic.result.sent
        traffic.await_sent(20)  # it still serves
        assert service.process.wait(60) == 0
    # Once it listens no more, a connection is refused, and a proxy goes elsewhere: nothing was sent.
    assert set(traffic.result.answers) <= {"200", "ConnectionRefusedError"}
    assert traffic.result.answers["200"] >= sent + 20


def test_a_crash_ends_with_1_and_says_why(start):
    service = start(FAULT="crash")
    output, _ = service.process.communicate(timeout=60)
    assert service.process.returncode == 1
    assert "LEDGER_URL" in json.loads(output)["message"]


def test_an_unready_service_lives(start):
    service = start(FAULT="unready")
    service.await_health(503)
    assert service.get("/live")[0] == 200


def test_a_slow_service_is_slow_for_users_only(start):
    service = start(FAULT="slow", FAULT_SECONDS="1.5")
    service.await_health()
    began = time.monotonic()
    assert service.get("/")[0] == 200
    assert time.monotonic() - began >= 1.5
    assert 'le="1.0"} 0' in service.get("/metrics")[1]
