"""Prometheus: odd answers of a strict fake, and a real server of this test's own with metrics that are turned up."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.gate.gate import Gate
from ansible_collections.eazepay.ops.plugins.module_utils.gate.monitor import Monitor
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import read
from ansible_collections.eazepay.ops.plugins.module_utils.gate.probes import probe

from tests.integration.gate.servers import serving, until


def ask(url, query="q", since=None, no_data="fail", **options):
    [check] = read([{"name": "it", "no_data": no_data, "prometheus": {"url": url, "query": query, **options}}])
    return probe("prometheus", check["prometheus"], since)


class Fake(BaseHTTPRequestHandler):
    """Answers queries by their text; refuses what Prometheus refuses."""

    def log_message(self, *_arguments):
        pass

    def do_POST(self):
        asked = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        query = asked["query"][0]
        self.server.seen.append((self.path, asked))
        status, body = self.server.answers[query]
        if self.path == "/api/v1/query_range" and not {"start", "end", "step"} <= set(asked):
            status, body = 400, "missing"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def success(*values, **more):
    rows = [{"metric": {"n": str(number)}, "value": [1, value]} for number, value in enumerate(values)]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": rows}, **more}


@pytest.mark.parametrize(
    "answer, verdict, said",
    [
        (success("0.0005"), "pass", "not above"),
        (success("0.005"), "warn", "above the target"),
        (success("0.05"), "fail", "above the alert"),
        (success(), "no_data", "no series"),
        (success("NaN"), "no_data", "no number"),
        (success("+Inf"), "fail", "infinite"),
        (success("-Inf"), "error", "infinite"),
        (success("0", "0"), "error", "2 series, not 1"),
        (success("0", warnings=["partial response"]), "pass", "Prometheus warns: partial response"),
        ((200, b"<html>Sign in</html>"), "error", "no JSON of Prometheus"),
        ((200, b"[]"), "error", "no JSON of Prometheus"),
        ((200, {"status": "success"}), "error", "thing without a type"),
        ((503, b"Service Unavailable"), "error", "status 503"),
        ((503, success("0")[1]), "error", "status 503"),
        ((302, b""), "error", "status 302"),
        ((422, {"status": "error", "errorType": "execution", "error": "many-to-many"}), "error", "many-to-many"),
        ((200, {"status": "error", "errorType": "timeout", "error": "query timed out"}), "error", "timed out"),
    ],
)
def test_odd_answers(answer, verdict, said):
    with serving(Fake) as fake:
        fake.answers = {"q": answer}
        sample = ask(fake.url, warn=0.001, fail=0.01, unit="ratio")
        assert sample.verdict == verdict, sample
        assert said in sample.reason


def test_nobody_there():
    sample = ask("http://user:geheim@127.0.0.1:9", fail=1)
    assert sample.verdict == "error"
    assert "gave no answer" in sample.reason
    assert "geheim" not in sample.reason


def test_a_prometheus_that_is_away_for_a_while():
    with serving(Fake) as fake:
        fake.answers = {"q": (503, b"Service Unavailable")}
        checks = read([{"name": "it", "no_data": "pass", "prometheus": {"url": fake.url, "query": "q", "fail": 1}}])
        # A watch takes it for an alert, whatever a lack of data means to it.
        monitor = Monitor(checks, 0.05, 3).start()
        until(monitor.breach)
        monitor.stop()
        assert "status 503" in monitor.breach()
        # Who waits for it to come back goes on then.
        gate = Gate(checks, interval=0.05)
        waiting = threading.Thread(target=gate.become, args=(300, 2))
        waiting.start()
        until(lambda: len(fake.seen) > 8)
        assert waiting.is_alive()
        fake.answers = {"q": success("0")}
        waiting.join(60)
        gate.close()
        assert gate.report()[0]["verdict"] == "pass"


def test_windows_begin_with_the_rollout():
    with serving(Fake) as fake:
        fake.answers = {"rate(x[100s])": success("0"), "rate(x[300s])": success("0")}
        now = time.time()
        assert ask(fake.url, "rate(x[$window])", fail=1).verdict == "pass"
        assert ask(fake.url, "rate(x[$window])", fail=1, since=now - 3000).verdict == "pass"
        assert ask(fake.url, "rate(x[$window])", fail=1, since=now - 5).verdict == "no_data"
        [check] = read([{"name": "i", "prometheus": {"url": fake.url, "query": "rate(x[$window])", "fail": 1}}])
        from ansible_collections.eazepay.ops.plugins.module_utils.gate.prometheus import check as direct

        sample = direct(check["prometheus"], since=now - 100, now=now)
        assert sample.details["query"] == "rate(x[100s])"


def test_volume():
    with serving(Fake) as fake:
        for count, verdict in (("49", "no_data"), ("50", "pass"), ("NaN", "no_data")):
            fake.answers = {"n": success(count), "q": success("0")}
            sample = ask(fake.url, fail=1, volume={"query": "n", "min": 50})
            assert sample.verdict == verdict, sample
        fake.answers["n"] = success()
        assert ask(fake.url, fail=1, volume={"query": "n", "min": 0}).verdict == "no_data"


class Metrics(BaseHTTPRequestHandler):
    """What is scraped: counters that the test turns."""

    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        body = "".join(f"{name} {value}\n" for name, value in self.server.metrics.items()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def start_prometheus(folder, job):
    """A Prometheus that scrapes five times a second; its process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "prometheus.yml"
    scraping = {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
    config.write_text(json.dumps({"global": scraping, "scrape_configs": [job]}))
    program = shutil.which("prometheus")
    assert program, "Prometheus is missing"
    listening = f"--web.listen-address=127.0.0.1:{port}"
    argv = [program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data", listening]
    started = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return started, f"http://127.0.0.1:{port}"


class Real:
    """A Prometheus that scrapes one endpoint, and traffic that the test can spoil."""

    def __init__(self, folder, metrics):
        self.metrics = metrics.metrics = {
            'http_requests_total{service="wallet",code="200"}': 0,
            'http_requests_total{service="wallet",code="500"}': 0,
            'memory{service="wallet"}': 100,
            'swing{service="wallet"}': 100,
        }
        job = {"job_name": "it", "static_configs": [{"targets": [f"127.0.0.1:{metrics.port}"]}]}
        self.process, self.url = start_prometheus(folder, job)
        self.bad = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.traffic, daemon=True)
        self.thread.start()

    def traffic(self):
        """A hundred requests at a time, of which ``bad`` fail."""
        good, failed = list(self.metrics)[:2]
        while not self.ended.wait(0.1):
            self.metrics[good] += 100 - self.bad
            self.metrics[failed] += self.bad

    def value(self, query):
        with urllib.request.urlopen(f"{self.url}/api/v1/query?query={urllib.parse.quote(query)}") as answer:
            rows = json.load(answer)["data"]["result"]
        return float(rows[0]["value"][1]) if rows else None

    def close(self):
        self.ended.set()
        self.thread.join()
        self.process.terminate()
        self.process.wait()


RATIO = (
    'sum(rate(http_requests_total{service="wallet",code=~"5.."}[$window]))'
    ' / sum(rate(http_requests_total{service="wallet"}[$window]))'
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with serving(Metrics) as metrics:
        metrics.metrics = {}
        server = Real(tmp_path_factory.mktemp("prometheus"), metrics)
        try:

            def ready():
                try:
                    return server.value("sum(rate(http_requests_total[10s]))")
                except OSError:
                    return None

            until(ready)
            yield server
        finally:
            server.close()


def test_a_real_prometheus(real):
    query = RATIO.replace("$window", "10s")
    sample = ask(real.url, RATIO, window=10, min_window=1, warn=0.001, fail=0.01, unit="ratio")
    assert sample.verdict == "pass", sample
    real.bad = 2
    until(lambda: (real.value(query) or 0) > 0.015)
    sample = ask(real.url, RATIO, window=10, min_window=1, warn=0.001, fail=0.01, unit="ratio")
    assert sample.verdict == "fail", sample
    assert "above the alert of 1 %" in sample.reason
    real.bad = 0
    until(lambda: (real.value(query) or 0) == 0)


def test_what_a_real_prometheus_does_not_know(real):
    assert ask(real.url, "nothing_of_the_kind", fail=1).verdict == "no_data"
    assert ask(real.url, "http_requests_total", fail=1e12).verdict == "error"
    assert ask(real.url, "http_requests_total", fail=1e12, series=2).verdict == "pass"
    assert ask(real.url, "sum(rate(nothing[1m])) / sum(rate(nothing[1m]))", fail=1).verdict == "no_data"
    assert ask(real.url, "vector(0) / vector(0)", fail=1).verdict == "no_data"
    assert ask(real.url, "1 / 0", fail=1).verdict == "fail"
    assert ask(real.url, "rate(", fail=1).verdict == "error"


def test_a_range_of_a_real_prometheus(real):
    sample = ask(real.url, "max(swing)", step=1, window=5, min_window=1, fail=200)
    assert sample.verdict == "pass", sample
    real.metrics['swing{service="wallet"}'] = 500
    until(lambda: real.value("max(swing)") == 500)
    real.metrics['swing{service="wallet"}'] = 100
    until(lambda: real.value("max(swing)") == 100)
    sample = ask(real.url, "max(swing)", step=0.2, window=60, min_window=1, fail=200)
    assert sample.verdict == "fail", sample


def test_a_baseline_of_a_real_prometheus(real):
    now = time.time()
    real.metrics['memory{service="wallet"}'] = 1000
    until(lambda: real.value("max(memory)") == 1000)
    before = {"factor": 1.5, "floor": 10}
    [check] = read([{"name": "b", "prometheus": {"url": real.url, "query": "max(memory)", "baseline": before}}])
    sample = probe("prometheus", check["prometheus"], now)
    assert sample.verdict == "fail", sample
    assert "before:" in sample.reason
    generous = {"factor": 1.5, "floor": 5000}
    [check] = read([{"name": "b", "prometheus": {"url": real.url, "query": "max(memory)", "baseline": generous}}])
    assert probe("prometheus", check["prometheus"], now).verdict == "pass"
    assert probe("prometheus", check["prometheus"], None).verdict == "error"
