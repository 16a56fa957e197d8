"""A mail server that keeps what it receives, and an HTTP server that gives it as JSON.

GET /?to=<address>&subject=<part> lists mails, oldest first; DELETE / with the same filters forgets them.
"""

from __future__ import annotations

import datetime
import sys
import threading
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from sandbox.servers.web import Handler, serve

KEEP = 2000
mails: list[dict[str, Any]] = []
guard = threading.Lock()


def readable(raw: bytes, sender: str, recipients: list[str]) -> dict[str, Any]:
    """A mail as JSON: who it went to by the envelope, its headers, and its text and HTML parts decoded."""
    message = cast(EmailMessage, message_from_bytes(raw, policy=default))
    bodies = {kind: message.get_body((kind,)) for kind in ("plain", "html")}
    return {
        "received": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "from": sender,
        "to": recipients,
        "subject": str(message.get("Subject", "")),
        "headers": {name: str(value) for name, value in message.items()},
        "text": bodies["plain"].get_content() if bodies["plain"] else "",
        "html": bodies["html"].get_content() if bodies["html"] else "",
        "attachments": [part.get_filename() for part in message.iter_attachments()],
    }


def chosen(mail: dict[str, Any], query: dict[str, str]) -> bool:
    return query.get("to", "") in ("", *mail["to"]) and query.get("subject", "") in mail["subject"]


class Keep:
    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        raw = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        mail = readable(raw, envelope.mail_from or "", list(envelope.rcpt_tos))
        with guard:
            mails.append(mail)
            del mails[:-KEEP]
        print(f"mail from {mail['from']} to {', '.join(mail['to'])}: {mail['subject']}", flush=True)
        return "250 kept"


class Mails(Handler):
    def do_GET(self) -> None:
        with guard:
            found = [mail for mail in mails if chosen(mail, self.query)]
        self.answer(200, found)

    def do_DELETE(self) -> None:
        with guard:
            mails[:] = [mail for mail in mails if not chosen(mail, self.query)]
        self.answer(200, {"left": len(mails)})

    def log_message(self, *_: Any) -> None:
        """The mails themselves are logged."""


if __name__ == "__main__":
    controller = Controller(Keep(), hostname="127.0.0.1", port=int(sys.argv[1]), enable_SMTPUTF8=True)
    controller.start()
    serve(Mails, int(sys.argv[2]))
