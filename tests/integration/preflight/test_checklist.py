"""Every item of the checklist, green and red, against real parts."""

from __future__ import annotations

import copy
import datetime
import json
import shutil
import uuid

import pytest
from ansible_collections.eazepay.ops.plugins.modules import release_checklist, release_ledger

from tests.images import tiny
from tests.integration.announce.play import play
from tests.integration.gate.servers import Authority, serving
from tests.integration.site.server import aws_server, boto, in_process
from tests.modules import run_module
from tests.postgres import server

REVISION = "bbc76ee6d7ec0123456789abcdef0123456789ab"


@pytest.fixture(scope="module")
def aws():
    with aws_server() as options:
        boto("s3", options).create_bucket(
            Bucket="t-portal", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield options


@pytest.fixture
def ask():
    def run(*items, **options):
        given = {"release": "v1.1.0", "revision": REVISION, "patience": 0, **options}
        return in_process(
            release_checklist, release_checklist.release_checklist, items=[copy.deepcopy(one) for one in items], **given
        )

    return run


@pytest.fixture
def ledger(tmp_path):
    store = str(tmp_path / "ledger")

    def write(state, **options):
        done = in_process(release_ledger, release_ledger.release_ledger, store=store, state=state, **options)
        assert not done["failed"], done
        return done

    write.store = store
    return write


def stamp(ago=0.0):
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=ago)
    return at.strftime("%Y%m%dT%H%M%SZ")


def verdicts(result):
    return {one["name"]: one["verdict"] for one in result["checklist"]}


def test_all_are_asked_though_one_is_red_and_what_cannot_be_asked_is_red(ask, tmp_path):
    green = {"name": "freeze", "freezes": []}
    done = ask(
        {"name": "audit", "file": {"path": str(tmp_path / "none.json")}},
        {"name": "backup", "backup": {"dest": "/nonexistent/backups", "databases": ["a"]}},
        {"name": "team", "notified": {}},
        green,
    )
    assert done["failed"] and "3 of 4 items are red: audit, backup, team" in done["msg"], done["msg"]
    assert verdicts(done) == {
        "audit": "fail",
        "backup": done["checklist"][1]["verdict"],
        "team": "error",
        "freeze": "pass",
    }
    assert done["checklist"][1]["verdict"] in ("fail", "error")
    assert "waive" in done["msg"] and "Nothing was touched" in done["msg"]
    assert not done["go"]
    told = ask({"name": "audit", "file": {"path": str(tmp_path / "none.json")}}, green, report_only=True)
    assert not told["failed"] and not told["go"]


def test_a_waiver_has_a_reason_and_names_an_item(ask, tmp_path):
    item = {"name": "audit", "file": {"path": str(tmp_path / "none.json")}}
    done = ask(item, waive={"audit": "ticket 4711"})
    assert not done["failed"] and done["go"] and done["waived"] == {"audit": "ticket 4711"}
    assert "waived: ticket 4711" in done["msg"]
    for waive, said in (({"audti": "x"}, "no item"), ({"audit": ""}, "without a reason")):
        refused = ask(item, waive=waive)
        assert refused["failed"] and said in refused["msg"] and "checklist" not in refused
    assert "comes twice" in ask(item, item)["msg"]
    assert "no items" in ask()["msg"]


def test_evidence_in_a_file(ask, tmp_path):
    item = {"name": "audit", "file": {"path": str(tmp_path / "audit-$revision.json"), "max_age": "1h"}}
    file = tmp_path / f"audit-{REVISION}.json"
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    file.write_text(json.dumps({"state": "success", "revision": REVISION, "at": now}))
    assert verdicts(ask(item)) == {"audit": "pass"}
    assert verdicts(ask(item, revision="")) == {"audit": "error"}
    file.write_text(json.dumps({"state": "failure", "revision": REVISION, "at": now}))
    assert verdicts(ask(item)) == {"audit": "fail"}
    file.write_bytes(b"\xff\xfe")
    assert verdicts(ask(item)) == {"audit": "error"}


def test_ci_by_its_commit_status(ask, sandbox):
    class Statuses:
        state = "success"

    from tests.integration.gate.servers import Hostile

    class Api(Hostile):
        def do_GET(self):
            assert self.headers["Authorization"] == "Bearer t0ken"
            known = self.path == f"/commits/{REVISION}/status"
            self.answer(json.dumps({"state": Statuses.state}).encode(), 200 if known else 404)

    with serving(Api) as api:
        http = {"url": f"{api.url}/commits/$revision/status", "json": {"state": "success"}, "bearer_token": "t0ken"}
        item = {"name": "ci", "checks": [{"name": "CI", "http": http}]}
        done = ask(item)
        assert verdicts(done) == {"ci": "pass"}
        Statuses.state = "pending"
        done = ask(item)
        assert verdicts(done) == {"ci": "fail"} and "t0ken" not in json.dumps(done)
        assert verdicts(ask(item, revision="0" * 40)) == {"ci": "fail"}
    assert verdicts(ask(item))["ci"] in ("fail", "error")


def test_certificates_last_long_enough(ask, tmp_path):
    authority = Authority(tmp_path)
    for days, verdict in ((90, "pass"), (20, "warn"), (3, "fail"), (-1, "fail")):
        with serving(tls=authority.context(f"host{days}", days)) as server:
            tls = {"host": "127.0.0.1", "port": server.port, "server_name": "localhost", "ca_cert": authority.file}
            done = ask(
                {"name": "certificates", "checks": [{"name": "a", "tls": {**tls, "warn_days": 30, "fail_days": 14}}]}
            )
            assert verdicts(done) == {"certificates": verdict}, done


def test_monitoring_and_database_of_the_sandbox(ask, sandbox):
    prometheus, alertmanager = sandbox["PROMETHEUS_URL"], sandbox["ALERTMANAGER_URL"]

    def item(query='min(up{job="prometheus"})', rule="ServiceDown", alerts=alertmanager):
        return {
            "name": "monitoring",
            "checks": [
                {"name": "targets", "prometheus": {"url": prometheus, "query": query, "fail": 1, "direction": "below"}},
                {
                    "name": "rules",
                    "http": {
                        "url": f"{prometheus}/api/v1/rules?type=alert",
                        "json": {"data.groups[0].rules[0].name": {"equals": rule}},
                    },
                },
                {"name": "alertmanager", "http": {"url": f"{alerts}/-/ready"}},
            ],
        }

    assert verdicts(ask(item(), patience=30)) == {"monitoring": "pass"}
    assert not ask(item(query='min(up{job="nobody"})'))["go"]
    assert not ask(item(query='min(up{job="prometheus"} - 1)'))["go"]
    assert not ask(item(rule="Nothing"))["go"]
    assert not ask(item(alerts="http://127.0.0.1:9"))["go"]
    login = {"login_host": sandbox["PGHOST"], "login_port": int(sandbox["PGPORT"]), "login_user": sandbox["PGUSER"]}
    for password, go in ((sandbox["PGPASSWORD"], True), ("wrong", False)):
        postgres = {**login, "login_password": password, "login_db": "wallet", "connections_limits": {"fail": 100}}
        assert ask({"name": "database", "checks": [{"name": "wallet", "postgres": postgres}]})["go"] is go


def test_secrets_are_there_and_nobody_reads_them(ask, aws):
    manager = boto("secretsmanager", aws)
    name = f"t/{uuid.uuid4().hex}"
    manager.create_secret(Name=name, SecretString="hush-hush")
    done = ask({"name": "secrets", "secrets": [name]}, **aws)
    assert verdicts(done) == {"secrets": "pass"} and "hush" not in json.dumps(done)
    assert verdicts(ask({"name": "secrets", "secrets": [name, "t/none"]}, **aws)) == {"secrets": "fail"}
    manager.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    done = ask({"name": "secrets", "secrets": [name]}, **aws)
    assert verdicts(done) == {"secrets": "fail"} and "to be deleted" in done["msg"]
    nowhere = {**aws, "endpoint_url": "http://127.0.0.1:9"}
    assert verdicts(ask({"name": "secrets", "secrets": [name]}, **nowhere)) == {"secrets": "fail"}


def test_migrations_were_tried_in_staging(ask, ledger):
    item = {"name": "migrations", "migrated": {"store": ledger.store, "environment": "staging"}}
    assert verdicts(ask(item)) == {"migrations": "fail"}
    ledger("recorded", id=f"{stamp(60)}-v1.1.0", release="v1.1.0", outcome="failed")
    assert "failed" in ask(item)["msg"]
    record = {"target": "compose", "migrated": {"wallet": ["AddCurrency"]}}
    ledger("recorded", id=f"{stamp()}-v1.1.0", release="v1.1.0", outcome="good", record=record)
    assert verdicts(ask(item)) == {"migrations": "pass"}


def test_the_team_was_told_early_enough(ask, ledger):
    item = {"name": "team", "notified": {"notice": "1h"}}
    asked = {"ledger": ledger.store}
    assert "nobody was told" in ask(item, **asked)["msg"]
    notice = {"kind": "deployment", "delivered": ["mail", "slack"]}
    ledger("noticed", id=f"{stamp()}-v1.1.0", release="v1.1.0", record={**notice, "at": "2020-01-01T00:00:00+00:00"})
    done = ask(item, **asked)
    assert verdicts(done) == {"team": "fail"} and "not before" in done["msg"], "a notice is dated by the ledger"
    assert ask({"name": "team", "notified": {"notice": "0s"}}, **asked)["go"]


def test_a_rollback_is_possible(ask, ledger, aws, sandbox):
    s3 = boto("s3", aws)
    image = tiny(sandbox["REGISTRY"], "1")
    item = {"name": "rollback", "rollback": {"portals": [{"bucket": "t-portal", "prefix": "admin"}]}}
    asked = {"ledger": ledger.store, **aws}
    assert verdicts(ask(item, **asked)) == {"rollback": "fail"}
    first = {"name": "rollback", "rollback": {"allow_first": True}}
    assert verdicts(ask(first, **asked)) == {"rollback": "warn"}
    id = f"{stamp()}-v1.0.0"
    ledger("recorded", id=id, release="v1.0.0", outcome="good", record={"images": {"tiny": image}})
    done = ask(item, **asked)
    assert verdicts(done) == {"rollback": "fail"} and "manifest of v1.0.0" in done["msg"]
    s3.put_object(
        Bucket="t-portal",
        Key=manifest_key("admin/", "v1.0.0"),
        Body=json.dumps({"schema": 1, "release": "v1.0.0"}).encode(),
    )
    assert verdicts(ask(item, **asked)) == {"rollback": "pass"}
    ledger("recorded", id=id, record={"images": {"tiny": f"{image}-gone"}})
    done = ask(item, **asked)
    assert verdicts(done) == {"rollback": "fail"} and "the image of tiny is gone" in done["msg"]


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A real backup, its folder and its manifest."""
    pg = server(15)
    pg.make("t_checklist", rows=20)
    dest = tmp_path_factory.mktemp("backups")
    done = run_module("pg_backup", dest=str(dest), databases=["t_checklist"], release="v1.0.0", **pg.login)
    assert not done["failed"], done
    return str(dest), done["backup"]


def test_the_last_backup_is_verified_young_and_whole(ask, taken, tmp_path):
    dest, made = taken

    def said(dest=dest, databases=("t_checklist",), **how):
        done = ask({"name": "backup", "backup": {"dest": dest, "databases": list(databases), **how}})
        return verdicts(done)["backup"], done["checklist"][0]["reason"]

    verdict, reason = said()
    assert verdict == "pass" and made["id"] in reason and "verified by" in reason
    assert said(max_age="0s")[0] == "fail" and "old" in said(max_age="0s")[1]
    assert said(databases=("t_checklist", "t_other"))[0] == "fail"
    torn = tmp_path / "torn"
    shutil.copytree(dest, torn)
    victim = next(torn.glob("*/0-*/toc.dat"))
    victim.write_bytes(victim.read_bytes()[:-1])
    verdict, reason = said(dest=str(torn))
    assert verdict == "fail" and "bytes instead of" in reason
    victim.unlink()
    assert "is missing" in said(dest=str(torn))[1]


def test_a_backup_in_a_bucket_is_looked_at_too(ask, aws):
    pg, dest = server(15), f"s3://t-portal/{uuid.uuid4().hex[:8]}"
    pg.make("t_checklist", rows=20)
    done = run_module("pg_backup", dest=dest, databases=["t_checklist"], release="v1.0.0", **pg.login, **aws)
    assert not done["failed"], done
    item = {"name": "backup", "backup": {"dest": dest, "databases": ["t_checklist"]}}
    assert verdicts(ask(item, **aws)) == {"backup": "pass"}
    s3, prefix = boto("s3", aws), dest.partition("t-portal/")[2]
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="t-portal", Prefix=prefix)["Contents"]]
    s3.delete_object(Bucket="t-portal", Key=next(key for key in keys if not key.endswith(".json")))
    done = ask(item, **aws)
    assert verdicts(done) == {"backup": "fail"} and "is missing" in done["msg"]


def test_a_rollback_needs_a_backup_that_was_made_since(ask, ledger, taken, aws, sandbox):
    item = {"name": "rollback", "rollback": {"backups": taken[0]}}
    asked = {"ledger": ledger.store, **aws}
    record = {"images": {"tiny": tiny(sandbox["REGISTRY"], "1")}}
    ledger("recorded", id=f"{stamp(3600)}-v1.0.0", release="v1.0.0", outcome="good", record=record)
    assert verdicts(ask(item, **asked)) == {"rollback": "pass"}
    later = f"{stamp(-60)}-v1.0.1"
    ledger("recorded", id=later, release="v1.0.1", outcome="good", record=record)
    done = ask(item, **asked)
    assert verdicts(done) == {"rollback": "fail"} and "no backup is left" in done["msg"]
    # The one that it took itself will do, whenever that was.
    ledger("recorded", id=later, record={"backup": taken[1]["manifest"]})
    assert verdicts(ask(item, **asked)) == {"rollback": "pass"}


def test_nothing_is_deployed_in_a_freeze(ask):
    def said(window):
        return verdicts(ask({"name": "freeze", "freezes": [window]}))["freeze"]

    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    window = {"from": (now - hour).isoformat(), "until": (now + hour).isoformat(), "reason": "payday"}
    assert said(window) == "fail"
    assert said({**window, "until": (now - hour / 2).isoformat()}) == "pass"
    assert said({"days": [now.strftime("%a").lower()], "reason": "payday"}) == "fail"
    assert said({"days": [(now + 48 * hour).strftime("%a").lower()], "reason": "payday"}) == "pass"
    assert said({"from": "soon", "until": "later"}) == "error", "a window that cannot be read freezes"


def manifest_key(prefix, release):
    from ansible_collections.eazepay.ops.plugins.module_utils.site.bucket import manifest

    return prefix + manifest(release)


def test_the_role_shows_the_table_and_stops(tmp_path):
    items = [
        {"name": "audit", "file": {"path": str(tmp_path / "none.json")}},
        {"name": "freeze", "freezes": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "reason": "audit"}]},
    ]
    given = {"preflight_items": items, "preflight_release": "v1.1.0", "preflight_revision": REVISION}
    stopped = play(tmp_path, "preflight", "preflight_result", given)
    assert stopped.rc == 2 and "2 of 2 items are red: audit, freeze" in stopped.output
    waived = {"preflight_waive": {"audit": "ticket 1", "freeze": "it mends an outage"}}
    done = play(tmp_path, "preflight", "preflight_result", {**given, **waived})
    assert done.rc == 0 and done.result["waived"] == waived["preflight_waive"], done.output
    assert "waived: it mends an outage" in " ".join(done.output.split())
