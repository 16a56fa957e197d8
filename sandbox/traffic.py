"""People at work: registers users, opens wallets, pays, and counts what fails.

`python -m sandbox traffic --url http://127.0.0.1:18080 --seconds 30`, or in a test:

    with Traffic(url) as traffic:
        ...
    assert traffic.result.failed == 0
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

SERVICES = ("identity", "biometric", "transaction", "wallet", "agent", "ussd")
DOMAIN = "eazepay.test"
FLOWS: dict[str, tuple[tuple[str, str, dict[str, Any] | None], ...]] = {
    "identity": (("POST", "/register", {"name": "Traffic", "phone": "+254700000000"}), ("GET", "/users/1", None)),
    "biometric": (
        ("POST", "/verify", {"user": "User 1", "digest": "c4ca4238a0b923820dcc509a6f75849b"}),
        ("GET", "/", None),
    ),
    "transaction": (
        ("POST", "/transactions", {"sender": "User 1", "receiver": "User 2", "amount": 100}),
        ("GET", "/transactions/1", None),
    ),
    "wallet": (("POST", "/wallets/1/deposit", {"amount": 1}), ("GET", "/wallets/1", None)),
    "agent": (("GET", "/agents/1", None), ("GET", "/", None)),
    "ussd": (("POST", "/sessions", {"phone": "+254700000000"}), ("GET", "/", None)),
}


@dataclass(frozen=True)
class Failure:
    """One request that failed; `at` in seconds since the traffic began."""

    at: float
    service: str
    request: str
    cause: str  # an HTTP status, or an exception
    retry_after: str = ""  # what the answer said of it


@dataclass
class Result:
    """What came of the requests. A 4xx fails too: every request that is made is a right one."""

    answers: Counter[str] = field(default_factory=Counter)  # by status, or by exception
    versions: dict[str, Counter[str]] = field(default_factory=dict)  # service -> version -> answers
    failures: list[Failure] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def sent(self) -> int:
        return sum(self.answers.values())

    @property
    def failed(self) -> int:
        return len(self.failures)

    def summary(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "failed": self.failed,
            "answers": dict(sorted(self.answers.items())),
            "versions": {name: dict(sorted(seen.items())) for name, seen in sorted(self.versions.items())},
            "slowest_seconds": round(self.slowest, 3),
            "first_failures": [vars(failure) for failure in self.failures[:5]],
        }


class Traffic:
    """Sends `rate` requests a second in turn to the services, each on a connection of its own.

    `hosts` are Host headers (default: all six services of the company); `workers` bounds how many wait for an answer.
    """

    def __init__(
        self,
        url: str,
        hosts: Sequence[str] = (),
        rate: float = 20.0,
        workers: int = 4,
        timeout: float = 20.0,
    ):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        names = hosts or [f"{name}.{DOMAIN}" for name in SERVICES]
        # First each service's first request, then each one's second, and so on.
        rounds = itertools.zip_longest(*([(host, *flow) for flow in flows(host)] for host in names))
        self.requests = [request for row in rounds for request in row if request]
        self.pause = 1 / rate
        self.workers = workers
        self.timeout = timeout
        self.result = Result()
        self.lock = threading.Lock()
        self.turn = itertools.count()
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []
        self.began = 0.0

    def __enter__(self) -> Traffic:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> Traffic:
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(self.workers)]
        for thread in self.threads:
            thread.start()
        return self

    def stop(self) -> Result:
        """Ends after the requests under way."""
        self.ended.set()
        for thread in self.threads:
            thread.join(self.timeout + 5)
        return self.result

    def await_sent(self, number: int, seconds: float = 60) -> None:
        """Blocks until that many more requests have been answered; TimeoutError when that takes too long."""
        wanted, deadline = self.result.sent + number, time.monotonic() + seconds
        while self.result.sent < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.result.sent} of {wanted} requests answered after {seconds:.0f} s")
            time.sleep(0.05)

    def work(self) -> None:
        while not self.ended.is_set():
            with self.lock:
                turn = next(self.turn)
            wait = self.began + turn * self.pause - time.monotonic()
            # One that is late is sent at once, so that the number sent does not depend on how fast the answers are.
            if wait > 0 and self.ended.wait(wait):
                return
            self.one(*self.requests[turn % len(self.requests)])

    def one(self, host: str, method: str, path: str, body: dict[str, Any] | None) -> None:
        began = time.monotonic()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        version = retry_after = ""
        try:
            data = json.dumps(body) if body is not None else None
            connection.request(method, path, data, {"Host": host, "Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            outcome, good = str(answer.status), answer.status < 400
            version = answer.headers.get("X-Service-Version", "")
            retry_after = answer.headers.get("Retry-After", "")
        except (OSError, http.client.HTTPException) as error:
            outcome, good = type(error).__name__, False
        finally:
            connection.close()
        with self.lock:
            service = host.partition(".")[0]
            self.result.answers[outcome] += 1
            self.result.slowest = max(self.result.slowest, time.monotonic() - began)
            if version:
                self.result.versions.setdefault(service, Counter())[version] += 1
            if not good:
                at = round(began - self.began, 3)
                self.result.failures.append(Failure(at, service, f"{method} {path}", outcome, retry_after))


def flows(host: str) -> tuple[tuple[str, str, dict[str, Any] | None], ...]:
    """What is asked of a service, by the first label of its host name."""
    return FLOWS.get(host.partition(".")[0], (("GET", "/", None),))


def arguments(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("COMPOSE_EDGE_URL", "http://127.0.0.1:18080")
    parser.add_argument("--url", default=default, help="where users enter (default: %(default)s)")
    parser.add_argument(
        "--host", action="append", default=[], help="a Host header; may be given again (default: all six)"
    )
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long (default: until Ctrl-C or SIGTERM)")


def main(given: argparse.Namespace) -> int:
    """A line a second, then a summary as JSON; 1 when a request failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    traffic = Traffic(given.url, given.host, given.rate)
    deadline = time.monotonic() + given.seconds if given.seconds else float("inf")
    try:
        with traffic:
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(1.0, left))
                print(f"traffic: {traffic.result.sent} sent, {traffic.result.failed} failed", flush=True)
    except KeyboardInterrupt:
        pass
    print(json.dumps(traffic.result.summary(), indent=2))
    return 1 if traffic.result.failed else 0
