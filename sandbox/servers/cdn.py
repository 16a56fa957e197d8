"""A CDN's edge in front of moto's buckets: caches by Cache-Control and drops what a completed invalidation names.

Viewers are told apart by host name, as aliases of distributions. Errors are passed on and never kept.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.servers.invalidations import lifetime, matches
from sandbox.servers.web import Handler, serve

PASSED_ON = ("Content-Type", "Cache-Control", "ETag", "Last-Modified", "Content-Encoding", "Content-Disposition")
# moto reads no more of a signature than the service that it is for.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=cdn/20260101/eu-west-1/s3/aws4_request, Signature=0"}


@dataclass
class Kept:
    """An object in the cache. `fetched` is when its fetch began, in seconds."""

    body: bytes
    headers: dict[str, str]
    fetched: float
    seconds: float


def usable(kept: Kept, path: str, invalidations: list[dict[str, Any]], now: float) -> bool:
    """Whether a kept object may still be given: young enough, and no later invalidation names it."""
    if now - kept.fetched >= kept.seconds:
        return False
    later = [pattern for done in invalidations if done["at"] >= kept.fetched for pattern in done["paths"]]
    return not any(matches(pattern, path) for pattern in later)


class Origin:
    """moto over HTTP, a connection a thread."""

    def __init__(self, port: int):
        self.port = port
        self.local = threading.local()

    def get(self, path: str, headers: dict[str, str]) -> tuple[int, http.client.HTTPMessage, bytes]:
        for attempt in (1, 2):  # a kept connection may have been closed meanwhile
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.local.connection = None
                if attempt == 2:
                    raise
        raise AssertionError


class Cdn(Handler):
    origin: Origin
    cache: dict[tuple[str, str], Kept] = {}

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        try:
            self.give(path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.answer(502, f"the origin does not answer: {error}\n".encode(), "text/plain")

    do_HEAD = do_GET

    def give(self, path: str) -> None:
        if path == "/" and "Host" in self.headers and self.headers["Host"].startswith("127.0.0.1"):
            self.answer(200, {"kept": len(self.cache)})
            return
        distribution = self.distribution((self.headers.get("Host") or "").partition(":")[0].lower())
        if distribution is None:
            self.answer(403, b"no distribution has this host name\n", "text/plain")
            return
        # CloudFront keeps the root under its own path: invalidating /index.html does not drop /, nor the reverse.
        wanted = "/" + distribution["root_object"] if path == "/" else path
        now = time.time()
        key = (distribution["id"], path)
        kept = self.cache.get(key)
        if kept and usable(kept, path, distribution["invalidations"], now):
            self.send(200, kept.headers, kept.body, "Hit from the CDN", age=int(now - kept.fetched))
            return
        status, given, body = self.origin.get(f"/{distribution['bucket']}{distribution['origin_path']}{wanted}", SIGNED)
        headers = {name: given[name] for name in PASSED_ON if name in given}
        if status == 200:
            seconds = lifetime(headers.get("Cache-Control", ""))
            self.cache.pop(key, None)
            if seconds:
                self.cache[key] = Kept(body, headers, now, seconds)
        self.send(status, headers, body, "Miss from the CDN")

    def distribution(self, host: str) -> dict[str, Any] | None:
        oldest = min((kept.fetched for kept in list(self.cache.values())), default=time.time())
        _status, _headers, body = self.origin.get(f"/sandbox/distributions?since={oldest}", {})
        for found in json.loads(body):
            if found["enabled"] and host in found["hosts"]:
                return dict(found)
        return None

    def send(self, status: int, headers: dict[str, str], body: bytes, cache: str, age: int = 0) -> None:
        if status == 200 and headers.get("ETag") and headers["ETag"] == self.headers.get("If-None-Match"):
            status, body = 304, b""
        extra = {"X_Cache": cache, "Via": "1.1 sandbox", "Age": str(age)}
        kind = headers.get("Content-Type", "application/octet-stream")
        others = {name: value for name, value in headers.items() if name != "Content-Type"}
        self.answer(status, body, kind, **others, **extra)

    def log_message(self, *_: Any) -> None:
        """Errors alone are worth a line."""


if __name__ == "__main__":
    Cdn.origin = Origin(int(sys.argv[2]))
    serve(Cdn, int(sys.argv[1]))
