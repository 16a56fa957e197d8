"""The likely cause is named first."""

import json

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.bundle import page
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.gather import inspected
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.rules import CAUSES, findings


def service(outcome="failing", code="", text="", log=""):
    cause = {"code": code, "text": text} if code else None
    return {"name": "wallet", "outcome": outcome, "cause": cause, "logs": [{"container": "app", "text": log}]}


@pytest.mark.parametrize(
    "log, said",
    [
        ("FATAL:  sorry, too many clients already", "no connection left"),
        ('FATAL: password authentication failed for user "wallet"', "refuses the login"),
        ('error: relation "wallets" does not exist', "lacks a table"),
        ("Error: getaddrinfo ENOTFOUND identity", "cannot be resolved"),
        ("Error: connect ECONNREFUSED 10.0.0.1:5432", "refuses connections"),
        ("write error: No space left on device", "disk is full"),
        ("FATAL ERROR: Reached heap limit - JavaScript heap out of memory", "ran out of memory"),
        ("Error: Cannot find module 'pg'", "lacks a part of the program"),
        ("ssl: certificate has expired", "certificate is not accepted"),
    ],
)
def test_what_logs_say_explains_a_crash_better_than_the_crash(log, said):
    found = findings({"services": [service(code="crash_loop", text="it ends with code 1", log=f"start\n{log}\nbye")]})
    if said != "refuses connections":
        assert said in found[0].text
        assert log in found[0].text
    assert any(said in one.text for one in found)
    assert all(one.next for one in found)


def test_a_missing_image_is_surer_than_old_logs():
    broken = service(code="image_not_found", text="image x:v2 does not exist", log="ECONNREFUSED")
    assert findings({"services": [broken]})[0].text == "image x:v2 does not exist"


def test_a_healthy_service_with_an_old_line_is_no_first_suspect():
    well = {**service("healthy", log="connection refused"), "name": "agent"}
    found = findings({"services": [well, service(code="not_ready", text="its probe fails")]})
    assert [one.service for one in found] == ["wallet", "agent"]


def test_the_database():
    assert "93 of 100" in findings({"database": {"connections": 93, "max_connections": 100}})[0].text
    assert findings({"database": {"connections": 3, "max_connections": 100, "blocked": 0}}) == []
    assert "does not answer" in findings({"database": {"error": "refused"}})[0].text


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ({"unresolved": True, "error": "Name or service not known"}, "cannot be resolved"),
        ({"error": "certificate verify failed: certificate has expired"}, "is not accepted"),
        ({"error": "connection refused"}, "does not speak TLS"),
        ({"days": 3.5}, "ends in 3.5 days"),
    ],
)
def test_names_and_their_certificates(host, said):
    (found,) = findings({"hosts": [{"name": "shop.example.com", "addresses": [], "unresolved": False, **host}]})
    assert said in found.text and "shop.example.com" in found.text and found.next
    assert findings({"hosts": [{"name": "shop.example.com", "days": 80.0}]}) == []


def test_a_transaction_that_nobody_ends():
    assert "idle for 11 min" in findings({"database": {"idle_in_transaction": 700}})[0].text
    assert findings({"database": {"idle_in_transaction": 20}}) == []


def test_nothing_wrong_and_no_way_to_know_differ():
    assert findings({"services": [service("healthy")]}) == []
    assert "cannot be asked" in findings({"unreachable": "connection refused"})[0].text


def test_an_unknown_code_is_still_a_cause():
    assert findings({"services": [service(code="new", text="something new")]})[0].text == "something new"
    assert all(0 < sure <= 100 and remedy for sure, remedy in CAUSES.values())


def test_the_page_escapes_what_it_shows():
    found = findings({"services": [service(code="crash_loop", text="<script>alert(1)</script>")]})
    shown = page("Diagnostics", found, [service()], ['a"><b>.txt'])
    assert "<script>" not in shown
    assert shown.index("Likely cause") < shown.index("Services")
    assert "Nothing wrong was found" in page("Diagnostics", [], [], [])
    assert "in place: &lt;v1&gt;" in page("Diagnostics", [], [], [], "in place: <v1>")


def test_of_the_environment_only_names_are_kept():
    text = inspected(json.dumps([{"Name": "/x", "Config": {"Env": ["DB_PASSWORD=geheim", "PORT=1"]}, "State": {}}]))
    assert "geheim" not in text
    assert json.loads(text)[0]["environment"] == ["DB_PASSWORD", "PORT"]
