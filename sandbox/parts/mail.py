"""A receiving mail server; what it received, as JSON."""

from __future__ import annotations

from sandbox.parts.server import ServerPart

SMTP, HTTP = 12525, 12580


class Mail(ServerPart):
    name = "mail"
    server = "mail"
    ports = (SMTP, HTTP)
    probe = f"http://127.0.0.1:{HTTP}/"

    def env(self) -> dict[str, str]:
        return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(SMTP), "MAIL_URL": f"http://127.0.0.1:{HTTP}"}
