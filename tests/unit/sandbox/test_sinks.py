from __future__ import annotations

from email.message import EmailMessage
from urllib.parse import urlencode

from sandbox.servers import slack
from sandbox.servers.mail import chosen, readable


def test_a_mail_is_decoded():
    mail = EmailMessage()
    mail["Subject"] = "Déployé v1.1.0"
    mail["From"], mail["To"] = "ops@eazepay.test", "team@eazepay.test"
    mail.set_content("größer\n")
    mail.add_alternative("<p>größer</p>\n", subtype="html")
    mail.add_attachment(b"x", maintype="application", subtype="gzip", filename="a.gz")
    found = readable(mail.as_bytes(), "ops@eazepay.test", ["team@eazepay.test", "hidden@eazepay.test"])
    assert (found["subject"], found["text"], found["html"]) == ("Déployé v1.1.0", "größer\n", "<p>größer</p>\n")
    assert found["attachments"] == ["a.gz"]
    assert chosen(found, {}) and chosen(found, {"to": "hidden@eazepay.test", "subject": "v1.1"})
    assert not chosen(found, {"to": "hidden"}) and not chosen(found, {"subject": "v1.2"})


def test_a_message_comes_as_json_or_in_a_form():
    assert slack.payload(b'{"text": "x"}', "application/json") == {"text": "x"}
    assert slack.payload(b'{"text": "x"}', "application/x-www-form-urlencoded") == {"text": "x"}
    form = urlencode({"payload": '{"text": "x"}'}).encode()
    assert slack.payload(form, "application/x-www-form-urlencoded") == {"text": "x"}


def test_a_behaviour_is_used_up():
    slack.behaviours["/services/t"] = {"path": "/services/t", "mode": "error", "times": 2}
    assert [slack.mode_for("/services/t")["mode"] for _ in range(3)] == ["error", "error", "ok"]
    assert slack.mode_for("/services/other")["mode"] == "ok"
