"""Maintenance on both targets, as users meet it: 503 that says when to come back, and then nothing more of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger, text_of
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import Folder

from sandbox.traffic import Traffic
from tests.conftest import ROOT
from tests.deployments import hosts, kill, playbook

HOUR = 3600.0


class Place:
    """A target on which the company serves."""

    def __init__(self, sandbox, target):
        self.sandbox, self.target = sandbox, target
        self.edge = sandbox[f"{target.upper()}_EDGE_URL"]
        self.more = ("-e", f"eazepay_target={target}")
        seed = [sys.executable, "-m", "sandbox", "seed", "--target", target]
        subprocess.run(seed, cwd=ROOT, check=True, timeout=600)

    def switch(self):
        """All that maintenance may have changed."""
        if self.target == "compose":
            folder = Path(self.sandbox["SANDBOX_DIR"], "maintenance")
            return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}
        asked = ["kubectl", "-n", "eazepay", "get", "service", "edge", "-o", "json"]
        found = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        for mine_to_forget in ("resourceVersion", "managedFields"):
            found["metadata"].pop(mine_to_forget, None)
        return found

    def play(self, *words, ok=True):
        done = playbook("maintenance.yml", *self.more, *(word for one in words for word in ("-e", one)))
        assert "Traceback" not in done.stdout + done.stderr
        assert (done.returncode == 0) is ok, done.stdout[-5000:]
        return " ".join(done.stdout.split())

    def start(self, *words, screen=subprocess.DEVNULL):
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        given = [word for one in words for word in ("-e", one)]
        argv = [program, "playbooks/maintenance.yml", "-i", "inventories/local", *self.more, *given]
        env = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        return subprocess.Popen(
            argv, cwd=ROOT, start_new_session=True, env=env, stdout=screen, stderr=subprocess.DEVNULL, text=True
        )

    @contextmanager
    def traffic(self):
        with Traffic(self.edge, hosts()) as traffic:
            traffic.await_sent(20)
            assert traffic.result.failed == 0, traffic.result.summary()
            yield traffic


@pytest.fixture(params=["compose", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def place(request, sandbox):
    made = Place(sandbox, request.param)
    before = made.switch()
    yield made
    if made.switch() != before:
        made.play("state=off", "force=true", "reason=test")


@pytest.fixture
def announced(sandbox):
    """A window that people were told of two days ago, and that is now."""
    ledger = Ledger(Folder(str(Path(sandbox["SANDBOX_DIR"], "ledger"))), clock=lambda: time.time() - 50 * HOUR)
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex}"
    starts = text_of(time.time() - 60)
    notice = {"kind": "maintenance", "reason": "upgrade", "starts": starts, "minutes": 60, "delivered": ["mail"]}
    yield ledger.notice(name, notice)["notice"]
    Path(sandbox["SANDBOX_DIR"], "ledger", "notices", f"{name}.json").unlink()


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def turned_away(traffic, of=0):
    """The failures from that one on; each has to be maintenance that says when to come back, to every service."""
    found = traffic.result.failures[of:]
    assert {one.cause for one in found} <= {"503"}, traffic.result.summary()
    assert all(one.retry_after == "120" for one in found)
    return found


def test_scheduled_maintenance_turns_users_away_and_lets_them_in_again(place, announced):
    before = place.switch()
    with place.traffic() as traffic:
        on = place.play("state=on", "reason=upgrade", "minutes=30")
        assert f"local ({place.target}): on upgrade, since" in on
        # What was asked before may be answered now.
        traffic.await_sent(8)
        served = traffic.result.sent - traffic.result.failed
        traffic.await_sent(60)
        assert traffic.result.sent - traffic.result.failed == served, "nobody is served while it is on"
        assert {one.service for one in turned_away(traffic)} == {name.partition(".")[0] for name in hosts()}
        place.play("state=off")
        assert place.switch() == before
        traffic.await_sent(8)
        away = len(traffic.result.failures)
        traffic.await_sent(60)
    assert not turned_away(traffic, of=away), "none after it is off"


def test_it_is_refused_earlier_than_its_notice_allows(place):
    before = place.switch()
    refused = place.play("state=on", "reason=upgrade", ok=False)
    assert "nobody was told of the maintenance" in refused or "announce another" in refused or "not before" in refused
    assert place.switch() == before


def test_a_run_that_is_killed_leaves_maintenance_that_lifts_itself(place):
    before = place.switch()
    with place.traffic() as traffic:
        run = place.start("state=on", "kind=emergency", "reason=trouble", "maintenance_duration=6")
        until(lambda: traffic.result.failed or run.poll() is not None)
        assert run.poll() is None, "it was killed while it was at work"
        kill(run)
        until(lambda: place.switch() == before)
        traffic.await_sent(8)
        away = len(traffic.result.failures)
        traffic.await_sent(60)
    assert turned_away(traffic) and len(traffic.result.failures) == away, traffic.result.summary()


def test_an_emergency_is_on_at_once_and_begins_a_post_mortem(place):
    before = place.switch()
    began = time.monotonic()
    run = place.start("state=on", "kind=emergency", "reason=wallet-loses-bookings", screen=subprocess.PIPE)
    with Traffic(place.edge, hosts()) as traffic:
        until(lambda: traffic.result.failed)
        assert time.monotonic() - began < 30
        screen = run.communicate(timeout=200)[0]
        assert run.returncode == 0, screen[-5000:]
        turned_away(traffic)
    assert "Diagnostics: /" in screen, screen[-3000:]
    pages = Path(place.sandbox["SANDBOX_DIR"], "postmortems").glob("*.md")
    text = max(pages, key=lambda page: page.stat().st_mtime).read_text()
    assert "wallet-loses-bookings" in text and "## Timeline" in text and place.sandbox["PGPASSWORD"] not in text
    place.play("state=off", "kind=emergency")
    assert place.switch() == before
