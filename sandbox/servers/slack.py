"""A Slack that records what it is sent, by webhook or by the Web API's chat methods, and can be told to misbehave.

POST /services/...            a webhook: any path below /services is one
POST /api/chat.postMessage    (and chat.update) answers like the Web API
GET  /messages?path=...       what arrived, oldest first; DELETE forgets it
POST /behaviour               {"path": "/services/...", "mode": ..., "times": 1, "retry_after": 1, "seconds": 5}
                              modes: ok, rate_limited (429), error (500), not_ok (200 with ok: false), slow,
                              no_service (404)
A behaviour is for one path, so tests with a webhook path each do not disturb one another. A refused message is recorded
with "accepted": false.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qs

from sandbox.servers.web import Handler, serve

KEEP = 2000
MODES = ("ok", "rate_limited", "error", "not_ok", "slow", "no_service")
messages: list[dict[str, Any]] = []
behaviours: dict[str, dict[str, Any]] = {}
guard = threading.Lock()


def payload(body: bytes, kind: str) -> Any:
    """What was sent: JSON, or a form with the JSON in `payload`."""
    # Some clients name JSON a form, as that is their default.
    if kind.startswith("application/x-www-form-urlencoded") and not body.lstrip().startswith(b"{"):
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        return json.loads(fields["payload"]) if "payload" in fields else fields
    return json.loads(body)


def mode_for(path: str) -> dict[str, Any]:
    """The behaviour due for a path now; one with `times` is used up by that many messages."""
    with guard:
        found = behaviours.get(path, {"mode": "ok"})
        if "times" in found:
            found["times"] -= 1
            if found["times"] <= 0:
                behaviours.pop(path)
        return dict(found)


class Slack(Handler):
    def do_GET(self) -> None:
        with guard:
            wanted = self.query.get("path")
            found = [message for message in messages if wanted in (None, message["path"])]
        self.answer(200, found)

    def do_DELETE(self) -> None:
        with guard:
            wanted = self.query.get("path")
            messages[:] = [message for message in messages if wanted not in (None, message["path"])]
            behaviours.clear() if wanted is None else behaviours.pop(wanted, None)
        self.answer(200, {"left": len(messages)})

    def do_POST(self) -> None:
        body = self.body()
        try:
            sent = payload(body, self.headers.get("Content-Type") or "")
        except (ValueError, UnicodeDecodeError):
            self.answer(400, b"invalid_payload", "text/plain")
            return
        if self.route == "/behaviour":
            if sent.get("mode") not in MODES or not sent.get("path"):
                self.answer(400, {"error": f"path and mode are needed; modes are {', '.join(MODES)}"})
                return
            with guard:
                behaviours[sent["path"]] = sent
            self.answer(200, sent)
        elif self.route.startswith(("/services/", "/api/chat.")):
            self.receive(sent)
        else:
            self.answer(404, b"no_service", "text/plain")

    def receive(self, sent: Any) -> None:
        behaviour = mode_for(self.route)
        mode = behaviour["mode"]
        moment = time.time()
        with guard:
            messages.append({"path": self.route, "at": moment, "accepted": mode in ("ok", "slow"), "message": sent})
            del messages[:-KEEP]
        if mode == "slow":
            time.sleep(float(behaviour.get("seconds", 5)))
        api = self.route.startswith("/api/")
        if mode == "rate_limited":
            wait = str(behaviour.get("retry_after", 1))
            if api:
                self.answer(429, {"ok": False, "error": "ratelimited"}, Retry_After=wait)
            else:
                self.answer(429, b"rate_limited", "text/plain", Retry_After=wait)
        elif mode == "error":
            self.answer(500, b"internal_error", "text/plain")
        elif mode == "no_service":
            self.answer(404, b"no_service", "text/plain")
        elif mode == "not_ok":
            self.answer(200, {"ok": False, "error": "channel_not_found"})
        elif api:
            channel = sent.get("channel", "C0") if isinstance(sent, dict) else "C0"
            stamp = sent.get("ts") if isinstance(sent, dict) and sent.get("ts") else f"{moment:.6f}"
            self.answer(200, {"ok": True, "channel": channel, "ts": stamp, "message": sent})
        else:
            self.answer(200, b"ok", "text/plain")


if __name__ == "__main__":
    serve(Slack, int(sys.argv[1]))
