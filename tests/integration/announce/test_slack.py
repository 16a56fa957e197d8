"""Slack by webhook and by the Web API, with what it does when it does not want to; and the updates of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.announce import mail, slack
from ansible_collections.eazepay.ops.plugins.modules import slack_message

from tests.integration.site.server import in_process

ROOT = Path(__file__).parents[3]


class Sink:
    """A webhook and a channel of the test's own in the sandbox's Slack."""

    def __init__(self, url):
        self.url, self.id = url, uuid.uuid4().hex
        self.path = f"/services/T0/B0/{self.id}"
        self.webhook = {"webhook_url": url + self.path}
        self.channel = {"token": "xoxb-hush", "channel": self.id, "api": f"{url}/api"}

    def behave(self, path=None, **how):
        body = json.dumps({"path": path or self.path, **how}).encode()
        request = urllib.request.Request(f"{self.url}/behaviour", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()

    def messages(self):
        with urllib.request.urlopen(f"{self.url}/messages", timeout=10) as answer:
            found = json.load(answer)
        return [one for one in found if one["path"] == self.path or one["message"].get("channel") == self.id]


@pytest.fixture
def sink(sandbox):
    return Sink(sandbox["SLACK_SINK_URL"])


@pytest.mark.parametrize(
    ("how", "delivered", "attempts"),
    [
        ({"mode": "rate_limited", "retry_after": 1, "times": 2}, True, 3),
        ({"mode": "error", "times": 1}, True, 2),
        ({"mode": "error"}, False, 3),
        ({"mode": "not_ok"}, False, 1),
        ({"mode": "no_service"}, False, 1),
    ],
)
def test_a_webhook_that_does_not_want_to(sink, how, delivered, attempts):
    sink.behave(**how)
    sent = slack.send(sink.webhook, "hello", attempts=3, limit=1)
    assert (sent.delivered, sent.attempts) == (delivered, attempts)
    assert bool(sent.error) is not delivered and sink.path not in sent.error
    assert len(sink.messages()) == attempts


def test_retry_after_is_waited_for_and_a_limit_ends_it(sink):
    waits = []
    answers = [
        slack.Answer(429, "", "3"),
        slack.Answer(429, "", "500"),
        slack.Answer(0, "TimeoutError"),
        slack.Answer(200, "ok"),
    ]
    sent = slack.send(sink.webhook, "x", post=lambda *_: answers.pop(0), sleep=waits.append, limit=60)
    assert sent.delivered and waits == [3, 60, 6]


def test_a_slack_that_hangs_or_is_gone(sink):
    sink.behave(mode="slow", seconds=30)
    began = time.monotonic()
    sent = slack.send(sink.webhook, "x", attempts=1)
    assert not sent.delivered and "did not answer" in sent.error and time.monotonic() - began < 25
    sent = slack.send({"webhook_url": "http://127.0.0.1:9/services/hush"}, "x", attempts=2, limit=0)
    assert not sent.delivered and sent.attempts == 2 and "did not answer" in sent.error and "hush" not in sent.error


def test_a_thread_and_its_first_message(sink):
    def say(**options):
        return in_process(slack_message, slack_message.slack_message, **{**sink.channel, **options})

    first = say(text="begun")
    assert first["delivered"] and first["ts"] and first["channel"] == sink.id
    assert say(text="half", thread=first["ts"])["delivered"]
    assert say(text="done", edit=first["ts"])["ts"] == first["ts"]
    one, two, three = sink.messages()
    assert "thread_ts" not in one["message"] and two["message"]["thread_ts"] == first["ts"]
    assert three["path"] == "/api/chat.update" and three["message"]["ts"] == first["ts"]
    assert not say(text="x", check=True)["attempts"] and len(sink.messages()) == 3


def test_the_module_fails_only_where_it_must_arrive(sink):
    sink.behave(mode="not_ok")
    given = {**sink.webhook, "text": "x"}
    assert not in_process(slack_message, slack_message.slack_message, **given)["failed"]
    failed = in_process(slack_message, slack_message.slack_message, must_arrive=True, **given)
    assert failed["failed"] and "channel_not_found" in failed["msg"]


def test_a_mail_from_the_middle_of_a_run(sandbox):
    to = f"{uuid.uuid4().hex}@example.com"
    server = {"host": sandbox["SMTP_HOST"], "port": sandbox["SMTP_PORT"], "sender": "ops@example.com"}
    assert mail.send(server, [to], "half", "Größe") == ""
    with urllib.request.urlopen(f"{sandbox['MAIL_URL']}/?to={to}", timeout=10) as answer:
        assert "Größe" in json.load(answer)[0]["text"]
    assert "ConnectionRefusedError" in mail.send({**server, "port": 9}, [to], "half", "x")


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {run_places: "{{ given_places }}"}
      no_log: true
    - ansible.builtin.set_fact: {run_told: {subject: deploy v9, thread: "{{ given_thread }}", to: [a@example.com]}}
    - ansible.builtin.set_fact: {run_step: backup}
    - ansible.builtin.set_fact: {run_step: rollout}
    - name: Roll it out, which takes long
      ansible.builtin.wait_for: {path: "{{ given_end }}", timeout: 120}
    - ansible.builtin.set_fact: {run_told: {}}
"""


@pytest.mark.parametrize("mode", ["ok", "error"])
def test_the_team_hears_how_far_a_run_is_while_one_task_takes_long(sink, tmp_path, mode):
    (tmp_path / "play.yml").write_text(PLAY)
    places = {"slack": sink.channel if mode == "ok" else sink.webhook}
    given = {"given_places": places, "given_thread": "1.5", "given_end": str(tmp_path / "end")}
    (tmp_path / "vars.json").write_text(json.dumps(given))
    sink.behave(mode=mode)
    run = subprocess.Popen(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            *("-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}"),
            *("-e", f"@{tmp_path / 'vars.json'}", tmp_path / "play.yml"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_ANNOUNCE_INTERVAL": "1", "ANSIBLE_CALLBACKS_ENABLED": "eazepay.ops.announce"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(sink.messages()) < 4:
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[0]
        time.sleep(0.1)
    (tmp_path / "end").touch()
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 0, output
    assert "xoxb-hush" not in output and sink.path not in output
    texts = [one["message"]["text"] for one in sink.messages()]
    assert any("deploy v9" in one and "in step rollout: Roll it out, which takes long" in one for one in texts), texts
    assert any("Done: backup" in one for one in texts)
    if mode == "ok":
        assert {one["path"] for one in sink.messages()} == {"/api/chat.postMessage", "/api/chat.update"}
    else:
        assert "the team was not told how far the run is" in output
