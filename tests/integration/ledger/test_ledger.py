from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.modules import release_ledger

from tests.integration.site.server import aws_server, boto, in_process

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def aws():
    with aws_server() as options:
        boto("s3", options).create_bucket(
            Bucket="t-ledger", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield options


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """Options of a ledger of the test's own."""
    if request.param == "folder":
        return {"store": str(tmp_path / "ledger")}
    return {"store": f"s3://t-ledger/{uuid.uuid4().hex[:8]}", **request.getfixturevalue("aws")}


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


def test_damaged_records_are_said_and_matter_only_above_the_last_good_one(tmp_path):
    store = tmp_path / "ledger"

    def ledger(state="queried", **options):
        return in_process(release_ledger, release_ledger.release_ledger, state=state, store=str(store), **options)

    for day in (1, 2, 3):
        ledger("recorded", id=f"2026110{day}T000000Z-v{day}", release=f"v{day}", outcome="good")
    old = store / "records" / "20261101T000000Z-v1.json"
    old.write_bytes(old.read_bytes()[:40])
    found = ledger()
    assert not found["failed"] and found["roll_back_to"]["release"] == "v2"
    newest = store / "records" / "20261103T000000Z-v3.json"
    newest.write_text(newest.read_text().replace("good", "fine"))
    by_hand = ledger()
    assert by_hand["failed"] and "changed by hand" in by_hand["msg"] and "20261103T000000Z-v3" in by_hand["msg"]
    newest.write_text(json.dumps({"schema": 7}))
    assert "its format is 7" in ledger()["msg"]
    (store / "lock.json").write_text("{")
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


def race(store: str, scratch: Path, options: dict, rounds: int, kills: int) -> list[str]:
    """Two processes race for the lock; now and then one is killed and another takes its place."""

    def start(name: str) -> subprocess.Popen:
        argv = [sys.executable, "-m", "tests.integration.ledger.worker", store, str(scratch), name, json.dumps(options)]
        return subprocess.Popen(argv, cwd=ROOT)

    def log() -> list[str]:
        return (scratch / "log").read_text().splitlines() if (scratch / "log").exists() else []

    workers = [start("a"), start("b")]
    chance = random.Random(1)
    deadline = time.monotonic() + 180
    try:
        killed = 0
        while (len(log()) < rounds or killed < kills) and "violation" not in log():
            assert time.monotonic() < deadline, f"{len(log())} rounds, {killed} kills"
            time.sleep(chance.uniform(0, 0.02))
            if killed < kills and len(log()) > (killed + 1) * rounds // (kills + 1):
                which = chance.randrange(2)
                workers[which].kill()
                workers[which].wait()
                workers[which] = start("ab"[which])
                killed += 1
        return log()
    finally:
        (scratch / "stop").touch()
        for worker in workers:
            worker.wait(60)


def check(log: list[str]) -> list[int]:
    assert "violation" not in log and not [line for line in log if line.startswith("error")], log
    generations = [int(line.split()[1]) for line in log]
    assert generations == sorted(set(generations)), "each holder has a higher generation than the one before"
    return generations


def test_two_processes_never_both_hold_a_folders_lock_even_when_they_are_killed(tmp_path):
    check(race(str(tmp_path / "ledger"), tmp_path, {}, rounds=300, kills=12))


def test_two_processes_never_both_hold_a_lock_in_s3(tmp_path, aws):
    check(race(f"s3://t-ledger/{uuid.uuid4().hex[:8]}", tmp_path, aws, rounds=60, kills=2))


def test_no_record_is_lost_when_two_write_the_same_one(tmp_path):
    code = """
import sys
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import Folder
book = Ledger(Folder(sys.argv[1]))
for number in range(40):
    book.record("20261126T113000Z-v1", {"release": "v1", "steps": {f"{sys.argv[2]}{number}": number}})
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [one.wait(120) for one in both] == [0, 0]
    found = in_process(release_ledger, release_ledger.release_ledger, store=str(tmp_path))
    assert len(found["records"][0]["steps"]) == 80
