"""From what modules return to the page: nothing is left out, nothing secret is let in."""

import json
import re
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.plugin_utils.dossier import graph, model, render

BEGAN = 1_700_000_000.0


def make(
    action, result, *, at=0.0, took=1.0, step="", outcome="ok", state="", changed=True, task="a task", **arguments
):
    name = action if "." in action else f"eazepay.ops.{action}"
    return model.event(
        task=task,
        action=name,
        host="localhost",
        step=step,
        began=BEGAN + at,
        ended=BEGAN + at + took,
        outcome=outcome,
        result={**result, "changed": changed, "invocation": {"module_args": {"state": state, **arguments}}},
    )


def service(name, outcome, cause=None, logs=(), back=None, seconds=None):
    return {
        "name": name,
        "action": "roll",
        "outcome": outcome,
        "before": {"release": "v1", "images": {"app": "shop/app:v1"}},
        "after": {"release": "v2", "images": {"app": "shop/app:v2"}},
        "cause": {"code": "crash_loop", "text": cause} if cause else None,
        "rollback_cause": {"code": "x", "text": back} if back else None,
        "seconds": seconds or {"waiting": 0.0, "rolling": 4.0},
        "logs": list(logs),
        "events": ["BackOff"],
    }


def check(name="errors", values=(0.0, 0.0, 0.0), ok=True, verdict="pass", limits=None):
    samples = [{"at": BEGAN + 10 + index, "value": value, "verdict": verdict} for index, value in enumerate(values)]
    return {
        "name": name,
        "kind": "prometheus",
        "verdict": verdict,
        "ok": ok,
        "reason": f"{name} is {verdict}",
        "attempts": len(values),
        "limits": limits or {"warn": 0.01, "fail": 0.05},
        "unit": "ratio",
        "samples": samples,
    }


def run(**more):
    return {"began": BEGAN, "ended": BEGAN + 60, "failed": False, "check": False, "playbook": "deploy", **more}


FAILED = [
    make("service_rollout", {"services": [service("api", "healthy"), service("web", "healthy")]}, state="observed"),
    make(
        "pg_backup",
        {"backup": {"id": "b1", "bytes": 1_500_000, "verified": "read", "databases": ["shop"]}},
        step="backup",
    ),
    make(
        "service_rollout",
        {
            "msg": "Failed to roll out release v2: web: container ended with code 3\n  put back: api.\nNext: look",
            "services": [
                service("api", "rolled_back"),
                service(
                    "web",
                    "rolled_back",
                    "container ended with code 3",
                    [{"container": "web", "text": 'start\n{"level": "ERROR", "message": "no LEDGER_URL"}\n'}],
                ),
                service("later", "skipped"),
            ],
            "rolled_back": ["web", "api"],
            "seconds": 9.0,
        },
        step="rollout",
        at=10,
        took=10,
        outcome="failed",
        state="deployed",
        task="rollout : Roll the services out",
    ),
]


def first_screen(page):
    """What is read without scrolling: the header and where everything stands."""
    text = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    text = text[: text.index("<h2>Why")]
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_a_failure_is_told_within_one_screen():
    found = model.document(run(failed=True, environment="local"), FAILED)
    page = render.page(found)
    screen = first_screen(page)
    assert "deploy v2 on local: FAILED in step rollout" in screen
    assert "web : container ended with code 3 no LEDGER_URL" in screen
    assert "Put back and proved healthy: web, api" in screen
    assert "Next: look" in screen
    assert "api put back to v1, proved healthy" in screen
    assert len(screen) < 900
    assert "LEDGER_URL" in page[page.index("<h2>Why") :]


def test_a_failure_that_says_nothing_further_leads_to_its_diagnosis():
    diagnosis = make("diagnostics", {"dest": "/var/d/run-1", "likely_cause": ""}, at=21)
    assert "Next: look" in first_screen(render.page(model.document(run(failed=True), [*FAILED, diagnosis])))
    quiet = {**FAILED[2], "result": {**FAILED[2]["result"], "msg": "Failed to roll out release v2: web: it ended"}}
    screen = first_screen(render.page(model.document(run(failed=True), [quiet, diagnosis])))
    assert "Next: less /var/d/run-1/index.txt" in screen


def test_what_could_not_be_put_back_is_said_in_so_many_words():
    stuck = service("web", "rollback_failed", "it crashes", back="the old image is gone")
    events = [
        make(
            "service_rollout",
            {"msg": "Failed", "services": [stuck], "rolled_back": []},
            outcome="failed",
            step="rollout",
        )
    ]
    screen = first_screen(render.page(model.document(run(failed=True), events)))
    assert "NOT PUT BACK: the old image is gone" in screen
    assert "Not put back: web" in screen


def test_a_later_failure_is_no_cause():
    events = [
        *FAILED,
        make("site_publish", {"msg": "the bucket is gone"}, outcome="failed", state="rolled_back", at=30),
    ]
    found = model.document(run(failed=True), events)
    assert "code 3" in found["failure"]["message"]
    assert found["failure"]["later"] == ["the bucket is gone"]


def test_a_gate_that_fails_after_the_rollout_shows_what_was_put_back():
    slow = check("p95", (0.1, 0.9, 0.9), ok=False, verdict="fail", limits={"warn": 0.3, "fail": 0.5})
    back = {**service("api", "healthy"), "before": {"release": "v2"}, "after": {"release": "v1"}}
    events = [
        make("service_rollout", {"services": [service("api", "healthy")]}, step="rollout", state="deployed"),
        make(
            "health_gate", {"msg": "Failed to stay healthy", "checks": [slow]}, step="verify", outcome="failed", at=20
        ),
        make("service_rollout", {"services": [back]}, step="verify", state="deployed", at=30),
    ]
    found = model.document(run(failed=True), events)
    assert found["failure"]["put_back"] == ["api"]
    assert [one["step"] for one in found["changes"]] == ["rollout", "put back"]
    assert found["states"][0]["text"] == "healthy at v1"
    page = render.page(found)
    assert "p95 is fail" in first_screen(page)
    assert "var(--badback)" in page[page.index("<svg") :], "the band of the limit"


def test_a_good_run():
    events = [
        make("release_source", {"tag": "v2", "commit": "abc" * 14, "previous": "v1", "changes": ["mend the fee"]}),
        make(
            "db_migration", {"services": [{"name": "api", "database": "shop", "applied": ["AddFee1"]}]}, state="present"
        ),
        make(
            "service_rollout", {"services": [service("api", "healthy")], "seconds": 5}, state="deployed", step="rollout"
        ),
        make(
            "site_publish",
            {"release": "v2", "previous": "v1", "uploaded": ["a", "b"]},
            state="published",
            bucket="admin",
        ),
        make("cf_invalidate", {"invalidations": [{"id": "I1", "paths": ["/*"]}]}),
        make("health_gate", {"checks": [check()], "verdict": "pass"}, step="verify", at=10),
        make("community.general.mail", {}, to=["team@example.com"], subject="v2 is out"),
    ]
    page = render.page(
        model.document(run(stat={"purpose": "deploy v2", "environment": "shop", "target": "compose"}), events)
    )
    for said in ("deploy v2 on shop (compose)", "AddFee1", "I1", "mend the fee", "v2 is out", "team@example.com"):
        assert said in page
    assert "1 services changed" in page or "1 service changed" in page
    assert "<svg" in page
    assert not re.search(r'(?:src|href)="?(?:https?:)?//|<script|@import|url\(', page), "the page needs no network"


def test_several_portals_of_one_task_are_told_one_by_one():
    published = [
        {"name": "admin", "release": "v2", "previous": "v1", "uploaded": ["a"], "changed": True, "plan": ["not kept"]},
        {"name": "shop", "failed": True, "msg": "denied"},
    ]
    dropped = [{"name": "admin", "invalidation": {"id": "I1", "paths": ["/a"]}}]
    events = [
        make("site_publish", {"sites": published}, state="published"),
        make("cf_invalidate", {"sites": dropped}),
    ]
    found = model.document(run(stat={"purpose": "deploy v2", "portals": ["admin", "shop"]}), events)
    assert {one["name"]: one["text"] for one in found["states"]} == {
        "admin": "serves v2",
        "shop": "not published: see the failure",
    }
    assert [(one["name"], len(one["invalidations"]), one["failed"]) for one in found["portals"]] == [
        ("admin", 1, False),
        ("shop", 0, True),
    ]
    assert [(one["name"], one["before"], one["after"]) for one in found["changes"]] == [("admin", "v1", "v2")]
    assert "not kept" not in json.dumps(found)


def test_runs_that_do_nothing_leave_no_page():
    events = [
        make("service_rollout", {"services": []}, state="observed"),
        make("health_gate", {"checks": []}),
        make("release_ledger", {"in_place": "v1"}, state="queried"),
    ]
    assert model.document(run(), [one for one in events if one]) is None
    assert model.event("x", "ansible.builtin.debug", "h", "", 0, 1, "ok", {"msg": "hello"}) is None


def test_a_run_that_failed_before_it_did_anything_has_a_page():
    events = [
        make("release_ledger", {"msg": "Failed to lock shop: run-1 holds it. Wait."}, outcome="failed", state="locked")
    ]
    page = render.page(model.document(run(failed=True, stat={"purpose": "deploy v2"}), events))
    assert "run-1 holds it" in page


def test_only_what_is_named_is_kept():
    event = make(
        "service_rollout", {"services": [], "password": "geheim-1", "diff": "geheim-2"}, login_password="geheim-3"
    )
    assert "geheim" not in str(event)


def test_what_is_shown_is_escaped():
    bad = "<script>alert(1)</script>"
    events = [
        make("service_rollout", {"services": [service(bad, "failed", bad)], "msg": bad}, outcome="failed", task=bad)
    ]
    page = render.page(model.document(run(failed=True, environment=bad, playbook=bad), events))
    assert "<script>" not in page


def test_maintenance_has_a_page():
    events = [
        make(
            "maintenance_mode", {"enabled": True, "lease": {"purpose": "upgrade", "expires": "12:00"}}, state="enabled"
        )
    ]
    page = render.page(model.document(run(playbook="maintenance"), events))
    assert "users see the maintenance page" in page and "upgrade" in page


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("", "20231114T221320Z-deploy"),
        ("20261126T120000Z-v2", "20261126T120000Z-v2"),
        ("a/../b", "20231114T221320Z-a-..-b"),
    ],
)
def test_file_names_are_harmless(name, wanted):
    assert model.stem({"began": BEGAN, "name": name, "playbook": "deploy"}) == wanted


@pytest.mark.parametrize("values", [(0, 0, 0), (1, 1, 1), (-1, 0, 5), (1e9, 2e9, 3e9)])
@pytest.mark.parametrize("limits", [{}, {"warn": 1, "fail": 2}, {"warn": 0.99, "fail": 0.9}, {"fail": 1e12}])
def test_every_graph_stays_in_its_frame(values, limits):
    points = [[BEGAN + index, value, "pass"] for index, value in enumerate(values)]
    drawn = graph.svg(
        {"name": "x", "points": points, "limits": limits, "unit": "s"}, [{"name": "rollout", "began": BEGAN + 1}]
    )
    for y in re.findall(r'\b(?:y|cy|y1|y2)="([-\d.]+)"', drawn):
        assert 0 <= float(y) <= graph.HIGH
    for pair in re.findall(r'points="([^"]+)"', drawn)[0].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= graph.WIDE and 0 <= y <= graph.HIGH


RECORDED = Path(__file__).parent / "recorded"


def test_a_recorded_failure_of_a_real_deployment():
    found = json.loads((RECORDED / "crash.json").read_text())
    page = render.page(found)
    screen = first_screen(page)
    assert "FAILED in step rollout" in screen
    assert "transaction : container ended with code 1" in screen
    assert "configuration key LEDGER_URL is not set" in screen
    assert "Put back and proved healthy: identity, biometric, wallet, transaction, agent, ussd." in screen
    assert "Next: docker compose logs" in screen
    assert screen.count("put back to v1.1.0, proved healthy") == 6 and screen.count("not touched") == 2
    written = page[page.index("<h3>Last lines") :].partition("</pre>")[0]
    assert written.count("LEDGER_URL") == 1, "it was started again seven times, and said the same"
    assert len(screen) < 1200


def test_a_recorded_good_deployment():
    found = json.loads((RECORDED / "good.json").read_text())
    page = render.page(found)
    assert "6 services changed, 2 migrations applied, 2 portals published" in page
    assert page.count("healthy at v1.1.0") == 6 and page.count("serves v1.1.0") == 2
    assert page.count("<svg") == len(found["graphs"]) > 8


def test_a_file_that_cannot_be_included_is_explained():
    event = make("ansible.builtin.include_tasks", {"reason": "it is not there"}, outcome="failed")
    assert event["result"]["msg"] == "it is not there"


def test_a_service_that_was_never_started_did_not_change_and_has_no_bar():
    found = model.document(run(failed=True), FAILED)
    assert "later" not in [one["name"] for one in found["changes"] + found["timeline"]]


def test_a_limit_that_was_breached_during_the_rollout_is_the_cause():
    slow = check("p95", (0.1, 0.9, 0.9), ok=False, verdict="fail")
    result = {"services": [service("api", "rolled_back")], "monitor": [check(), slow], "msg": "Failed to roll out"}
    events = [make("service_rollout", result, outcome="failed", state="deployed", step="rollout")]
    screen = first_screen(render.page(model.document(run(failed=True), events)))
    assert "p95 : p95 is fail" in screen and "errors is pass" not in screen


def test_a_recorded_breach():
    page = render.page(json.loads((RECORDED / "breach.json").read_text()))
    assert "error_rate of transaction-service : 3 bad answers in a row: the value is 1.614 %" in first_screen(page)
    assert "<summary>The others: 31 good</summary>" in page


def test_what_was_not_judged_is_not_counted_as_good():
    seen = [check(), check("idle", (), verdict="no_data"), check("p95", ok=False, verdict="fail")]
    event = make("health_gate", {"checks": seen[:2]}, step="verify")
    good = render.page(model.document(run(stat={"purpose": "deploy v2"}), [event]))
    assert "hecks: 1 good, 1 not judged." in first_part(good)
    assert "<summary>1 good, 1 not judged</summary>" in good
    assert good.rindex(">idle<") < good.rindex(">errors<"), "what was not judged comes first"
    failed = make("health_gate", {"checks": seen, "msg": "Failed"}, step="verify", outcome="failed")
    page = render.page(model.document(run(failed=True, stat={"purpose": "deploy v2"}), [failed]))
    assert "<summary>The others: 1 good, 1 not judged</summary>" in page
    assert render.judged(seen) == "1 bad, 1 good, 1 not judged"


def first_part(page):
    return page[: page.index("<h2>")]


def test_events_of_the_cause_come_first():
    noise = [f"Pod web-{one}: MissingClusterDNS: kubelet has none" for one in "abcdef"]
    told = {
        **service("web", "rolled_back", "image r/web:v2 cannot be pulled: manifest unknown (pod web-f)"),
        "events": [*noise, "Pod web-f: Failed: Error: ErrImagePull", "Pod web-f: Failed: r/web:v2: manifest unknown"],
    }
    events = [make("service_rollout", {"services": [told], "msg": "Failed"}, outcome="failed", state="deployed")]
    (cause,) = model.document(run(failed=True), events)["failure"]["causes"]
    assert cause["events"][0].endswith("manifest unknown") and len(cause["events"]) == 5


def test_a_portal_that_was_there_before_the_first_publication_has_no_release():
    result = {"release": "v2", "previous": "found", "uploaded": ["a"]}
    found = model.document(run(), [make("site_publish", result, state="published", bucket="admin")])
    assert found["changes"][0]["before"] == found["portals"][0]["previous"] == "unrecorded"


def test_a_step_takes_as_long_as_the_playbook_says():
    events = [
        *FAILED,
        make("diagnostics", {"dest": "/x", "likely_cause": ""}, at=21, took=4),
        make("site_publish", {"release": "v1"}, state="rolled_back", at=30, took=9, bucket="admin"),
    ]
    timed = [{"name": "rollout", "began": BEGAN + 9.5, "seconds": 10.9}]
    found = model.document(run(failed=True, steps=timed), events)
    took = {one["name"]: round(one["ended"] - one["began"], 1) for one in found["steps"]}
    assert took == {"backup": 1.0, "rollout": 10.9, "diagnosis": 4.0, "put back": 9.0}


def test_what_a_secret_task_does_not_say_the_playbook_does():
    events = [make("ansible.builtin.set_fact", {}, outcome="failed", task="Read it")]
    stat = {"purpose": "deploy v2", "reason": "the secret cannot be read", "failed_step": "preflight"}
    found = model.document(run(failed=True, stat=stat), events)
    assert found["failure"]["message"] == "the secret cannot be read" and found["failure"]["step"] == "preflight"
