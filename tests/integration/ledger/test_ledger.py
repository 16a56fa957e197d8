from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import open_store
from ansible_collections.eazepay.ops.plugins.modules import release_ledger

from tests.integration.site.server import in_process

ROOT = Path(__file__).parents[3]


@pytest.fixture
def ledger(store):
    def run(state="queried", **options):
        return in_process(release_ledger, release_ledger.release_ledger, state=state, **{**store, **options})

    return run


def test_one_run_holds_the_lock_and_the_other_is_told(ledger):
    assert ledger("locked", owner="run-1", check=True)["changed"] and not ledger()["lock"]
    first = ledger("locked", owner="run-1", purpose="deploy v1.1.0")
    assert first["changed"] and first["lock"]["owner"] == "run-1" and not first["taken_from"]
    assert not ledger("locked", owner="run-1")["changed"]
    refused = ledger("locked", owner="run-2")
    assert refused["failed"] and "run-1" in refused["msg"] and "'deploy v1.1.0'" in refused["msg"]
    assert refused["lock"]["owner"] == "run-1"
    assert ledger("unlocked", owner="run-2")["failed"]
    assert ledger("unlocked", owner="run-1")["changed"] and not ledger("unlocked", owner="run-1")["changed"]
    assert ledger("locked", owner="run-2")["lock"]["generation"] == 2


def test_a_lock_is_taken_over_when_it_expired_or_by_force(ledger):
    ledger("locked", owner="run-1", ttl=1)
    time.sleep(1.1)
    over = ledger("locked", owner="run-2", ttl=600)
    assert over["taken_from"]["owner"] == "run-1" and over["taken_from"]["why"] == "expired"
    assert ledger("locked", owner="run-3", force=True)["failed"], "force needs a reason"
    forced = ledger("locked", owner="run-3", force=True, reason="its machine burnt")
    assert forced["lock"]["taken_from"]["why"] == "its machine burnt"
    lost = ledger("recorded", id="20261126T113000Z-v1", release="v1", owner="run-2")
    assert lost["failed"] and "held by run-3" in lost["msg"]


def test_who_records_keeps_the_lock(ledger):
    until = ledger("locked", owner="run-1", ttl=600)["lock"]["expires"]
    time.sleep(0.01)
    ledger("recorded", id="20261126T113000Z-v1", release="v1", owner="run-1", check=True)
    assert ledger()["lock"]["expires"] == until
    ledger("recorded", id="20261126T113000Z-v1", release="v1", owner="run-1")
    held = ledger()["lock"]
    assert held["expires"] > until and held["owner"] == "run-1" and held["generation"] == 1


def test_records_are_merged_and_the_last_good_release_is_known(ledger):
    for day, release, outcome in ((1, "v1", "good"), (2, "v2", "good"), (3, "v3", "failed")):
        id = f"2026110{day}T000000Z-{release}"
        assert ledger("recorded", id=id, release=release, record={"services": {"a": day}})["changed"]
        ended = ledger("recorded", id=id, outcome=outcome, record={"services": {"b": day}})
        assert ended["record"]["services"] == {"a": day, "b": day} and ended["record"]["outcome"] == outcome
        assert not ledger("recorded", id=id, outcome=outcome)["changed"]
    found = ledger()
    assert found["in_place"] == "v3" and found["last_good"]["release"] == "v2"
    assert found["roll_back_to"]["release"] == "v2" and len(found["records"]) == 3
    assert len(ledger(limit=1)["records"]) == 1


def test_damaged_records_are_said_and_matter_only_above_the_last_good_one(ledger, store):
    place = open_store(store["store"], store)

    def damage(name, how):
        found = place.read(name)
        assert place.write(name, how(found.data if found else b""), found.version if found else None)

    for day in (1, 2, 3):
        ledger("recorded", id=f"2026110{day}T000000Z-v{day}", release=f"v{day}", outcome="good")
    damage("records/20261101T000000Z-v1", lambda data: data[:40])
    found = ledger()
    assert not found["failed"] and found["roll_back_to"]["release"] == "v2"
    assert "truncated" in found["unreadable"]["20261101T000000Z-v1"]
    newest = "records/20261103T000000Z-v3"
    damage(newest, lambda data: data.replace(b"good", b"fine"))
    by_hand = ledger()
    assert by_hand["failed"] and "changed by hand" in by_hand["msg"] and "20261103T000000Z-v3" in by_hand["msg"]
    # Nothing is written over what cannot be read.
    again = ledger("recorded", id="20261103T000000Z-v3", outcome="good")
    assert again["failed"] and "changed by hand" in again["msg"] and b"fine" in place.read(newest).data
    damage(newest, lambda _data: json.dumps({"schema": 7}).encode())
    assert "its format is 7" in ledger()["msg"]
    damage("lock", lambda _data: b"{")
    assert "truncated" in ledger("locked", owner="x")["msg"]
    assert ledger("locked", owner="x", force=True, reason="nobody deploys")["lock"]["owner"] == "x"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store": "relative"}, "no absolute path"),
        ({"store": "s3://"}, "names no bucket"),
        ({"state": "recorded", "id": "../x", "release": "v1"}, "is not like"),
        ({"state": "recorded", "id": "20261126T113000Z-v1"}, "names no release"),
        ({"store": "/proc/ledger", "state": "locked", "owner": "x"}, "Check the folder"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, options, said):
    result = in_process(release_ledger, release_ledger.release_ledger, **{"store": str(tmp_path), **options})
    assert result["failed"] and said in result["msg"], result


def test_the_module_itself(module, tmp_path):
    given = {"store": str(tmp_path), "state": "recorded", "id": "20261126T113000Z-v1", "release": "v1"}
    planned = module("release_ledger", check=True, diff=True, **given)
    assert planned["changed"] and '"release": "v1"' in planned["diff"]["after"]
    assert module("release_ledger", **given)["changed"] and not module("release_ledger", **given)["changed"]
    assert oct((tmp_path / "records" / "20261126T113000Z-v1.json").stat().st_mode & 0o777) == "0o640"


class Workers:
    """Two processes that work on one ledger until they are told to stop; see worker.py."""

    def __init__(self, what: str, store: dict, scratch: Path) -> None:
        options = {key: value for key, value in store.items() if key != "store"}
        self.argv = [what, store["store"], str(scratch), json.dumps(options)]
        self.scratch = scratch
        self.running = [self.start("a"), self.start("b")]

    def start(self, name: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-m", "tests.integration.ledger.worker", *self.argv, name], cwd=ROOT)

    def log(self) -> list[str]:
        file = self.scratch / "log"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, rounds: int, kills: int) -> list[str]:
        """What they wrote down in that many rounds; now and then one is killed, and another takes its place."""
        chance, killed = random.Random(1), 0
        deadline = time.monotonic() + 180
        try:
            while len(self.log()) < rounds or killed < kills:
                done = len(self.log())
                assert time.monotonic() < deadline, f"{done} rounds, {killed} kills"
                assert all(one.poll() is None for one in self.running), self.log()[-3:]
                time.sleep(chance.uniform(0, 0.02))
                if killed < kills and done > (killed + 1) * rounds // (kills + 1):
                    while len(self.log()) == done:
                        assert time.monotonic() < deadline
                    # Whoever took the lock just now may still have it.
                    which = chance.randrange(2) if killed % 2 else "ab".index(self.log()[-1].split()[-1][0])
                    self.running[which].kill()
                    self.running[which].wait()
                    self.running[which] = self.start("ab"[which])
                    killed += 1
        finally:
            (self.scratch / "stop").touch()
            for worker in self.running:
                worker.wait(60)
        return self.log()


# A round in a folder takes milliseconds; each kill costs the new process a second.
RACES = {"folder": (300, 12), "s3": (200, 6), "configmap": (200, 6)}


@pytest.fixture
def rounds(request):
    return RACES[request.node.callspec.params["store"]]


def test_two_processes_never_both_hold_the_lock_even_when_they_are_killed(store, tmp_path, rounds):
    log = Workers("lock", store, tmp_path).run(*rounds)
    assert not [line for line in log if not line.startswith("took ")], log
    generations = [int(line.split()[1]) for line in log]
    assert generations == sorted(set(generations)), "each holder has a higher generation than the one before"
    assert "dead" in {line.split()[2] for line in log}, "one was killed while it held the lock"


def test_no_record_is_lost_when_two_write_the_same_one_and_are_killed(store, ledger, tmp_path, rounds):
    log = Workers("record", store, tmp_path).run(*rounds)
    kept = {line.split()[1] for line in log if line.startswith("kept ")}
    assert len(kept) == len(log) >= rounds[0], log
    found = ledger()
    assert not found["failed"] and not found["unreadable"]
    assert kept <= set(found["records"][0]["steps"]), "what was once said to be kept is there"
