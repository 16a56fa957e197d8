# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One message to Slack, by an incoming webhook or by the Web API, tried as often and as late as Slack asks.

Sources: Slack's documentation of rate limits (429 with Retry-After, webhooks too), of chat.postMessage and chat.update,
and of incoming webhooks. Slack says no with status 200 as well: ``ok`` decides.
"""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Dict, Mapping, NamedTuple

API = "https://slack.com/api"
# What will be the same the next time: no such webhook or channel, no right to write there.
FINAL = (400, 401, 403, 404, 410)
PASSING = ("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")
MOST = 39000  # characters that Slack shows


class Answer(NamedTuple):
    """``status`` is 0 when nothing came back; then ``body`` says why."""

    status: int
    body: str
    retry_after: str = ""


class Delivery(NamedTuple):
    """How it went. ``channel`` and ``ts`` name the message where the Web API took it."""

    delivered: bool
    attempts: int
    error: str = ""
    channel: str = ""
    ts: str = ""


def request(slack: Mapping[str, Any], text: str, thread: str = "", edit: str = "") -> Dict[str, Any]:
    """The address, headers and body of a message. Pure.

    :param slack: ``webhook_url``; or ``token`` and ``channel``, and perhaps ``api``.
    :param thread: the ``ts`` of the message that it answers. A webhook cannot.
    :param edit: the ``ts`` of the message that it replaces. A webhook cannot.
    """
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if slack.get("webhook_url"):
        return {"url": slack["webhook_url"], "headers": headers, "body": {"text": text[:MOST]}}
    body = {"channel": slack["channel"], "text": text[:MOST]}
    if edit:
        body["ts"] = edit
    elif thread:
        body["thread_ts"] = thread
    method = "chat.update" if edit else "chat.postMessage"
    headers["Authorization"] = f"Bearer {slack['token']}"
    return {"url": f"{(slack.get('api') or API).rstrip('/')}/{method}", "headers": headers, "body": body}


class Judged(NamedTuple):
    """What an answer means. ``again`` is the seconds to wait; below 0 it is final."""

    error: str
    again: float
    channel: str = ""
    ts: str = ""


def judge(answer: Answer, attempt: int, limit: float) -> Judged:
    """Pure.

    :param limit: seconds that are waited at most, whatever Slack asks.
    """
    wait = min(limit, number(answer.retry_after, 2.0 * attempt))
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    if not answer.status:
        return Judged(f"Slack did not answer ({answer.body})", wait)
    if answer.status == 200:
        if said.get("ok", True):
            return Judged("", -1, str(said.get("channel") or ""), str(said.get("ts") or ""))
        error = str(said.get("error") or "not ok")
        return Judged(f"Slack answered {error}", wait if error in PASSING else -1)
    return Judged(f"Slack answered with status {answer.status}", -1 if answer.status in FINAL else wait)


def number(text: str, otherwise: float) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return otherwise


def post(url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
    from urllib.error import HTTPError

    from ansible.module_utils.urls import open_url

    try:
        with open_url(
            url,
            method="POST",
            data=json.dumps(body).encode(),
            headers=dict(headers),
            timeout=10,
            http_agent="eazepay.ops",
        ) as found:
            return Answer(found.status, found.read(1 << 20).decode("utf-8", "replace"))
    except HTTPError as error:
        with error:
            return Answer(error.code, "", error.headers.get("Retry-After") or "")
    except Exception as error:
        # The address is a secret, and some errors repeat it.
        return Answer(0, type(error).__name__)


def send(
    slack: Mapping[str, Any],
    text: str,
    *,
    thread: str = "",
    edit: str = "",
    attempts: int = 5,
    limit: float = 60,
    post: Callable[..., Answer] = post,
    sleep: Callable[[float], None] = time.sleep,
) -> Delivery:
    """Sends a message; never raises for what Slack says or does not say."""
    asked = request(slack, text, thread, edit)
    judged = Judged("it was never tried", -1)
    for attempt in range(1, attempts + 1):
        judged = judge(post(asked["url"], asked["headers"], asked["body"]), attempt, limit)
        if not judged.error:
            return Delivery(True, attempt, "", judged.channel, judged.ts)
        if judged.again < 0 or attempt == attempts:
            return Delivery(False, attempt, judged.error)
        sleep(judged.again)
    return Delivery(False, 0, judged.error)
