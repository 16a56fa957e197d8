"""pg_backup on real servers: what it writes, what it uses again, what it refuses."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.backup.folder import Folder
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import Server

from tests.modules import finish_module, run_module, start_module
from tests.postgres import PASSWORD, Throwaway, programs

ODD = "we \"ird' na=me ü"


def backup(pg, dest, **arguments):
    return run_module("pg_backup", dest=str(dest), **{**pg.login, **arguments})


def whole(dest) -> set[str]:
    """The backups that are there, each with every byte as it was written."""
    folder = Folder(str(dest), "check")
    found = folder.list()
    assert not [one for one in found if one.broken]
    for one in found:
        folder.check(one.id)
    return {one.id for one in found}


def leftovers(dest) -> list[str]:
    return [name for name in os.listdir(dest) if name.endswith(".partial")]


def until(true, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def test_backs_up_everything_restores_it_on_trial_and_uses_it_again(both, tmp_path):
    both.make(ODD)
    both.make("t_second", rows=20)
    dest = tmp_path / "backups"
    common = {"databases": [ODD, "t_second"], "release": "v1", "verify": "restore"}

    planned = backup(both, dest, check=True, **common)
    assert planned["changed"] and not dest.exists()

    result = backup(both, dest, **common)
    assert not result["failed"], result
    assert result["changed"] and not result["reused"] and result["backup"]["verified"] == "restore"
    manifest = json.loads(Path(result["backup"]["manifest"]).read_text())
    first = manifest["databases"][0]
    assert first["name"] == ODD and first["lsn"] and first["snapshot_at"]
    assert first["contents"]["rows"]['"public"."parts_1"'] == 180
    assert first["contents"]["rows"]['"Größe 1"."o\'brien ""x"" t"'] == 300
    assert first["contents"]["large_objects"] == 2
    assert first["migrations"] == {"migrations": ["First1", "Second2"]}
    assert manifest["server"]["system_identifier"] and manifest["release"] == "v1"
    for place, _folders, files in os.walk(dest):
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(place, name)).st_mode) == 0o600, name
    roles = (Path(result["backup"]["manifest"]).parent / "globals.sql").read_text()
    assert "CREATE ROLE super" in roles and "PASSWORD" not in roles
    assert not [name for name in both.databases() if "scratch" in name]

    again = backup(both, dest, **common)
    assert not again["changed"] and again["reused"] and again["backup"]["id"] == result["backup"]["id"]

    both.run("INSERT INTO migrations (timestamp, name) VALUES (3, 'Third3')", "t_second")
    after = backup(both, dest, **common)
    assert after["changed"] and after["backup"]["id"] != result["backup"]["id"]
    assert len(whole(dest)) == 2


def test_passwords_of_roles_are_kept_only_when_that_is_asked_for(pg, tmp_path):
    pg.make("t_globals", rows=1)
    for wanted, there in (("with_passwords", True), ("without_passwords", False), ("none", None)):
        made = backup(pg, tmp_path, databases=["t_globals"], max_age="0", globals=wanted)
        file = Path(made["backup"]["manifest"]).parent / "globals.sql"
        assert file.exists() == (there is not None)
        assert there is None or ("SCRAM-SHA-256" in file.read_text()) == there


def test_too_little_room_is_found_before_the_dump_begins(pg, tmp_path):
    pg.make("t_room", rows=2000)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)], check=True)
    try:
        result = backup(pg, tmp_path, databases=["t_room"])
        assert result["failed"] and "MiB are free and about" in result["msg"], result
        assert "No earlier backup was touched" in result["msg"] and not leftovers(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_each_release_and_each_age_has_its_own_backup(pg, tmp_path):
    pg.make("t_age", rows=5)
    ids = [
        backup(pg, tmp_path, databases=["t_age"], release=release, max_age=age)["backup"]["id"]
        for release, age in (("v1", "24h"), ("v2", "24h"), ("v2", "0"))
    ]
    assert len(set(ids)) == 3


def test_a_damaged_backup_is_not_used_again(pg, tmp_path):
    pg.make("t_damage", rows=5)
    first = backup(pg, tmp_path, databases=["t_damage"], release="v1")["backup"]
    victim = next(Path(first["manifest"]).parent.glob("0-*/toc.dat"))
    victim.write_bytes(victim.read_bytes()[:-1])
    second = backup(pg, tmp_path, databases=["t_damage"], release="v1")
    assert second["changed"] and second["backup"]["id"] != first["id"]


def test_one_flipped_bit_or_lost_byte_anywhere_is_refused(pg, tmp_path):
    pg.make("t_bits", rows=50)
    path = Path(backup(pg, tmp_path, databases=["t_bits"])["backup"]["manifest"]).parent
    folder = Folder(str(tmp_path), "check")
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "verified.json"]
    chance = random.Random(4)
    for _round in range(150):
        file = chance.choice(files)
        data = file.read_bytes()
        if not data:
            continue
        at = chance.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        for damaged in (flipped, data[:at], data + b"x"):
            file.write_bytes(damaged)
            with pytest.raises(OpsError):
                folder.check(path.name)
        file.write_bytes(data)
    folder.check(path.name)
    victim = chance.choice([file for file in files if file.name != "manifest.json"])
    data = victim.read_bytes()
    victim.unlink()
    with pytest.raises(OpsError, match="is missing"):
        folder.check(path.name)
    victim.write_bytes(data)
    (path / "stranger").touch()
    result = backup(pg, tmp_path, state="verified")
    assert result["failed"] and "does not belong" in result["msg"]


def test_a_wrong_name_harms_no_earlier_backup(pg, tmp_path):
    pg.make("t_right", rows=5)
    backup(pg, tmp_path, databases=["t_right"])
    before = whole(tmp_path)
    result = backup(pg, tmp_path, databases=["t_right", "t_wrong"])
    assert result["failed"] and "'t_wrong'" in result["msg"] and "No earlier backup was touched" in result["msg"]
    assert whole(tmp_path) == before and not leftovers(tmp_path)


def test_a_full_disk_harms_no_earlier_backup(pg, tmp_path):
    pg.make("t_full", rows=5)
    dest = tmp_path / "small"
    dest.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(dest)], check=True)
    try:
        backup(pg, dest, databases=["t_full"])
        before = whole(dest)
        assert len(before) == 1
        # 640 bytes a row that no compression of ours makes smaller.
        pg.run('INSERT INTO "Größe 1"."o\'brien ""x"" t" (body) SELECT repeat(md5(random()::text), 20) '
               "FROM generate_series(1, 9000)", "t_full")  # fmt: skip
        refused = backup(pg, dest, databases=["t_full"], max_age="0")
        assert refused["failed"] and "MiB are free" in refused["msg"]
        failed = backup(pg, dest, databases=["t_full"], max_age="0", check_space=False)
        assert failed["failed"] and "No space left" in failed["msg"], failed
        assert whole(dest) == before and not leftovers(dest)
    finally:
        subprocess.run(["umount", str(dest)], check=True)


def blocked_dump(pg, tmp_path, name, **arguments):
    """A backup that waits for a table that the given connection has locked, and that connection."""
    pg.make(name, rows=5)
    backup(pg, tmp_path, databases=[name])
    holder = pg.connect(name)
    holder.autocommit = False
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE ONLY parts IN ACCESS EXCLUSIVE MODE")
    process = start_module("pg_backup", dest=str(tmp_path), databases=[name], max_age="0", **{**pg.login, **arguments})
    return process, holder


def waits_for_lock(pg, name):
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{name}'"
    return pg.run(sql)[0][0] > 0


def test_a_table_that_is_locked_fails_the_backup_in_time(pg, tmp_path):
    process, holder = blocked_dump(pg, tmp_path, "t_locked", lock_wait_timeout=1)
    before = whole(tmp_path)
    result = finish_module(process)
    holder.close()
    assert result["failed"] and "lock" in result["msg"] and whole(tmp_path) == before and not leftovers(tmp_path)


def test_a_table_that_is_locked_before_the_dump_begins_does_so_too(pg, tmp_path):
    pg.make("t_early", rows=5)
    holder = pg.connect("t_early")
    holder.autocommit = False
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE volatile IN ACCESS EXCLUSIVE MODE")
    result = backup(pg, tmp_path, databases=["t_early"], lock_wait_timeout=1)
    holder.close()
    assert result["failed"] and "lock" in result["msg"] and not leftovers(tmp_path)


def test_a_server_that_dies_leaves_nothing(tmp_path):
    own = Throwaway(15)
    try:
        process, holder = blocked_dump(own, tmp_path, "t_dies", lock_wait_timeout=120)
        until(lambda: waits_for_lock(own, "t_dies"), "pg_dump waits")
        before = whole(tmp_path)
        own.kill()
        result = finish_module(process)
        assert result["failed"] and "No earlier backup was touched" in result["msg"], result
        assert whole(tmp_path) == before and not leftovers(tmp_path)
        holder.close()
    finally:
        own.stop()


def test_the_password_is_nowhere(pg, tmp_path):
    process, holder = blocked_dump(pg, tmp_path / "b", "t_hidden", lock_wait_timeout=120)
    until(lambda: waits_for_lock(pg, "t_hidden"), "pg_dump waits")
    canary = b"rd-canary"
    seen = []
    for entry in os.scandir("/proc"):
        try:
            command = Path(entry.path, "cmdline").read_bytes()
            environment = Path(entry.path, "environ").read_bytes()
        except (OSError, ValueError):
            continue
        if b"pg_dump" in command and str(tmp_path).encode() in command:
            seen.append(command)
            assert canary not in command and canary not in environment
    assert seen
    holder.close()
    result = finish_module(process)
    assert not result["failed"], result
    assert "rd-canary" not in json.dumps(result, ensure_ascii=False)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or canary not in file.read_bytes(), file
    wrong = backup(pg, tmp_path / "b", login_password=PASSWORD + "wrong")
    assert wrong["failed"] and "rd-canary" not in json.dumps(wrong, ensure_ascii=False)


def test_a_killed_run_leaves_no_password_behind(pg, tmp_path):
    process, holder = blocked_dump(pg, tmp_path / "b", "t_hidden", lock_wait_timeout=120, env={"TMPDIR": str(tmp_path)})
    until(lambda: waits_for_lock(pg, "t_hidden"), "pg_dump waits")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    holder.close()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"rd-canary" not in file.read_bytes(), file


def test_two_backups_at_once_make_one(pg, tmp_path):
    pg.make("t_twice", rows=500)
    arguments = {"dest": str(tmp_path), "databases": ["t_twice"], "release": "v1", "lock_timeout": 120, **pg.login}
    results = [finish_module(one) for one in [start_module("pg_backup", **arguments) for _ in range(2)]]
    assert sorted(one["changed"] for one in results) == [False, True], results
    assert len(whole(tmp_path)) == 1


def test_a_database_in_other_hands_is_refused(pg, tmp_path):
    pg.make("t_held", rows=5)
    with Server(dict(pg.login), "migrate").locked(["t_held"]):
        result = backup(pg, tmp_path, databases=["t_held"])
        assert result["failed"] and "in the hands of eazepay.ops migrate" in result["msg"]
    assert not backup(pg, tmp_path, databases=["t_held"])["failed"]


def test_a_migration_that_outlived_its_run_is_not_dumped(pg, tmp_path):
    pg.make("t_migrating", rows=5)
    tool = pg.connect("t_migrating")
    with tool.cursor() as cursor:
        cursor.execute("SET application_name = 'eazepay.ops migration'")
    refused = backup(pg, tmp_path, databases=["t_migrating"])
    assert refused["failed"] and "a migration of database 't_migrating' is under way: process" in refused["msg"]
    assert not whole(tmp_path) and not leftovers(tmp_path)
    tool.close()
    assert backup(pg, tmp_path, databases=["t_migrating"])["changed"]


def test_a_pooler_is_refused(pg):
    """A pooler tells clients a process number of its own."""
    server_ = Server(dict(pg.login), "back up", "x")
    connect = server_.connect

    class Pooled:
        def __init__(self, connection):
            self.connection = connection

        @property
        def info(self):
            return type("Info", (), {"backend_pid": 1})

        def __getattr__(self, name):
            return getattr(self.connection, name)

    server_.connect = lambda *given: Pooled(connect(*given))  # type: ignore[method-assign]
    with pytest.raises(OpsError, match="pooler"), server_.locked(["x"]):
        pass


def test_rows_that_a_policy_hides_fail_the_backup(pg, tmp_path):
    pg.make("t_rls", rows=5)
    pg.run(f"""DROP ROLE IF EXISTS t_reader; CREATE ROLE t_reader LOGIN PASSWORD '{PASSWORD.replace("'", "''")}'
        IN ROLE pg_read_all_data""")
    pg.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "t_rls")
    pg.run("ALTER TABLE volatile ENABLE ROW LEVEL SECURITY", "t_rls")
    result = backup(pg, tmp_path, databases=["t_rls"], login_user="t_reader")
    assert result["failed"] and "row-level security" in result["msg"] and "BYPASSRLS" in result["msg"]
    assert not whole(tmp_path)


def test_programs_of_another_version_are_refused(pg, tmp_path):
    pg.make("t_version", rows=5)
    result = backup(pg, tmp_path, databases=["t_version"], bin_dir=programs(18))
    assert result["failed"] and "pg_dump of version 15 is missing" in result["msg"] and "18." in result["msg"]


def test_pruning_says_first_what_goes(pg, tmp_path):
    pg.make("t_prune", rows=5)
    ids = [backup(pg, tmp_path, databases=["t_prune"], release=f"v{i}")["backup"]["id"] for i in range(3)]
    arguments = {"state": "absent", "keep": {"last": 1}, "open_releases": ["v0"]}
    for check in (True, False):
        result = backup(pg, tmp_path, check=check, diff=True, **arguments)
        assert [one["id"] for one in result["pruned"]] == [ids[1]]
        assert ids[1] in result["diff"]["before"] and ids[1] not in result["diff"]["after"]
        assert (ids[1] in whole(tmp_path)) is check
    assert not backup(pg, tmp_path, **arguments)["changed"]
    last = backup(pg, tmp_path, state="absent", id=ids[0])
    assert last["changed"]
    refused = backup(pg, tmp_path, state="absent", id=ids[2])
    assert refused["failed"] and "last verified" in refused["msg"]
    assert [one["id"] for one in backup(pg, tmp_path, state="listed")["backups"]] == [ids[2]]


def test_progress_and_custom_format(both, tmp_path):
    both.make("t_custom", rows=100)
    progress = tmp_path / "progress"
    result = backup(
        both, tmp_path / "b", databases=["t_custom"], format="custom", verify="restore", progress_file=str(progress)
    )
    assert not result["failed"], result
    assert any("t_custom" in json.loads(line)["text"] for line in progress.read_text().splitlines())
