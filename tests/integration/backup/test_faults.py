"""Killed runs, full disks, dead servers: no earlier backup is harmed, and nothing half made looks whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.backup.store import open_store
from ansible_collections.eazepay.ops.plugins.module_utils.backup.take import Backups
from ansible_collections.eazepay.ops.plugins.module_utils.restore.restore import Restores
from ansible_collections.eazepay.ops.plugins.modules import pg_backup, pg_restore

from tests.integration.site.server import aws_server, boto, in_process
from tests.modules import finish_module, run_module, start_module
from tests.postgres import Throwaway, server

CLASSES = {pg_backup: Backups, pg_restore: Restores}
PREFIX = "f_"


def work(module, **arguments):
    return in_process(module, lambda params, check: CLASSES[module](params, check).run(), **arguments)


def started(module, **arguments):
    """A run in a process of its own that has all its imports behind it, so that any moment of it is work."""
    process = multiprocessing.get_context("fork").Process(target=work, args=(module,), kwargs=arguments)
    process.start()
    return process


def whole(dest, **options) -> set[str]:
    """The backups that are there, each with every byte as it was written."""
    store = open_store(str(dest), "check", options)
    found = store.list()
    assert not [one for one in found if one.broken]
    for one in found:
        store.check(one.id)
    return {one.id for one in found}


def drop(pg, prefix=PREFIX):
    for name in pg.databases():
        if name.startswith(prefix):
            pg.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            pg.run(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def aws():
    with aws_server() as options:
        yield options


@pytest.fixture
def bucket(aws):
    name = f"t-fault-{uuid.uuid4().hex[:10]}"
    boto("s3", aws).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return f"s3://{name}/b"


@pytest.fixture
def pg():
    pg = server(15)
    drop(pg)
    yield pg
    drop(pg)


def killed_rounds(module, rounds, seed, check, **arguments):
    """Runs and kills as often as that, at moments all over a run's length; ``check`` follows each."""
    begun = time.monotonic()
    result = work(module, **arguments)
    assert not result["failed"], result
    length = time.monotonic() - begun
    chance = random.Random(seed)
    killed = 0
    for _try in range(3 * rounds):
        begun = time.monotonic()
        process = started(module, **arguments)
        process.join(length * (killed + chance.random()) / rounds)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
        else:
            length = min(length, time.monotonic() - begun)  # the machine is less busy than it was
        check()
        if killed == rounds:
            return
    raise AssertionError(f"only {killed} of {rounds} runs were killed before they ended")


def test_a_backup_killed_at_fifty_moments(pg, tmp_path):
    pg.make("f_kill", rows=200)
    arguments = {"dest": str(tmp_path), "databases": ["f_kill"], "max_age": "0", "lock_timeout": 60, **pg.login}
    first = work(pg_backup, **arguments)["backup"]["id"]
    killed_rounds(pg_backup, 50, 11, lambda: whole(tmp_path) >= {first} or pytest.fail("harmed"), **arguments)
    result = work(pg_backup, **{**arguments, "verify": "restore"})
    assert not result["failed"], result
    assert {first, result["backup"]["id"]} <= whole(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial")]
    assert not [name for name in pg.databases() if "scratch" in name]


def test_a_backup_to_s3_killed_at_many_moments(pg, aws, bucket):
    pg.make("f_kill", rows=50)
    arguments = {"dest": bucket, "databases": ["f_kill"], "max_age": "0", "lock_timeout": 60, **pg.login, **aws}
    first = work(pg_backup, **arguments)["backup"]["id"]
    killed_rounds(pg_backup, 15, 12, lambda: first in whole(bucket, **aws) or pytest.fail("harmed"), **arguments)
    assert not work(pg_backup, **arguments)["failed"]


def test_a_restore_killed_at_fifty_moments(pg, tmp_path):
    pg.make("f_kill", rows=50)
    common = {"databases": ["f_kill"], "lock_timeout": 60, **pg.login}
    made = work(pg_backup, dest=str(tmp_path), **common)["backup"]
    pg.run("DELETE FROM volatile WHERE i > 5", "f_kill")

    def old_or_new():
        ((open_, comment),) = pg.run(
            "SELECT datallowconn, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'f_kill'"
        )
        if open_:
            assert pg.run("SELECT count(*) FROM volatile", "f_kill") in ([(5,)], [(10,)])
        else:
            assert json.loads(comment)["kind"] == "fence"  # for the next run to lift

    arguments = {"manifest": made["manifest"], "force": True, **common}
    killed_rounds(pg_restore, 50, 7, old_or_new, **arguments)
    result = work(pg_restore, **arguments)
    assert not result["failed"], result
    assert pg.run("SELECT count(*) FROM volatile", "f_kill") == [(10,)]
    assert not [name for name in pg.databases() if "_side_" in name]
    work(pg_restore, state="absent", **common)
    assert [name for name in pg.databases() if name.startswith("f_")] == ["f_kill"]


@pytest.mark.parametrize("format", ["directory", "custom"])
def test_a_disk_that_is_full_sooner_or_later(pg, tmp_path, format):
    pg.make("f_full", rows=20)
    common = {"dest": str(tmp_path), "databases": ["f_full"], "max_age": "0", "format": format, **pg.login}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(tmp_path)], check=True)
    try:
        first = work(pg_backup, **common)["backup"]["id"]
        # 640 bytes a row that zstd does not make much smaller.
        pg.run("""CREATE TABLE noise AS SELECT string_agg(md5(random()::text || r), '') FROM generate_series(1, 3000) r,
            generate_series(1, 20) n GROUP BY r""", "f_full")  # fmt: skip
        stat = os.statvfs(tmp_path)
        used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize >> 10
        failed, made = 0, {first}
        for room in (4, 12, 40, 100, 200, 400, 800, 1200, 16000):
            subprocess.run(["mount", "-o", f"remount,size={used + room}k", str(tmp_path)], check=True)
            result = work(pg_backup, check_space=False, **common)
            assert [name for name in os.listdir(tmp_path) if name.endswith(".partial")] == []
            if result["failed"]:
                failed += 1
                assert "No space left" in result["msg"] and "No earlier backup was touched" in result["msg"], result
            if not result["failed"] or "is whole, but" in result["msg"]:
                made = whole(tmp_path)
            assert whole(tmp_path) == made and first in made
        assert 4 <= failed < 9
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_server_that_dies_in_the_middle_of_a_restore(tmp_path):
    own = Throwaway(15)
    try:
        own.make("f_dies", rows=3000)
        # An index that takes its time: the restore is under way for as long as the test needs to see it.
        own.run(
            """CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.05); RETURN $1; END $$; CREATE INDEX ON parts_1 (slow(n)) WHERE n <= 5""",
            "f_dies",
        )
        common = {"databases": ["f_dies"], **own.login}
        made = run_module("pg_backup", dest=str(tmp_path), **common)["backup"]
        own.run("DELETE FROM volatile WHERE i > 5; UPDATE parts SET n = n", "f_dies")
        own.run("ALTER SYSTEM SET max_parallel_maintenance_workers = 0")
        process = start_module("pg_restore", manifest=made["manifest"], **common)
        deadline = time.monotonic() + 120
        while not [name for name in own.databases() if "_side_" in name]:
            assert process.poll() is None and time.monotonic() < deadline
        own.kill()
        result = finish_module(process)
        assert result["failed"], result
        own.start()
        assert own.run("SELECT count(*) FROM volatile", "f_dies") in ([(5,)], [(0,)])  # unlogged: a crash empties it
        assert own.run("SELECT count(*) FROM parts", "f_dies") == [(3000,)]
        again = run_module("pg_restore", manifest=made["manifest"], **common)
        assert not again["failed"], again
        assert own.run("SELECT count(*) FROM volatile", "f_dies") == [(10,)]
        assert not [name for name in own.databases() if "_side_" in name]
    finally:
        own.stop()


def test_a_server_that_dies_in_the_middle_of_a_stream(aws, bucket):
    own = Throwaway(15)
    try:
        own.make("f_dies", rows=5)
        arguments = {"dest": bucket, "databases": ["f_dies"], "max_age": "0", **own.login, **aws}
        first = run_module("pg_backup", **arguments)["backup"]["id"]
        holder = own.connect("f_dies")
        holder.autocommit = False
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE ONLY parts IN ACCESS EXCLUSIVE MODE")
        process = start_module("pg_backup", lock_wait_timeout=120, **arguments)
        deadline = time.monotonic() + 120
        while not own.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'f_dies'"):
            assert process.poll() is None and time.monotonic() < deadline
        own.kill()
        result = finish_module(process)
        holder.close()
        assert result["failed"] and "No earlier backup was touched" in result["msg"], result
        assert whole(bucket, **aws) == {first}
    finally:
        own.stop()


def test_two_backups_to_s3_at_once_make_one(pg, aws, bucket):
    pg.make("f_twice", rows=100)
    arguments = {"dest": bucket, "databases": ["f_twice"], "release": "v1", "lock_timeout": 120, **pg.login, **aws}
    results = [finish_module(one) for one in [start_module("pg_backup", **arguments) for _ in range(2)]]
    assert sorted(one["changed"] for one in results) == [False, True], results
    assert len(whole(bucket, **aws)) == 1


def below(pid: int) -> list[int]:
    """The processes that descend from one."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def test_no_secret_shows_anywhere_on_the_way_to_s3(pg, aws, bucket, tmp_path):
    pg.make("f_hidden", rows=2000)
    identity = tmp_path / "identity"
    said = subprocess.run(["age-keygen", "-o", str(identity)], check=True, capture_output=True, text=True).stderr
    canaries = [b"rd-canary", b"s3-canary-secret", b"s3-canary-token", identity.read_bytes().splitlines()[-1]]
    options = {**aws, "secret_key": "s3-canary-secret", "session_token": "s3-canary-token"}
    arguments = {
        "dest": bucket, "databases": ["f_hidden"], "verify": "restore", "age_identity": str(identity),
        "age_recipients": [said.split()[-1]], "progress_file": str(tmp_path / "progress"), **pg.login, **options,
    }  # fmt: skip
    process = start_module("pg_backup", env={"TMPDIR": str(tmp_path)}, **arguments)
    seen: set[bytes] = set()
    wrong: list[bytes] = []

    def watch():
        while process.poll() is None:
            for pid in below(process.pid):
                try:
                    shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
                except OSError:
                    continue
                seen.add(shown.split(b"\0")[0].rpartition(b"/")[2])
                wrong.extend(one for one in canaries if one in shown)

    watcher = threading.Thread(target=watch)
    watcher.start()
    stdout, stderr = process.communicate(timeout=300)
    watcher.join()
    assert '"changed": true' in stdout, stdout + stderr
    assert not wrong and {b"pg_dump", b"age", b"pg_restore"} <= seen, seen
    for canary in canaries:
        assert canary not in stdout.encode() + stderr.encode()
        for file in tmp_path.rglob("*"):
            assert file == identity or not file.is_file() or canary not in file.read_bytes(), file
    s3 = boto("s3", aws)
    name = bucket[5:].partition("/")[0]
    for item in s3.list_objects_v2(Bucket=name)["Contents"]:
        content = s3.get_object(Bucket=name, Key=item["Key"])["Body"].read()
        assert not [one for one in canaries if one in content], item["Key"]
