"""TypeORM's command line on exported releases, with databases of these tests' own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from sandbox.box import Box, await_ready, http_ok, run
from sandbox.seed import FIRST, databases, source
from sandbox.seed.base import LIBRARY
from sandbox.seed.databases import session

DATABASES = {"identity": "t_company_identity", "wallet": "t_company_wallet", "agent": "t_company_agent"}
ADDED = {"identity": ("users", "phone_verified"), "wallet": ("wallets", "currency")}


@pytest.fixture(scope="module")
def box(sandbox):
    """With databases that are empty at first."""
    import psycopg2

    connection = psycopg2.connect(
        host=sandbox["PGHOST"],
        port=sandbox["PGPORT"],
        user=sandbox["PGUSER"],
        password=sandbox["PGPASSWORD"],
        dbname="postgres",
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in DATABASES.values():
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name}")
        yield Box()
        for name in DATABASES.values():
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    connection.close()


@pytest.fixture(scope="module")
def first(box):
    """v1.0.0's folder; the databases are filled as on the first day."""
    folder = source.export(box, FIRST)
    databases.fill(box, folder, databases=DATABASES)
    return folder


@pytest.fixture(scope="module")
def following(box, tmp_path_factory):
    """v1.1.0's folder, with the packages where Node looks for them."""
    parent = tmp_path_factory.mktemp("releases")
    (parent / "node_modules").symlink_to((box.dir / "node_modules").resolve())
    return source.export(box, "main", parent)


def npm(folder, service, script):
    home = folder / "services" / f"{service}-service"
    return run(
        ["npm", "run", "--silent", f"migration:{script}"],
        cwd=home,
        env={**os.environ, "PGDATABASE": DATABASES[service]},
    ).stdout


def columns(sandbox, service):
    table, _ = ADDED[service]
    with session(sandbox, DATABASES[service]) as cursor:
        cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,))
        return {row[0] for row in cursor.fetchall()}


def test_the_first_day_has_thousands_of_rows(sandbox, first):
    for service, tables in databases.TABLES.items():
        for table in tables if service in DATABASES else ():
            with session(sandbox, DATABASES[service]) as cursor:
                cursor.execute(f"SELECT count(*) FROM {table}")
                assert cursor.fetchone()[0] >= 2000


def test_filling_again_changes_nothing(sandbox, box, first):
    with session(sandbox, DATABASES["agent"]) as cursor:
        cursor.execute("DELETE FROM agents WHERE id > 10")
    databases.fill(box, first, databases=DATABASES)
    with session(sandbox, DATABASES["agent"]) as cursor:
        cursor.execute("SELECT count(*) FROM agents")
        assert cursor.fetchone()[0] == 10


def made_by(folder, service):
    """What a release's code answers when it is asked to register a user or to open a wallet."""
    path, body = ("/register", {"name": "Amina", "phone": "+2547"}) if service == "identity" else ("/wallets", {})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "PGDATABASE": DATABASES[service], "PORT": port, "PYTHONPATH": str(LIBRARY)}
    program = folder / "services" / f"{service}-service" / f"{service}.py"
    process = subprocess.Popen([sys.executable, str(program)], env=environment)
    try:
        await_ready(lambda: http_ok(f"http://127.0.0.1:{port}/health"), 60, service)
        asking = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(asking, timeout=30) as answer:
            return json.load(answer)
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize("service", sorted(ADDED))
def test_show_run_and_revert(sandbox, first, following, service):
    assert npm(first, service, "show").count("[X]") == 2
    before = columns(sandbox, service)
    assert npm(following, service, "show").count("[ ]") == 1
    npm(following, service, "run")
    assert columns(sandbox, service) == before | {ADDED[service][1]}
    assert ADDED[service][1] not in made_by(first, service)  # the old code still works on the new tables
    assert ADDED[service][1] in made_by(following, service)
    npm(following, service, "revert")
    assert columns(sandbox, service) == before
