from __future__ import annotations

import json
import urllib.request
import uuid

import pytest

from tests.integration.announce.play import play


@pytest.fixture
def slack(sandbox):
    """A webhook of the test's own: (url, behave, messages)."""
    sink, path = sandbox["SLACK_SINK_URL"], f"/services/T0/B0/{uuid.uuid4().hex}"

    def behave(**how):
        body = json.dumps({"path": path, **how}).encode()
        request = urllib.request.Request(f"{sink}/behaviour", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()

    def messages():
        with urllib.request.urlopen(f"{sink}/messages?path={path}", timeout=10) as answer:
            return json.load(answer)

    return sink + path, behave, messages


@pytest.fixture
def address():
    return f"{uuid.uuid4().hex}@example.com"


def mails(sandbox, address):
    with urllib.request.urlopen(f"{sandbox['MAIL_URL']}/?to={address}", timeout=10) as answer:
        return json.load(answer)


def announce(tmp_path, **variables):
    return play(tmp_path, "announce", "announce_result", {"announce_subject": "v1.1.0 is live", **variables})


def mail_of(sandbox):
    return {"host": sandbox["SMTP_HOST"], "port": int(sandbox["SMTP_PORT"]), "sender": "ops@example.com"}


def test_both_get_it_and_slack_is_obeyed_when_it_asks_to_wait(tmp_path, sandbox, slack, address):
    url, behave, messages = slack
    behave(mode="rate_limited", retry_after=2, times=1)
    done = announce(
        tmp_path,
        announce_body="Größe: all good",
        announce_to=[address],
        announce_mail=mail_of(sandbox),
        announce_slack={"webhook_url": url},
    )
    assert done.rc == 0, done.output
    assert done.result == [
        {"channel": "mail", "delivered": True, "attempts": 1, "error": ""},
        {"channel": "slack", "delivered": True, "attempts": 2, "error": ""},
    ]
    (mail,) = mails(sandbox, address)
    assert mail["subject"] == "v1.1.0 is live" and "Größe: all good" in mail["text"]
    first, second = messages()
    assert not first["accepted"] and second["accepted"] and second["at"] - first["at"] >= 2
    assert second["message"]["text"] == "*v1.1.0 is live*\nGröße: all good"
    assert url not in done.output


def test_what_does_not_arrive_is_listed_and_fails_nothing(tmp_path, sandbox, slack, address):
    url, behave, messages = slack
    behave(mode="not_ok")
    done = announce(
        tmp_path,
        announce_to=[address],
        announce_mail={**mail_of(sandbox), "port": 9},
        announce_slack={"webhook_url": url},
        announce_attempts=1,
    )
    assert done.rc == 0, done.output
    mail, slacked = done.result
    assert not mail["delivered"] and mail["error"]
    assert slacked == {
        "channel": "slack",
        "delivered": False,
        "attempts": 1,
        "error": "Slack answered channel_not_found",
    }
    assert len(messages()) == 1


def test_it_fails_where_it_must_arrive(tmp_path, sandbox, slack):
    url, behave, messages = slack
    behave(mode="error")
    done = announce(
        tmp_path,
        announce_slack={"webhook_url": url},
        announce_attempts=2,
        announce_retry_limit=1,
        announce_must_arrive=True,
    )
    assert done.rc == 2 and "slack did not take it" in done.output and "status 500" in done.output
    assert len(messages()) == 2 and url not in done.output


def test_check_mode_sends_nothing(tmp_path, sandbox, slack, address):
    url, _behave, messages = slack
    done = play(
        tmp_path,
        "announce",
        "announce_result",
        {
            "announce_subject": "x",
            "announce_to": [address],
            "announce_mail": mail_of(sandbox),
            "announce_slack": {"webhook_url": url},
        },
        "--check",
    )
    assert done.rc == 0, done.output
    assert not messages() and not mails(sandbox, address)
