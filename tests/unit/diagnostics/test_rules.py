"""The likely cause is named first."""

import json
import re
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics import rules
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.gather import inspected, released
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.index import page, sections, text
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.rules import CAUSES, findings, nearest


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
        ("cannot start: configuration key LEDGER_URL is not set", "configuration lacks"),
        ("KeyError: environment variable DB_HOST is required", "configuration lacks"),
    ],
)
def test_what_logs_say_explains_a_crash_better_than_the_crash(log, said):
    found = findings({"services": [service(code="crash_loop", text="it ends with code 1", log=f"start\n{log}\nbye")]})
    if said != "refuses connections":
        assert said in found[0].text
        assert log in found[0].text
    assert any(said in one.text for one in found)
    assert all(one.next for one in found)


def test_of_a_line_in_json_its_message_is_told():
    line = '{"level": "ERROR", "message": "connect ECONNREFUSED \\"db\\"", "at": 1}'
    found = findings({"services": [service(code="not_ready", text="its probe fails", log=line)]})
    assert found[0].text.endswith(': connect ECONNREFUSED \\"db\\"')


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


def test_for_every_cause_that_a_rollout_gives_to_a_service_there_is_something_to_do():
    folder = Path(rules.__file__).parents[1] / "rollout"
    given = {code for file in folder.glob("*.py") for code in re.findall(r'Cause\("(\w+)"', file.read_text())}
    assert len(given) > 20
    # These two are causes of a whole rollout, which its message tells.
    assert given - {"monitor", "interrupted"} - CAUSES.keys() == set()


def test_an_unknown_code_is_still_a_cause():
    assert findings({"services": [service(code="new", text="something new")]})[0].text == "something new"
    assert all(0 < sure <= 100 and remedy for sure, remedy in CAUSES.values())


def test_the_page_escapes_what_it_shows():
    found = findings({"services": [service(code="crash_loop", text="<script>alert(1)</script>")]})
    shown = page("Diagnostics", sections(found, [service()], ['a"><b>.txt']))
    assert "<script>" not in shown
    assert shown.index("Likely cause") < shown.index("Services")
    assert "Nothing wrong was found" in page("Diagnostics", sections([], [], []))
    assert "in place: &lt;v1&gt;" in page("Diagnostics", sections([], [], [], "in place: <v1>"))


def rolled(name, outcome="rolled_back", text="", code="crash_loop", log=""):
    cause = {"code": code, "text": text} if text else None
    return {"name": name, "outcome": outcome, "cause": cause, "logs": [{"container": name, "text": log}], "after": {}}


def test_what_was_put_back_is_still_the_cause():
    rollout = [rolled("identity"), rolled("wallet", text="container ended with code 1"), rolled("agent", "skipped")]
    # All is well again; and something else, surer in itself, is noticed now.
    now = {"services": [service("healthy")], "database": {"connections": 99, "max_connections": 100}}
    found = findings({**now, "rollout": rollout})
    assert (found[0].service, found[0].text, found[0].at) == ("wallet", "container ended with code 1", "failure")
    assert [one.at for one in found[1:]] == ["now"]
    failure = "Failed to roll out release v2: wallet: container ended with code 1"
    for show in (page, text):
        shown = show(
            "Diagnostics", sections(found, now["services"], ["at_failure/wallet/logs.txt"], "", rollout, failure)
        )
        assert "Nothing wrong" not in shown
        order = [shown.lower().index(one) for one in ("likely cause", "at the failure", "also seen", "services now")]
        assert order == sorted(order), shown
        before = shown[order[1] : order[2]]
        assert "Put back before this was gathered: identity, wallet." in " ".join(before.split())
        assert "at_failure/wallet/logs.txt" in before and failure in before and "identity" in before
        assert "agent" not in before, "one that was never started was not at the failure"
        assert before.count("identity") == 1, "what only went back with the others has no row"
    links = page("Diagnostics", sections(found, [], ["at_failure/wallet/logs.txt"], "", rollout, failure))
    assert links.count('<a href="at_failure/wallet/logs.txt">') == 2, "where it is told of, and in the list"


def test_what_the_failed_release_wrote_explains_it():
    log = "FATAL: sorry, too many clients already"
    found = findings({"rollout": [rolled("wallet", text="container ended with code 1", log=log)]})
    assert "no connection left" in found[0].text and found[0].at == "failure"


def test_a_failure_that_no_service_explains_is_never_called_nothing_wrong():
    failure = "Failed to stay healthy: p95 is 2.1 s"
    noticed = findings({"hosts": [{"name": "shop", "days": 3.0}]})
    for found in ([], noticed):
        shown = text(
            "Diagnostics", sections(found, [service("healthy")], [], "", [rolled("wallet", "healthy")], failure)
        )
        assert shown.splitlines()[3] == "WHY IT FAILED" and failure in shown and "Nothing wrong" not in shown
    assert "ends in 3 days" in shown


def test_the_text_fits_a_terminal_and_keeps_lines_of_blocks():
    long = "image localhost:5000/t/wallet:v2 cannot be pulled: " + "manifest unknown " * 20
    rollout = [rolled("wallet", text=long, code="image_not_found")]
    shown = text(
        "Diagnostics", sections(findings({"rollout": rollout}), [], ["a.txt"], "a\n  b", rollout, f"x\n    {long}")
    )
    assert max(map(len, shown.splitlines())) <= 110
    assert "\n  a\n    b\n" in shown and shown.endswith("\nFiles\n  a.txt\n")


def test_events_of_the_cause_come_first():
    cause = "image r:5000/wallet:v2 cannot be pulled: manifest for r:5000/wallet:v2 not found (pod wallet-767f-x8v52)"
    dns = 'Pod wallet-767f-x8v52: MissingClusterDNS: pod: "wallet-767f-x8v52". kubelet does not have ClusterDNS IP'
    pull = 'Pod wallet-767f-x8v52: Failed: pull of "r:5000/wallet:v2": manifest for r:5000/wallet:v2 not found'
    other = "Pod wallet-7c89-aaaaa: MissingClusterDNS"
    assert nearest([other, dns, pull], cause) == [pull, dns, other]
    assert nearest([other, dns], "") == [other, dns]


def test_while_a_run_goes_on_nobody_says_what_is_in_place():
    records = [
        {"id": "20260102T000000Z-v2", "release": "v2", "outcome": "running"},
        {"id": "20260101T000000Z-v1", "release": "v1", "outcome": "good"},
    ]
    assert released(records, "v2", "v2") == [
        "being tried: v2 (run 20260102T000000Z-v2 goes on, or died)",
        "in place before it: v1",
    ]
    assert released(records[1:], "v1", "v1") == ["in place: v1"]
    assert released(records[1:], "v1", "v2") == ["in place: v1", "tried last: v2, which failed and was put back"]
    assert released([], "", "") == ["in place: nothing that is recorded"]


def test_of_the_environment_only_names_are_kept():
    text = inspected(json.dumps([{"Name": "/x", "Config": {"Env": ["DB_PASSWORD=geheim", "PORT=1"]}, "State": {}}]))
    assert "geheim" not in text
    assert json.loads(text)[0]["environment"] == ["DB_PASSWORD", "PORT"]
