"""A Slack that records."""

from __future__ import annotations

from sandbox.parts.server import ServerPart

PORT = 12590


class Slack(ServerPart):
    name = "slack"
    server = "slack"
    ports = (PORT,)
    probe = f"http://127.0.0.1:{PORT}/messages"

    def env(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{PORT}"
        return {"SLACK_WEBHOOK_URL": f"{url}/services/T0/B0/x", "SLACK_SINK_URL": url}
