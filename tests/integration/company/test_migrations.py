"""TypeORM's command line on exported releases, with databases of these tests' own."""

from __future__ import annotations

import os

import pytest

from sandbox.box import Box, run
from sandbox.seed import FIRST, databases, source
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
    (parent / "node_modules").symlink_to((box.dir / "releases" / "node_modules").resolve())
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


@pytest.mark.parametrize("service", sorted(ADDED))
def test_show_run_and_revert(sandbox, first, following, service):
    assert npm(first, service, "show").count("[X]") == 2
    before = columns(sandbox, service)
    assert npm(following, service, "show").count("[ ]") == 1
    npm(following, service, "run")
    assert columns(sandbox, service) == before | {ADDED[service][1]}
    # The old code knows nothing of the new column and must still be able to write.
    with session(sandbox, DATABASES[service]) as cursor:
        table, _ = ADDED[service]
        fields = "(name, phone) VALUES ('Old', '+2547')" if table == "users" else "(owner) VALUES ('Old')"
        cursor.execute(f"INSERT INTO {table} {fields}")
    npm(following, service, "revert")
    assert columns(sandbox, service) == before
