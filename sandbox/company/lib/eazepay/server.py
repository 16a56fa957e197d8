"""The HTTP server of a service: routes, health, version, metrics, and an end that loses no request."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

from eazepay.database import Database, Unavailable
from eazepay.faults import Fault
from eazepay.metrics import Metrics

LINGER = float(
    os.environ.get("LINGER", "2")
)  # seconds of full service after SIGTERM, while proxies learn of the replacement
DRAIN = 2.0  # seconds that requests under way have after that


class Problem(Exception):
    """An answer that is the caller's fault."""

    def __init__(self, status: int, error: str):
        super().__init__(error)
        self.status = status
        self.error = error


class Service:
    """One service. Routes are added with `route`; `run` serves until SIGTERM."""

    def __init__(self, folder: str | Path):
        description = json.loads((Path(folder) / "service.json").read_text())
        self.name: str = description["name"]
        self.port = int(os.environ.get("PORT", description.get("port", 8080)))
        self.version = os.environ.get("RELEASE") or "unreleased"
        self.health_path: str = description.get("health", "/health")
        self.fault = Fault(description, os.environ)
        self.database = Database(os.environ.get("PGDATABASE") or description["database"], self.name)
        self.metrics = Metrics(self.name, self.version)
        self.routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = []
        self.stopping = threading.Event()
        self.route("GET", "/")(lambda _body: (200, {"service": self.name, "version": self.version}))

    def route(self, method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """`<name>` in the path matches one segment. The function gets the body and the segments: (status, answer)."""
        pattern = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", path))

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self.routes.append((method, pattern, function))
            return function

        return add

    def own_page(self, path: str) -> tuple[int, Any] | None:
        """What operators and probes ask for."""
        if path == self.health_path:
            down = self.stopping.is_set() or self.fault.kind == "unready"
            who = {"service": self.name, "version": self.version}
            return (503, {"status": "DOWN", **who}) if down else (200, {"status": "UP", **who})
        if path == "/live":
            return 200, {"status": "UP"}
        if path == "/ready":
            answers = self.database.answers()
            return (200 if answers else 503), {"database": "UP" if answers else "DOWN"}
        if path == "/version":
            return 200, {"service": self.name, "version": self.version}
        if path == "/metrics":
            return 200, self.metrics.text()
        return None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.fault.strikes():
            self.log("ERROR", f"{method} {path}: internal error")
            return 500, {"error": "internal error"}
        allowed = False
        for wanted, pattern, function in self.routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            allowed = True
            if wanted == method:
                try:
                    result: tuple[int, Any] = function(body, **match.groupdict())
                    return result
                except Problem as problem:
                    return problem.status, {"error": problem.error}
                except Unavailable as error:
                    self.log("ERROR", f"{method} {path}: database: {error}")
                    return 503, {"error": "the database does not answer"}
                except Exception as error:
                    self.log("ERROR", f"{method} {path}: {type(error).__name__}: {error}")
                    return 500, {"error": "internal error"}
        return (405, {"error": "method not allowed"}) if allowed else (404, {"error": "not found"})

    def log(self, level: str, text: str) -> None:
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": level, "service": self.name}
        print(json.dumps({**entry, "version": self.version, "message": text}), flush=True)

    def run(self) -> None:
        if self.fault.kind == "crash":
            self.log("ERROR", "cannot start: configuration key LEDGER_URL is not set")
            sys.exit(1)
        server = Server(self)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=self.end, args=(server,)).start())
        self.log("INFO", f"serving on port {self.port}")
        server.serve_forever(poll_interval=0.05)
        server.accept_rest()
        server.server_close()
        server.await_requests(DRAIN)
        self.log("INFO", "ended")
        # Connections that are kept alive without a request under way must not hold the process.
        os._exit(0)

    def end(self, server: Server) -> None:
        if self.stopping.is_set():
            return
        self.stopping.set()
        self.log("INFO", "SIGTERM: not ready any more")
        time.sleep(LINGER)
        server.shutdown()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, service: Service):
        self.service = service
        self.active = 0
        self.idle = threading.Condition()
        super().__init__(("", service.port), Handler)

    def accept_rest(self) -> None:
        """Takes what waits to be accepted: closing the socket would reset it, and with it requests already sent."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.process_request(*self.get_request())

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.idle:
            self.active += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.idle:
                self.active -= 1
                self.idle.notify_all()

    def await_requests(self, seconds: float) -> None:
        with self.idle:
            self.idle.wait_for(lambda: not self.active, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.service.log("ERROR", f"{type(error).__name__}: {error}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True
    server: Server

    def handle_request(self) -> None:
        service = self.server.service
        path = self.path.partition("?")[0]
        began = time.monotonic()
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        page = service.own_page(path) if self.command in ("GET", "HEAD") else None
        if page is not None:
            self.send(*page)
            return
        try:
            body = json.loads(raw) if raw else {}
            if not isinstance(body, dict):
                raise ValueError
        except ValueError:
            status, answer = 400, {"error": "the body is not a JSON object"}
        else:
            status, answer = service.answer("GET" if self.command == "HEAD" else self.command, path, body)
        # Counted before it is sent, so that who has the answer also finds it in the metrics.
        service.metrics.observe(status, time.monotonic() - began)
        self.send(status, answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    def send(self, status: int, answer: Any) -> None:
        plain = isinstance(answer, str)
        data = (answer if plain else json.dumps(answer, default=str)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8" if plain else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Service-Version", self.server.service.version)
        if self.server.service.stopping.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def version_string(self) -> str:
        return self.server.service.name

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted in the metrics; a line each would drown the log."""
