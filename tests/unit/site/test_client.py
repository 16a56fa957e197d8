from __future__ import annotations

import http.server
import io
import threading

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import client


class Storage(http.server.BaseHTTPRequestHandler):
    """Takes whatever is put, and notes whether it was asked first."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.headers.get("Expect", ""))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def storage():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    server.daemon_threads = True
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_in_memory_goes_with_its_request_and_a_file_asks_first(storage, tmp_path):
    file = tmp_path / "large"
    file.write_bytes(b"x")
    keys = {"access_key": "a", "secret_key": "b", "region": "eu-west-1"}
    s3 = client("s3", {"endpoint_url": f"http://127.0.0.1:{storage.server_port}", **keys}, attempts=1)
    for body in (b"x", io.BytesIO(b"x"), b""):
        s3.put_object(Bucket="b", Key="k", Body=body)
    with file.open("rb") as body:
        s3.put_object(Bucket="b", Key="k", Body=body)
    assert storage.asked == ["", "", "", "100-continue"]
