"""A proxy before S3 that does to requests what networks and busy services do."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

# What happens to one request: "throttle", "deny", "break" (the connection, before any answer), "cut" (it, in the middle
# of the answer), "spoil" (a bit of the upload); None lets it pass.
Rule = Callable[[str, str], "str | None"]


class Proxy:
    """The address to use, and the requests that came by: (method, path)."""

    def __init__(self, target: str, rule: Rule) -> None:
        self.target = urlsplit(target).netloc
        self.rule = rule
        self.seen: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.seen.append((request.command, request.path))
        fate = self.rule(request.command, request.path)
        if request.headers.get("Expect", "").lower() == "100-continue" and fate not in ("throttle", "deny"):
            request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        if fate == "break":
            request.rfile.read(min(int(request.headers.get("Content-Length", 0)), 1000))
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if fate in ("throttle", "deny"):
            answer = SLOW_DOWN if fate == "throttle" else DENIED
            request.send_response(503 if fate == "throttle" else 403)
            request.send_header("Content-Length", str(len(answer)))
            request.end_headers()
            request.wfile.write(answer)
            return
        if fate == "spoil":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        onward = http.client.HTTPConnection(self.target, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "expect")}
        onward.request(request.command, request.path, body, headers)
        answered = onward.getresponse()
        content = answered.read()
        request.send_response(answered.status)
        for name, value in answered.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                request.send_header(name, value)
        if not answered.getheader("Content-Length"):
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if fate == "cut":
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        request.wfile.write(content)
        onward.close()


@contextmanager
def between(target: str, rule: Rule) -> Iterator[Proxy]:
    proxy = Proxy(target, rule)
    thread = threading.Thread(target=proxy.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join()
