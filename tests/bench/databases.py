"""Backups and restores beside PostgreSQL's own programs and what people use today."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.table import Table, race, seconds
from tests.integration.site.server import aws_server, boto
from tests.modules import run_module
from tests.postgres import PASSWORD, Throwaway

ROOT = Path(__file__).resolve().parents[2]
# Text, JSON and UUIDs, as a wallet's database has them: 1.3 GB in four tables, enough that what does not grow with the
# data (Ansible's start, the samples that ANALYZE takes) does not decide.
TABLES = 4
ROWS = 800_000
DATA = """
CREATE TABLE t{n} (id uuid PRIMARY KEY, at timestamptz NOT NULL, note text NOT NULL, body jsonb NOT NULL);
INSERT INTO t{n} SELECT md5(i::text || '{n}')::uuid, '2026-01-01'::timestamptz + i * interval '1 second',
  repeat(md5((i * 7)::text), 3),
  jsonb_build_object('amount', i % 10007, 'currency', 'KES', 'from', md5((i + 1)::text), 'to', md5((i + 2)::text),
    'tags', jsonb_build_array('a' || i % 10, 'b' || i % 100), 'memo', repeat(md5((i + 3)::text), 2))
FROM generate_series(1, {rows}) i;
CREATE INDEX ON t{n} (at);
"""
# Unlike the tests' servers, one that keeps what it was given, with memory to work in.
SETTINGS = """
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 256MB
max_wal_size = 4GB
"""
PEAK = """
import json, runpy, sys
from ansible.module_utils import basic
from ansible_collections.eazepay.ops.plugins.module_utils.backup.take import Backups
from ansible_collections.eazepay.ops.plugins.modules import pg_backup
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
given = ArgumentSpecValidator(pg_backup.SPEC).validate(json.load(sys.stdin)).validated_parameters
Backups(given, False).run()
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def program(pg: Throwaway, *argv: str) -> None:
    env = {"PGHOST": "127.0.0.1", "PGPORT": str(pg.port), "PGUSER": "super", "PGPASSWORD": PASSWORD}
    subprocess.run([f"{pg.bin}/{argv[0]}", *argv[1:]], check=True, env={**os.environ, **env}, stdout=subprocess.DEVNULL)


def module(name: str, **arguments: Any) -> dict[str, Any]:
    result = run_module(name, timeout=1800, **arguments)
    assert not result["failed"], result
    return result


def postgresql_db(pg: Throwaway, target: Path) -> None:
    """What people use: community.postgresql's module, with a .gz target."""
    arguments = {
        "name": "bench", "state": "dump", "target": str(target), "login_host": "127.0.0.1", "login_port": pg.port,
        "login_user": "super", "login_password": PASSWORD,
    }  # fmt: skip
    argv = [Path(sys.executable).parent / "ansible", "localhost", "-i", "localhost,", "-c", "local", "-m"]
    argv += ["community.postgresql.postgresql_db", "-a", json.dumps(arguments)]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {**os.environ, "PATH": f"{pg.bin}:{os.environ['PATH']}"}
    subprocess.run(argv, check=True, env=environment, stdout=subprocess.DEVNULL)


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def peak_to_s3(pg: Throwaway) -> tuple[float, float]:
    """Memory in MB and seconds of a backup to S3."""
    with aws_server() as aws:
        place = {"LocationConstraint": aws["region"]}
        boto("s3", aws).create_bucket(Bucket="bench-backups", CreateBucketConfiguration=place)
        given = {"dest": "s3://bench-backups/x", "databases": ["bench"], "compression": "0", **pg.login, **aws}
        found: list[str] = []

        def work() -> None:
            done = subprocess.run(
                [sys.executable, "-c", PEAK],
                input=json.dumps(given),
                capture_output=True,
                text=True,
                check=True,
                cwd=ROOT,
            )
            found.append(done.stdout.split()[-1])

        took = seconds(work)
        return int(found[0]) / 1024, took


def measure() -> Table:
    table = Table(
        "Databases",
        "pg_backup and pg_restore with their default settings beside PostgreSQL 15's own programs, on one database of "
        "text, jsonb and uuid. They check sums, count rows and analyze; the bare programs do not. The server syncs to "
        "the disk, as in production.",
    )
    pg = Throwaway(15, SETTINGS)
    with tempfile.TemporaryDirectory(prefix="ops-bench-") as name:
        try:
            return measured(table, pg, Path(name))
        finally:
            pg.stop()


def measured(table: Table, pg: Throwaway, folder: Path) -> Table:
    pg.run("CREATE DATABASE bench")
    for number in range(TABLES):
        pg.run(DATA.format(n=number, rows=ROWS), "bench")
    pg.run("VACUUM ANALYZE", "bench")
    size = pg.run("SELECT sum(pg_table_size(oid)) / 1e6 FROM pg_class WHERE relname ~ '^t[0-9]$'", "bench")[0][0]
    about = f"{size:.0f} MB of tables"
    login = {"databases": ["bench"], **pg.login}
    dumped = folder / "plain"

    def bare_dump() -> None:
        program(pg, "pg_dump", "-Fd", "-j2", "-Z0", "-f", str(fresh(dumped)), "bench")

    def ours() -> dict[str, Any]:
        return module("pg_backup", dest=str(fresh(folder / "ours")), max_age="0", **login)

    took = race({"bare": bare_dump, "ours": ours})
    ratio = took["ours"] / took["bare"]
    detail = f"{took['ours']:.1f} s beside {took['bare']:.1f} s; {about}"
    table.at_most("pg_backup beside pg_dump -Fd -j2 -Z0", ratio, 1.3, detail=detail)
    gzip = seconds(lambda: postgresql_db(pg, folder / "theirs.sql.gz"))
    table.at_least("postgresql_db to .gz beside pg_backup", gzip / took["ours"], 3, detail=f"{gzip:.1f} s")

    made = module("pg_backup", dest=str(folder / "again"), release="v1", **login)["backup"]
    again = race({"again": lambda: module("pg_backup", dest=str(folder / "again"), release="v1", **login)})["again"]
    table.at_most("second run of an unchanged release", again, 3, "s", "every byte is read")

    def bare_restore() -> None:
        pg.run("DROP DATABASE IF EXISTS bare")
        pg.run("CREATE DATABASE bare TEMPLATE template0")
        program(pg, "pg_restore", "-j2", "-d", "bare", str(dumped))

    def bare_and_analyzed() -> None:
        bare_restore()
        program(pg, "vacuumdb", "--quiet", "--analyze-only", "-j2", "bare")

    def our_restore() -> None:
        pg.run("DROP DATABASE IF EXISTS copy")
        module("pg_restore", manifest=made["manifest"], target="copy", **login)

    bare_dump()
    took = race({"bare": bare_restore, "ours": our_restore, "analyzed": bare_and_analyzed}, rounds=5)
    for what, name in (("pg_restore -j2", "bare"), ("pg_restore -j2 and vacuumdb --analyze-only -j2", "analyzed")):
        detail = f"{took['ours']:.1f} s beside {took[name]:.1f} s"
        table.at_most(f"pg_restore beside {what}", took["ours"] / took[name], 1.15, detail=detail)
    swapped = module("pg_restore", manifest=made["manifest"], **login)
    table.at_most("time for which clients are kept out", swapped["window"], 1, "s", "whatever the size")

    peak, took_s3 = peak_to_s3(pg)
    table.at_most("memory while streaming to S3", peak, 200, "MB", f"{about}, {took_s3:.0f} s with a test server of S3")
    return table
