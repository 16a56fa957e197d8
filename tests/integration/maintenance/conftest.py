from __future__ import annotations

import http.server
import threading

import pytest


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)  # the proxy is another user
    yield tmp_path
    # The watchdog ends with the switch.
    (tmp_path / "on").unlink(missing_ok=True)


@pytest.fixture
def proxy(folder):
    """Answers as the sandbox's proxy does: 503 with Retry-After while the file is there."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            on = (folder / "on").exists()
            self.send_response(503 if on else 200)
            if on:
                self.send_header("Retry-After", "120")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
