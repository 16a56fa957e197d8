"""The databases on the first day: v1.0.0's tables with some thousand rows each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.box import Box, run, step

MIGRATED = ("identity", "wallet")  # their tables come from TypeORM, the others' from schema.sql
TABLES = {  # what a table is filled with, in this order
    "identity": {
        "users": "INSERT INTO users (name, phone, created_at) SELECT 'User ' || i, '+2547' || lpad(i::text, 8, '0'), "
        "timestamptz '2026-01-01' + i * interval '1 minute' FROM generate_series(1, 5000) i"
    },
    "wallet": {
        "wallets": "INSERT INTO wallets (owner, balance) SELECT 'User ' || i, i * 37 % 100000 "
        "FROM generate_series(1, 5000) i",
        "entries": "INSERT INTO entries (wallet, amount) SELECT i % 5000 + 1, i * 37 % 1000 + 1 "
        "FROM generate_series(1, 10000) i",
    },
    "transaction": {
        "transactions": "INSERT INTO transactions (sender, receiver, amount) SELECT 'User ' || i % 5000, "
        "'User ' || i * 7 % 5000, i * 37 % 10000 + 1 FROM generate_series(1, 8000) i"
    },
    "biometric": {
        "templates": "INSERT INTO templates (person, digest, image) SELECT 'User ' || i, md5(i::text), "
        "decode(repeat(md5(i::text), 16), 'hex') FROM generate_series(1, 3000) i"
    },
    "agent": {
        "agents": "INSERT INTO agents (name, region, float_cents) SELECT 'Agent ' || i, "
        "(ARRAY['Nairobi', 'Mombasa', 'Kisumu', 'Nakuru'])[i % 4 + 1], i * 37 % 500000 FROM generate_series(1, 2000) i"
    },
    "ussd": {
        "sessions": "INSERT INTO sessions (phone, created_at) SELECT '+2547' || lpad((i % 5000)::text, 8, '0'), "
        "timestamptz '2026-01-01' + i * interval '1 minute' FROM generate_series(1, 4000) i"
    },
}


@contextlib.contextmanager
def session(env: Mapping[str, str], database: str) -> Iterator[Any]:
    """A cursor in one transaction."""
    import psycopg2

    connection = psycopg2.connect(
        host=env["PGHOST"],
        port=env["PGPORT"],
        user=env["PGUSER"],
        password=env["PGPASSWORD"],
        dbname=database,
        connect_timeout=10,
        application_name="seed",
    )
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def fill(box: Box, folder: Path, reset: bool = False, databases: Mapping[str, str] | None = None) -> None:
    """Tables, migrations of the release in `folder`, rows; only where there are none, unless `reset`.

    `databases` maps services to databases of other names, for tests.
    """
    env = box.read_env()
    names = dict(databases or {name: name for name in TABLES})
    empty = [name for name in names if reset or not filled(env, name, names[name])]
    if not empty:
        return
    with step("seed", f"databases: {', '.join(empty)}"), ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: fill_one(env, folder, name, names[name], reset), empty))


def filled(env: Mapping[str, str], service: str, database: str) -> bool:
    with session(env, database) as cursor:
        for table in TABLES[service]:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"public.{table}",))
            if not cursor.fetchone()[0]:
                return False
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
            if not cursor.fetchone()[0]:
                return False
    return True


def fill_one(env: Mapping[str, str], folder: Path, service: str, database: str, reset: bool) -> None:
    home = folder / "services" / f"{service}-service"
    if reset:
        clear(env, database)
    if service in MIGRATED:
        run(["npm", "run", "--silent", "migration:run"], cwd=home, env={**os.environ, **env, "PGDATABASE": database})
    with session(env, database) as cursor:
        if service not in MIGRATED:
            cursor.execute((home / "schema.sql").read_text())
        for table, statement in TABLES[service].items():
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
            if not cursor.fetchone()[0]:
                cursor.execute(statement)
        cursor.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", (service,))
        if cursor.fetchone()[0]:
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {service}")
            cursor.execute(f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {service}")


def clear(env: Mapping[str, str], database: str) -> None:
    """Drops the tables but keeps the database, with its rights and settings."""
    with session(env, database) as cursor:
        cursor.execute("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        if tables:
            cursor.execute(f"DROP TABLE {', '.join(tables)} CASCADE")
