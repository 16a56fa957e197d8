"""Servers that do what servers should not: each path of `Hostile` is another way to break a client."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import ipaddress
import json
import socket
import ssl
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Clients that hang up are what these tests are about."""


class Hostile(BaseHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass

    def answer(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        seen = self.server.seen
        seen.append((self.command, self.path, dict(self.headers)))
        name = self.path.strip("/").split("/")[0].split("?")[0].replace("-", "_")
        getattr(self, f"on_{name}", self.on_missing)()

    do_POST = do_HEAD = do_GET

    def read(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def on_missing(self):
        self.answer(b"no such page", 404)

    def on_ok(self):
        self.answer(json.dumps({"status": "UP", "parts": [{"n": 3}]}).encode())

    def on_down(self):
        self.answer(json.dumps({"status": "DOWN"}).encode(), 503)

    def on_html(self):
        self.answer(b"<html>Welcome</html>")

    def on_later(self):
        """Well from the third request on."""
        count = sum(path == self.path for _method, path, _headers in self.server.seen)
        self.answer(b"{}", 200 if count >= 3 else 503)

    def on_slow(self):
        self.server.ended.wait(30)
        self.answer(b"{}")

    def on_drip(self):
        """A byte now and then: no single read ever takes long."""
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.ended.wait(0.2):
                self.wfile.write(b"x")

    def on_drip_header(self):
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
            while not self.server.ended.wait(0.2):
                self.wfile.write(b"x")

    def on_endless(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.ended.is_set():
                self.wfile.write(b"x" * 65536)

    def on_headers(self):
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(10000):
                self.wfile.write(b"X-%d: y\r\n" % number)

    def on_bomb(self):
        self.answer(gzip.compress(b"\0" * 30_000_000), Content_Encoding="gzip")

    def on_zipped(self):
        self.answer(gzip.compress(b'{"status": "UP"}'), Content_Encoding="gzip")

    def on_short(self):
        self.answer(b"{}", Content_Length="50")
        self.close_connection = True

    def on_reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def on_nothing(self):
        self.close_connection = True

    def on_nonsense(self):
        self.wfile.write(b"SSH-2.0-OpenSSH_9\r\n")
        self.close_connection = True

    def on_loop(self):
        self.answer(b"", 302, Location="/loop")

    def on_moved(self):
        self.answer(b"", 302, Location="/ok")

    def on_away(self):
        self.answer(b"", 302, Location=self.server.elsewhere)

    def on_deep(self):
        self.answer(b"[" * 100000 + b"]" * 100000)

    def on_wallets(self):
        """A tiny wallet service."""
        parts = self.path.strip("/").split("/")
        if self.command == "POST" and len(parts) == 1:
            number = f"w {len(self.server.wallets)}/1"
            self.server.wallets[number] = 0
            self.answer(json.dumps({"id": number, "owner": self.read()["owner"]}).encode(), 201)
            return
        from urllib.parse import unquote

        number = unquote(parts[1])
        if number not in self.server.wallets:
            self.answer(b"{}", 404)
            return
        if self.command == "POST":
            self.server.wallets[number] += self.read()["amount"]
        self.answer(json.dumps({"id": number, "balance": self.server.wallets[number]}).encode())


@contextlib.contextmanager
def serving(handler=Hostile, tls=None, address="127.0.0.1"):
    """A server on a free port; ``.url`` is its address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = type("Made", (Server,), {"address_family": family})((address, 0), handler)
    made.seen, made.wallets, made.ended, made.elsewhere = [], {}, threading.Event(), ""
    if tls:
        # The handshake belongs to the thread of the connection, not to the one that accepts.
        made.socket = tls.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    made.port = made.server_address[1]
    made.url = f"http{'s' if tls else ''}://{f'[{address}]' if ':' in address else address}:{made.port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.ended.set()
        made.shutdown()
        made.server_close()
        thread.join()


class Authority:
    """Signs certificates, valid from a day ago: clocks differ."""

    def __init__(self, folder, name="Authority of a test"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(self.name, self.key, 3650, authority=True)
        self.file = str(folder / "ca.pem")
        (folder / "ca.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, subject, key, days, names=(), authority=False):
        now = datetime.datetime.now(datetime.timezone.utc)
        begin = now - datetime.timedelta(days=400 if days < 0 else 1)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return built.sign(self.key, hashes.SHA256())

    def issue(self, name, days=90, names=None):
        """A file with certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = names or [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        signed = self.sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days, names)
        file = self.folder / f"{name}.pem"
        file.write_bytes(
            signed.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(file)

    def context(self, name, days=90, names=None, client=False):
        """How a server speaks TLS with a new certificate."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.issue(name, days, names))
        if client:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(self.file)
        return made


def until(condition, seconds=90):
    """Waits for a condition, for long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
