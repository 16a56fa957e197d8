"""The playbook `rollback` on a company of two tiny services."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.deployments import kill
from tests.images import tiny
from tests.portals import portal
from tests.shop import NAMES, shop


@pytest.fixture
def company(sandbox, tmp_path):
    with shop(tmp_path, sandbox) as made:
        yield made


def git(folder, *words):
    who = {f"GIT_{role}_{key}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    argv = ["git", "-C", str(folder), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **who}).stdout.strip()


def test_the_plan_then_the_rollback_then_its_undoing(company):
    planned = company.play("rollback.yml", "--check")
    assert "planned, nothing was touched" in planned and "-> v1.0.0" in planned
    assert company.versions() == {"v2"} and not company.slack() and len(company.ledger.query(9)["records"]) == 2

    # Another run has it: who, for what, and what to type when that one is gone.
    company.ledger.lock("run-7", "deploy v1.2.0, started by ann", 600)
    refused = company.play("rollback.yml", ok=False)
    assert "run-7" in refused and "'deploy v1.2.0, started by ann'" in refused and "-e force_lock=" in refused
    assert company.versions() == {"v2"}

    done = company.play("rollback.yml", "-e", "force_lock='its machine burnt'", awx_job_id=41, awx_user_name="ann")
    assert "Back at v1.0.0, from v1.1.0." in done and "-e to_release=v1.1.0" in done
    assert company.versions() == {"v1"}
    record = company.ledger.query(1)["records"][0]
    assert (record["release"], record["outcome"], record["rolled_back_from"]) == ("v1.0.0", "good", "v1.1.0")
    assert record["by"]["user"] == "ann" and record["by"]["job"] == "41" and record["by"]["host"]
    assert not company.ledger.query(1)["lock"]

    # One thread: begun, done, and its first message says how it ended.
    first, last, edit = company.slack()
    assert (first["path"], last["path"], edit["path"]) == ("/api/chat.postMessage",) * 2 + ("/api/chat.update",)
    assert last["message"]["thread_ts"] == edit["message"]["ts"] and "done" in edit["message"]["text"]
    assert "xoxb-shop" not in done
    assert [one["subject"].rpartition(": ")[2] for one in company.mails()] == ["started", "done"]

    # There is nothing further back, so a second rollback touches nothing.
    refused = company.play("rollback.yml", ok=False)
    assert "knows no good release" in refused and "Not told" not in refused, refused[-3000:]
    assert company.versions() == {"v1"}
    assert any("failed" in one["subject"] for one in company.mails("on-call"))

    company.play("rollback.yml", "-e", "to_release=v1.1.0")
    assert company.versions() == {"v2"}


def test_a_rollback_that_fails_is_put_back_and_explained(company):
    crash = tiny(company.sandbox["REGISTRY"], "v3", "crash")
    images = {"identity": company.images["v1.0.0"], "wallet": crash}
    company.ledger.record("20260101T010000Z-v1.0.0", {"release": "v1.0.0", "outcome": "good", "images": images})
    failed = company.play("rollback.yml", ok=False)
    assert "FAILED in step rollback_services" in failed and "wallet: container ended with code 3" in failed
    assert company.versions() == {"v2"}
    # It changed nothing, says the ledger, and the next one goes where it was to go.
    assert "in place is what was there before, v1.1.0" in failed
    found = company.ledger.query(1)
    assert (found["in_place"], found["newest"]) == ("v1.1.0", "v1.1.0")
    assert (found["roll_back_to"]["release"], found["records"][0]["put_back"]) == ("v1.0.0", ["identity", "wallet"])
    page = Path(re.search(r"less (\S+/index\.txt)", failed)[1])
    heading, cause = page.read_text().splitlines()[3:5]
    assert heading == "LIKELY CAUSE" and "wallet: " in cause
    assert "boom: no configuration" in (page.parent / "at_failure/wallet-service/logs.txt").read_text()


def test_portals_go_forth_again_when_the_services_cannot_go_back(sandbox, tmp_path, module):
    with portal(sandbox) as bucket, shop(tmp_path, sandbox, bucket=bucket) as company:
        images = dict.fromkeys(NAMES, tiny(sandbox["REGISTRY"], "v3", "crash"))
        company.ledger.record("20260101T010000Z-v1.0.0", {"release": "v1.0.0", "outcome": "good", "images": images})
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "index.html").write_text("of v1.1.0")
        published = module("site_publish", bucket=bucket, src=str(tmp_path / "site"), release="v1.1.0")
        assert published["previous"] == "found", published
        planned = company.play("rollback.yml", "-e", "scope=complete", "--check")
        assert "Portal front: found" in planned and company.page() == "of v1.1.0"
        failed = company.play("rollback.yml", "-e", "scope=complete", ok=False)
        assert "FAILED in step rollback_services" in failed and "in place is what was there before, v1.1.0" in failed
        assert "Portal front: v1.1.0" in failed and "NOT AS BEFORE" not in failed, failed[-3000:]
        assert company.page() == "of v1.1.0" and company.versions() == {"v2"}
        found = company.ledger.query(1)
        assert (found["in_place"], found["newest"], found["records"][0]["stuck"]) == ("v1.1.0", "v1.1.0", [])


def test_all_of_it_with_the_code_prepared_and_not_pushed(company):
    origin, source = company.folder / "origin.git", company.folder / "source"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin)], check=True)
    subprocess.run(["git", "clone", "--quiet", str(origin), str(source)], check=True, capture_output=True)
    for release in ("v1.0.0", "v1.1.0"):
        (source / "code").write_text(f"{release}\n")
        (source / "logo").write_bytes(b"\0\1" + release.encode())
        git(source, "add", "--all")
        git(source, "commit", "--quiet", "-m", release)
        git(source, "tag", "-a", release, "-m", release)
    (source / "later").write_text("work that came after\n")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "-m", "later")
    git(source, "push", "--quiet", "--tags", "origin", "HEAD:main")

    done = company.play("rollback.yml", "-e", "scope=complete")
    assert "Code: branch revert-v1.1.0-to-v1.0.0" in done, done[-3000:]
    assert company.versions() == {"v1"}
    branch = "revert-v1.1.0-to-v1.0.0"
    assert git(source, "show", f"{branch}:code") == "v1.0.0" and git(source, "show", f"{branch}:later")
    assert git(source, "rev-parse", f"{branch}^") == git(source, "rev-parse", "origin/main")
    assert not git(source, "ls-remote", "origin", branch) and len(git(source, "worktree", "list").splitlines()) == 1


def test_code_that_cannot_be_reverted_is_said_and_fails_nothing(company):
    done = company.play("rollback.yml", "-e", "scope=complete")
    assert "no branch could be prepared" in done and company.versions() == {"v1"}


def test_what_a_killed_deployment_left_goes_back_to_what_it_found(company):
    """The first deployment of all, killed: no good record, but the record says what it found."""
    for record in (company.folder / "ledger" / "records").iterdir():
        record.unlink()
    before = {"release": "v1.0.0", "images": {"main": company.images["v1.0.0"]}}
    services = [{"name": name, "before": before} for name in ("identity", "wallet")]
    company.ledger.record("20260102T000000Z-v1.1.0", {"release": "v1.1.0", "outcome": "running", "services": services})
    company.play("rollback.yml")
    assert company.versions() == {"v1"}


def test_a_rollback_that_is_killed_is_done_by_the_next_one(company):
    run = company.start("rollback.yml")
    deadline = time.monotonic() + 120
    while company.versions() == {"v2"}:
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[0][-3000:]
        time.sleep(0.1)
    kill(run)
    company.play("rollback.yml")
    assert company.versions() == {"v1"}


def test_bad_input_is_refused(company):
    assert "scope is services, portals, database or complete, not all" in company.play(
        "rollback.yml", "-e", "scope=all", ok=False
    )
    missing = company.play("rollback.yml", "-e", "to_release=v0.9.0", ok=False)
    assert "knows no good release v0.9.0. Nothing was touched" in missing
    assert company.versions() == {"v2"}
