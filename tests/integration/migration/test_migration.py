"""db_migration with real TypeORM, real Alembic and any command, on a real server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import Server

from tests.modules import finish_module, run_module, start_module

ROOT = Path(__file__).parents[3]
CREATE = """module.exports = class {name} {{
  name = "{name}";
  async up(queryRunner) {{ await queryRunner.query(`{up}`{values}); }}
  async down(queryRunner) {{ await queryRunner.query(`{down}`); }}
}};
"""
FIRST, SECOND = "CreateUsers1735689600000", "IndexPhones1738368000000"


@pytest.fixture
def typeorm(sandbox, tmp_path, pg):
    """The sample company's identity service, and an empty database of its own."""
    modules = Path(sandbox["SANDBOX_DIR"], "node_modules")
    assert modules.is_dir(), "TypeORM is missing: run `make sandbox-up`"
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copytree(ROOT / "sandbox/company/services/identity-service", tmp_path / "service")
    pg.run("DROP DATABASE IF EXISTS m_identity WITH (FORCE)")
    pg.run("CREATE DATABASE m_identity")
    return {"name": "identity", "database": "m_identity", "directory": str(tmp_path / "service")}


def migrate(pg, *services, **arguments):
    return run_module("db_migration", services=list(services), **{**pg.login, **arguments})


def add(service, name, up, down="SELECT 1", values=""):
    file = Path(service["directory"], "migrations", f"{name[-13:]}-{name[:-13]}.js")
    file.write_text(CREATE.format(name=name, up=up, down=down, values=values))
    return file


def rows(pg):
    return [name for (name,) in pg.run("SELECT name FROM migrations ORDER BY id", "m_identity")]


def test_typeorm_there_and_back(pg, typeorm):
    planned = migrate(pg, typeorm, check=True, diff=True)
    assert planned["changed"] and planned["services"][0]["pending"] == [FIRST, SECOND]
    assert SECOND in planned["diff"]["after"]
    shown = migrate(pg, typeorm, state="shown")
    assert not shown["changed"] and shown["services"][0]["pending"] == [FIRST, SECOND]
    # Looking has changed nothing, not even made the table.
    assert pg.run("SELECT to_regclass('migrations')", "m_identity") == [(None,)]

    result = migrate(pg, typeorm)
    assert not result["failed"], result
    assert result["changed"] and result["services"][0]["applied"] == [FIRST, SECOND] == rows(pg)
    again = migrate(pg, typeorm)
    assert not again["changed"] and again["point"] == {"identity": [FIRST, SECOND]}

    add(typeorm, "Third1740000000000", "CREATE TABLE third ()", "DROP TABLE third")
    add(typeorm, "Fourth1750000000000", "CREATE TABLE fourth ()", "DROP TABLE fourth")
    deployed = migrate(pg, typeorm)
    assert deployed["services"][0]["applied"] == ["Third1740000000000", "Fourth1750000000000"]
    for check in (True, False):
        reverted = migrate(pg, typeorm, state="reverted", point=deployed["point"], check=check)
        assert reverted["services"][0]["reverted"] == ["Fourth1750000000000", "Third1740000000000"], reverted
    assert rows(pg) == [FIRST, SECOND]
    assert not migrate(pg, typeorm, state="reverted", point=deployed["point"])["changed"]


def test_what_lies_before_the_point_is_not_reverted_any_further(pg, typeorm):
    """As after the restore of the backup: a blind revert would undo the release before."""
    migrate(pg, typeorm)
    result = migrate(pg, typeorm, state="reverted", point={"identity": [FIRST, SECOND, "Third1740000000000"]})
    assert not result["failed"] and not result["changed"] and rows(pg) == [FIRST, SECOND]
    other = migrate(pg, typeorm, state="reverted", point={"identity": [FIRST, "Other1738368000000"]})
    assert other["failed"] and "does not continue the point" in other["msg"] and rows(pg) == [FIRST, SECOND]


def test_code_without_migrations_and_databases_with_strange_ones_are_refused(pg, typeorm):
    migrate(pg, typeorm)
    folder = Path(typeorm["directory"], "migrations")
    newest = folder / "1738368000000-IndexPhones.js"
    text = newest.read_text()
    newest.unlink()
    old = migrate(pg, typeorm)
    assert old["failed"] and SECOND in old["msg"] and "does not know" in old["msg"]
    old = migrate(pg, typeorm, state="reverted", point={"identity": [FIRST]})
    assert old["failed"] and "does not have" in old["msg"] and rows(pg) == [FIRST, SECOND]
    newest.write_text(text)
    shutil.move(str(folder), str(folder) + "-elsewhere")
    empty = migrate(pg, typeorm)
    assert empty["failed"] and "no migration at all" in empty["msg"]


def test_a_failing_migration_says_what_was_applied_and_no_secret(pg, typeorm):
    """TypeORM says that the first two succeeded, and then undoes them with the third."""
    values = ', ["a-customers-number-canary"]'
    add(typeorm, "Fails1760000000000", "INSERT INTO nowhere VALUES ($1)", values=values)
    result = migrate(pg, typeorm)
    assert result["failed"] and "nowhere" in result["msg"] and "Nothing was applied." in result["msg"], result
    assert f"{SECOND} has been executed successfully" in result["services"][0]["output"]
    assert not result["changed"] and result["services"][0]["applied"] == [] and result["point"] == {"identity": []}
    assert pg.run("SELECT to_regclass('users')", "m_identity") == [(None,)]
    assert "canary" not in json.dumps(result, ensure_ascii=False)


def test_a_row_that_breaks_a_constraint_is_not_quoted(pg, typeorm):
    values = ', ["phone-canary"]'
    once = "CREATE TABLE IF NOT EXISTS kept (phone text PRIMARY KEY)"
    add(typeorm, "Keeps1760000000000", once)
    add(typeorm, "Twice1770000000000", "INSERT INTO kept SELECT $1::text FROM generate_series(1, 2)", values=values)
    result = migrate(pg, typeorm)
    assert result["failed"] and "duplicate key" in result["msg"], result["msg"]
    assert "canary" not in json.dumps(result, ensure_ascii=False)


def test_what_cannot_run_in_a_transaction_is_reverted_without_one(pg, typeorm):
    """TypeORM takes no notice of a migration's own `transaction = false` when it reverts."""
    package = Path(typeorm["directory"], "package.json")
    package.write_text(package.read_text().replace("migration:run -d", "migration:run -t each -d"))
    index = "INDEX CONCURRENTLY by_phone"
    file = add(typeorm, "Concurrently1760000000000", f"CREATE {index} ON users (phone)", f"DROP {index}")
    file.write_text(file.read_text().replace("  name =", "  transaction = false;\n  name ="))
    deployed = migrate(pg, typeorm)
    assert not deployed["failed"] and len(rows(pg)) == 3, deployed["msg"]
    point = {"identity": [FIRST]}
    reverted = migrate(pg, typeorm, state="reverted", point=point)
    assert not reverted["failed"], reverted["msg"]
    assert reverted["services"][0]["reverted"] == ["Concurrently1760000000000", SECOND] and rows(pg) == [FIRST]


def test_a_migration_that_outlives_its_module_is_not_joined_by_another(pg, typeorm):
    """A module that is killed gives its lock back, and its tool goes on."""
    add(typeorm, "Slow1740000000000", "SELECT pg_sleep(600)")
    first = start_module("db_migration", services=[typeorm], **pg.login)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
    while pg.run(busy, "m_identity") == [(0,)]:
        assert first.poll() is None, first.communicate()
    first.kill()
    first.wait()
    second = migrate(pg, typeorm)
    assert second["failed"] and "another migration is under way" in second["msg"], second
    assert "Nothing was run" in second["msg"] and "process" in second["msg"]
    pg.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'eazepay.ops migration'")


def test_a_tool_that_has_not_yet_reached_the_server_is_not_joined_either(pg, typeorm, tmp_path):
    """Its module was killed while Node was still starting: no session tells of it."""
    begun = tmp_path / "begun"
    slow = ["sh", "-c", f"echo $$ >{begun}; exec sleep 600"]
    first = start_module("db_migration", services=[{**typeorm, "commands": {"run": slow}}], **pg.login)
    while not (begun.exists() and begun.read_text().strip()):
        assert first.poll() is None, first.communicate()
    first.kill()
    first.wait()
    second = migrate(pg, typeorm)
    assert second["failed"] and "another migration is under way: a command on this host" in second["msg"], second
    assert migrate(pg, typeorm, state="shown")["services"][0]["pending"] == [FIRST, SECOND]
    os.kill(int(begun.read_text()), signal.SIGKILL)
    assert migrate(pg, typeorm)["services"][0]["applied"] == [FIRST, SECOND]


def test_two_runs_at_once_apply_everything_once(pg, typeorm):
    add(typeorm, "Slow1740000000000", "SELECT pg_sleep(1)")
    arguments = {"services": [typeorm], "lock_timeout": 120, **pg.login}
    results = [finish_module(one) for one in [start_module("db_migration", **arguments) for _ in range(2)]]
    assert sorted(one["changed"] for one in results) == [False, True], results
    assert rows(pg) == [FIRST, SECOND, "Slow1740000000000"]


def test_a_database_that_a_backup_has_is_refused(pg, typeorm):
    with Server(dict(pg.login), "back up").locked(["m_identity"]):
        result = migrate(pg, typeorm)
    assert result["failed"] and "in the hands of eazepay.ops back up" in result["msg"]
    assert pg.run("SELECT to_regclass('migrations')", "m_identity") == [(None,)]


ENV = """
import os
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
e = os.environ
url = URL.create("postgresql+psycopg2", e["PGUSER"], e["PGPASSWORD"], e["PGHOST"], int(e["PGPORT"]), e["PGDATABASE"])
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op
revision, down_revision = {revision!r}, {down!r}
def upgrade(): op.execute("CREATE TABLE {revision} ()")
def downgrade(): op.execute("DROP TABLE {revision}")
"""


def test_alembic_there_and_back(pg, tmp_path):
    (tmp_path / "versions").mkdir()
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\n")
    (tmp_path / "env.py").write_text(ENV)
    for number, down in ((1, None), (2, "rev1"), (3, "rev2")):
        text = REVISION.format(revision=f"rev{number}", down=down)
        (tmp_path / "versions" / f"rev{number}.py").write_text(text)
    pg.run("DROP DATABASE IF EXISTS m_alembic WITH (FORCE)")
    pg.run("CREATE DATABASE m_alembic")
    alembic = [sys.executable, "-m", "alembic"]
    commands = {
        "run": [*alembic, "upgrade", "head"],
        "show": [*alembic, "history"],
        "revert": [*alembic, "downgrade", "-1"],
    }
    service = {"name": "a", "database": "m_alembic", "chdir": str(tmp_path), "tool": "alembic", "commands": commands}

    result = migrate(pg, service)
    assert result["services"][0]["applied"] == ["rev1", "rev2", "rev3"], result
    assert not migrate(pg, service)["changed"]
    reverted = migrate(pg, service, state="reverted", point={"a": ["rev1"]})
    assert reverted["services"][0]["reverted"] == ["rev3", "rev2"], reverted
    assert pg.run("SELECT version_num FROM alembic_version", "m_alembic") == [("rev1",)]

    pg.run("UPDATE alembic_version SET version_num = 'gone'", "m_alembic")
    strange = migrate(pg, service)
    assert strange["failed"] and "gone" in strange["msg"] and "does not know" in strange["msg"], strange
    pg.run("UPDATE alembic_version SET version_num = 'rev1'", "m_alembic")
    for file in (tmp_path / "versions").glob("*.py"):
        file.unlink()
    empty = migrate(pg, service)
    assert empty["failed"] and "no migration at all" in empty["msg"], empty


TOOL = """
import os, sys, psycopg2
c = psycopg2.connect("")
c.autocommit = True
q = c.cursor()
q.execute("CREATE TABLE IF NOT EXISTS books (n serial, name text)")
if sys.argv[1] == "run":
    q.execute("INSERT INTO books (name) SELECT 'one'")
else:
    q.execute("DELETE FROM books WHERE n = (SELECT max(n) FROM books)")
"""


def test_any_command_and_a_tool_that_lies(pg, tmp_path):
    (tmp_path / "tool.py").write_text(TOOL)
    pg.run("DROP DATABASE IF EXISTS m_command WITH (FORCE)")
    pg.run("CREATE DATABASE m_command")
    tool = [sys.executable, "tool.py"]
    service: dict = {
        "name": "c", "database": "m_command", "chdir": str(tmp_path), "tool": "command",
        "table": "books", "column": "name", "order_by": "n",
        "commands": {"run": ["true"], "show": ["echo", "one"], "revert": [*tool, "revert"]},
    }  # fmt: skip
    liar = migrate(pg, service)
    assert liar["failed"] and "it says that it succeeded, but one was not applied" in liar["msg"]
    service["commands"]["run"] = [*tool, "run"]
    result = migrate(pg, service)
    assert result["services"][0]["applied"] == ["one"], result
    reverted = migrate(pg, service, state="reverted", point={"c": []})
    assert reverted["services"][0]["reverted"] == ["one"], reverted
    said = json.dumps({"migrations": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]})
    as_json = {**service, "pattern": '"name": "([^"]+)"', "commands": {**service["commands"], "show": ["echo", said]}}
    assert migrate(pg, as_json, state="shown")["services"][0]["pending"] == ["one", "two"]
    missing = migrate(pg, {**service, "commands": {**service["commands"], "show": ["no-such-program"]}})
    assert missing["failed"] and "'no-such-program'" in missing["msg"]
