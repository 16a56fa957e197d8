"""pg_restore on real servers: proof before the swap, nothing lost by it, and the way back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import Server
from ansible_collections.eazepay.ops.plugins.module_utils.restore.restore import unused

from tests.modules import run_module
from tests.postgres import PASSWORD, server


def backup(pg, dest, *names):
    result = run_module("pg_backup", dest=str(dest), databases=list(names), max_age="0", **pg.login)
    assert not result["failed"], result
    return result["backup"]["manifest"]


def restore(pg, **arguments):
    return run_module("pg_restore", **{**pg.login, **arguments})


def drop_ours(pg, prefix):
    for name in pg.databases():
        if name.startswith(prefix):
            quoted = '"' + name.replace('"', '""') + '"'
            pg.run(f"ALTER DATABASE {quoted} ALLOW_CONNECTIONS true")
            pg.run(f"DROP DATABASE {quoted} WITH (FORCE)")


@pytest.fixture
def made(both, tmp_path):
    """A database with rights and settings of its own, and a backup of it."""
    name = "r we \"ird' =ü"
    drop_ours(both, "r we")
    both.run("DROP ROLE IF EXISTS r_reader; CREATE ROLE r_reader")
    both.make(name)
    quoted = '"r we ""ird\' =ü"'
    both.run(f"""ALTER DATABASE {quoted} SET search_path = "$user", public, "Größe 1";
        ALTER DATABASE {quoted} SET work_mem = '7MB';
        ALTER ROLE r_reader IN DATABASE {quoted} SET statement_timeout = '9s';
        ALTER DATABASE {quoted} CONNECTION LIMIT 33;
        REVOKE CONNECT ON DATABASE {quoted} FROM PUBLIC; GRANT CONNECT ON DATABASE {quoted} TO r_reader;
        COMMENT ON DATABASE {quoted} IS 'precious'""")
    manifest = backup(both, tmp_path / "b", name)
    yield both, name, manifest
    drop_ours(both, "r we")
    both.run("DROP ROLE IF EXISTS r_reader")


def character(pg, name):
    """What a dump does not hold."""
    return pg.run(
        "SELECT datdba, (SELECT array_agg(one::text ORDER BY one::text) FROM unnest(datacl) one), "
        "datconnlimit, datallowconn, shobj_description(d.oid, 'pg_database'), "
        "(SELECT array_agg((setrole, setconfig) ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) "
        "FROM pg_database d WHERE datname = $$" + name + "$$"
    )


def test_swaps_in_what_was_backed_up_and_puts_it_back(made):
    pg, name, manifest = made
    before = character(pg, name)
    pg.run("DELETE FROM parts; CREATE TABLE from_the_new_release (i int)", name)

    planned = restore(pg, manifest=manifest, check=True, diff=True)
    assert planned["changed"] and planned["loss"][name]['"public"."parts_1"'] == {"now": 0, "backup": 180}
    assert pg.run("SELECT count(*) FROM parts", name) == [(0,)]

    result = restore(pg, manifest=manifest)
    assert not result["failed"], result
    assert result["changed"] and 0 < result["window"] < 30
    assert pg.run("SELECT count(*) FROM parts", name) == [(300,)]
    assert pg.run("SELECT to_regclass('from_the_new_release')", name) == [(None,)]
    assert pg.run("SELECT nextval('tickets')", name) == [(101,)]
    assert pg.run("SELECT count(*) FROM pg_largeobject_metadata", name) == [(2,)]
    assert pg.run('SELECT max(twice) FROM "Größe 1"."o\'brien ""x"" t"', name) == [(600,)]
    assert character(pg, name) == before
    assert not restore(pg, manifest=manifest)["changed"]

    undone = restore(pg, state="undone", databases=[name])
    assert undone["changed"], undone
    assert pg.run("SELECT count(*) FROM parts", name) == [(0,)]
    assert pg.run("SELECT to_regclass('from_the_new_release')::text", name) == [("from_the_new_release",)]
    assert character(pg, name) == before
    assert not restore(pg, state="undone", databases=[name])["changed"]

    kept = restore(pg, state="absent", databases=[name], older_than="1d")
    assert not kept["changed"]
    assert restore(pg, state="absent", databases=[name])["changed"]
    assert not restore(pg, state="absent", databases=[name])["changed"]
    assert [one for one in pg.databases() if one.startswith("r we")] == [name]


def test_clients_that_reconnect_see_the_old_or_the_new_and_nothing_between(tmp_path):
    pg = server(15)
    drop_ours(pg, "r_busy")
    pg.make("r_busy", rows=100)
    manifest = backup(pg, tmp_path, "r_busy")
    pg.run("DELETE FROM volatile WHERE i > 5", "r_busy")
    stop = threading.Event()
    seen: list[int] = []
    strange: list[str] = []

    def client() -> None:
        while not stop.is_set():
            try:
                seen.append(pg.run("SELECT count(*) FROM volatile", "r_busy")[0][0])
            except psycopg2.Error as error:
                text = str(error)
                expected = ("not currently accepting", "terminat", "does not exist", "closed the connection", "SSL")
                if not any(one in text for one in expected):
                    strange.append(text)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    try:
        result = restore(pg, manifest=manifest)
    finally:
        after = len(seen)
        deadline = time.monotonic() + 60
        while len(seen) < after + 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        for one in clients:
            one.join()
    assert not result["failed"], result
    assert not strange and set(seen) == {5, 10} and seen[-1] == 10
    drop_ours(pg, "r_busy")


def test_a_damaged_backup_touches_nothing(tmp_path):
    pg = server(15)
    pg.make("r_damaged", rows=5)
    manifest = backup(pg, tmp_path, "r_damaged")
    victim = next(Path(manifest).parent.glob("0-*/*.dat"))
    data = victim.read_bytes()
    victim.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    before = pg.databases()
    result = restore(pg, manifest=manifest)
    assert result["failed"] and "damaged" in result["msg"] and pg.databases() == before


def test_what_cannot_be_swapped_leaves_every_database_of_the_set_open_and_unchanged(tmp_path):
    pg = server(15)
    for name in ("r_set_a", "r_set_b"):
        drop_ours(pg, name)
        pg.make(name, rows=5)
    manifest = backup(pg, tmp_path, "r_set_a", "r_set_b")
    for name in ("r_set_a", "r_set_b"):
        pg.run("DELETE FROM volatile", name)
    # What no termination ends.
    pg.run("BEGIN; INSERT INTO volatile VALUES (1); PREPARE TRANSACTION 'stuck'", "r_set_b")
    before = pg.databases()
    try:
        result = restore(pg, manifest=manifest)
        assert result["failed"] and "open again, and unchanged" in result["msg"], result
        assert pg.databases() == before
        for name in ("r_set_a", "r_set_b"):
            assert pg.run("SELECT count(*) FROM volatile", name) == [(0,)]
    finally:
        pg.run("ROLLBACK PREPARED 'stuck'", "r_set_b")
    result = restore(pg, manifest=manifest)
    assert not result["failed"] and len(result["databases"]) == 2
    assert restore(pg, state="undone", databases=["r_set_a", "r_set_b"])["changed"]
    restore(pg, state="absent", databases=["r_set_a", "r_set_b"])


KILLED = """
import json, os, signal, sys
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import Server
from ansible_collections.eazepay.ops.plugins.module_utils.restore.swap import fenced
server = Server(json.loads(sys.argv[1]), "restore", "x")
with server.session() as connection, fenced(server, connection, [sys.argv[2]], 30):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fence_that_a_killed_run_left_is_lifted_by_the_next(tmp_path):
    pg = server(15)
    drop_ours(pg, "r_fence")
    pg.make("r_fence", rows=5)
    pg.run("COMMENT ON DATABASE r_fence IS 'mine'")
    manifest = backup(pg, tmp_path, "r_fence")
    killed = subprocess.run([sys.executable, "-c", KILLED, json.dumps(pg.login), "r_fence"], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(psycopg2.OperationalError, match="not currently accepting"):
        pg.run("SELECT 1", "r_fence")
    result = restore(pg, manifest=manifest)
    assert not result["failed"], result
    assert pg.run("SELECT count(*) FROM volatile", "r_fence") == [(10,)]
    assert pg.run("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'r_fence'") == [
        ("mine",)
    ]
    drop_ours(pg, "r_fence")


def test_a_missing_role_is_refused_and_touches_nothing(tmp_path):
    pg = server(15)
    drop_ours(pg, "r_role")
    password = PASSWORD.replace("'", "''")
    pg.run(f"DROP ROLE IF EXISTS r_owner; CREATE ROLE r_owner SUPERUSER LOGIN PASSWORD '{password}'")
    pg.make("r_role", rows=5)
    pg.run("ALTER TABLE volatile OWNER TO r_owner", "r_role")
    manifest = backup(pg, tmp_path, "r_role")
    pg.run("REASSIGN OWNED BY r_owner TO super", "r_role")
    pg.run("DROP ROLE r_owner")
    before = pg.databases()
    result = restore(pg, manifest=manifest)
    assert result["failed"] and "r_owner" in result["msg"] and "globals.sql" in result["msg"]
    assert pg.databases() == before
    drop_ours(pg, "r_role")


def test_a_backup_of_another_server_or_version_needs_to_be_meant(tmp_path):
    old, new = server(15), server(18)
    drop_ours(new, "r_moved")
    old.make("r_moved", rows=5)
    manifest = backup(old, tmp_path, "r_moved")
    refused = restore(new, manifest=manifest)
    assert refused["failed"] and "another server" in refused["msg"] and "newer_version" in refused["msg"]
    assert "r_moved" not in new.databases()
    moved = restore(new, manifest=manifest, allow=["other_server", "newer_version"])
    assert not moved["failed"], moved
    assert new.run("SELECT count(*) FROM volatile", "r_moved") == [(10,)]
    newer = backup(new, tmp_path / "new", "r_moved")
    back = restore(old, manifest=newer, allow=["other_server", "newer_version"])
    assert back["failed"] and "PostgreSQL 18, and this server is 15" in back["msg"]
    drop_ours(new, "r_moved")


def test_another_name_beside_the_live_one(tmp_path):
    pg = server(15)
    drop_ours(pg, "r_named")
    pg.make("r_named", rows=5)
    manifest = backup(pg, tmp_path, "r_named")
    result = restore(pg, manifest=manifest, databases=["r_named"], target="r_named_copy")
    assert not result["failed"], result
    assert pg.run("SELECT count(*) FROM volatile", "r_named_copy") == [(10,)]
    absent = restore(pg, manifest=manifest, databases=["r_other"])
    assert absent["failed"] and "'r_other'" in absent["msg"]
    drop_ours(pg, "r_named")


def test_two_that_give_way_within_a_second_have_names_of_their_own(monkeypatch):
    pg = server(15)
    monkeypatch.setattr(time, "strftime", lambda *moment: "20260101000000")
    drop_ours(pg, "r_soon")
    pg.run("CREATE DATABASE r_soon_kept_20260101000000")
    with Server(dict(pg.login), "restore", "r_soon").session() as connection:
        assert unused(connection, "r_soon", "kept") == "r_soon_kept_20260101000000_2"
        assert unused(connection, "r_soon", "undone") == "r_soon_undone_20260101000000"
    drop_ours(pg, "r_soon")


def test_an_owner_who_is_no_superuser_restores(both, tmp_path):
    drop_ours(both, "r_owned")
    both.run("DROP ROLE IF EXISTS r_owner")
    both.run(f"CREATE ROLE r_owner LOGIN CREATEDB PASSWORD $${PASSWORD}$$; GRANT pg_signal_backend TO r_owner")
    login = {**both.login, "login_user": "r_owner"}
    try:
        both.make("r_owned", owner="r_owner")
        # The owner may not read the passwords of roles, and needs none of them here.
        made = run_module("pg_backup", dest=str(tmp_path), databases=["r_owned"], globals="none", **login)
        assert not made["failed"], made
        both.run("DELETE FROM parts", "r_owned")
        result = run_module("pg_restore", manifest=made["backup"]["manifest"], **login)
        assert not result["failed"], result
        assert both.run("SELECT count(*) FROM parts", "r_owned") == [(300,)]
        ((owner, analyzed),) = both.run(
            "SELECT (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()), "
            "EXISTS (SELECT FROM pg_stats WHERE tablename = 'parts_1')", "r_owned"
        )  # fmt: skip
        assert (owner, analyzed) == ("r_owner", True)
    finally:
        drop_ours(both, "r_owned")
        both.run("DROP ROLE r_owner")
