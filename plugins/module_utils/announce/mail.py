# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A mail from the middle of a run, where no task can send one. Tasks use community.general.mail."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from typing import Any, List, Mapping


def send(server: Mapping[str, Any], to: List[str], subject: str, text: str) -> str:
    """Why it was not taken; empty when it was.

    :param server: as the role announce has it: ``host``, ``port``, ``sender``, and perhaps ``username``, ``password``
        and ``secure``.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = server.get("sender") or "root", ", ".join(to), subject
    message.set_content(text)
    secure = server.get("secure") or "try"
    try:
        made = smtplib.SMTP_SSL if secure == "always" else smtplib.SMTP
        with made(server["host"], int(server.get("port") or 25), timeout=20) as connection:
            connection.ehlo_or_helo_if_needed()
            if secure in ("try", "starttls") and (secure == "starttls" or connection.has_extn("starttls")):
                connection.starttls(context=ssl.create_default_context())
            if server.get("username"):
                connection.login(server["username"], server.get("password") or "")
            connection.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"the mail was not taken: {type(error).__name__}"
    return ""
