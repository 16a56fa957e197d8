"""Migrations rehearsed on copies from a backup: real TypeORM, a real server, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.modules import finish_module, run_module, start_module

ROOT = Path(__file__).parents[3]
DATABASE = "m_rehearsal"
SLOW = """module.exports = class Slow1740000000000 {
  name = "Slow1740000000000";
  async up(q) { await q.query("ALTER TABLE users ADD COLUMN age int"); await q.query("SELECT pg_sleep(1)"); }
  async down(q) { await q.query("%s"); }
};
"""


class Rehearsed:
    def __init__(self, sandbox, folder, pg) -> None:
        self.pg, self.folder = pg, folder / "service"
        (folder / "node_modules").symlink_to(Path(sandbox["SANDBOX_DIR"], "node_modules"))
        shutil.copytree(ROOT / "sandbox/company/services/identity-service", self.folder)
        pg.run(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        pg.run(f"CREATE DATABASE {DATABASE}")
        self.service = {"name": "identity", "database": DATABASE, "chdir": str(self.folder)}
        assert run_module("db_migration", services=[self.service], **pg.login)["changed"]
        pg.run("INSERT INTO users (name, phone) VALUES ('Amina', '+254700000001')", DATABASE)
        backup = run_module("pg_backup", databases=[DATABASE], dest=str(folder / "backups"), release="v2", **pg.login)
        self.manifest = backup["backup"]["manifest"]

    def pending(self, down="ALTER TABLE users DROP COLUMN age"):
        (self.folder / "migrations" / "1740000000000-Slow.js").write_text(SLOW % down)

    def start(self, check=False, **more):
        given = {**self.pg.login, "manifest": self.manifest, **more}
        return start_module(
            "db_migration", check=check, state="rehearsed", services=[{**self.service, **given.pop("service", {})}],
            **given,
        )  # fmt: skip

    def run(self, **more):
        return finish_module(self.start(**more))

    def untouched(self):
        """The live database is as it was, open to everybody, and the only one."""
        assert self.pg.run("SELECT count(*) FROM migrations", DATABASE) == [(2,)]
        assert [one for one in self.pg.databases() if one.startswith(DATABASE)] == [DATABASE]
        columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'age'"
        return self.pg.run(columns, DATABASE) == [(0,)]


@pytest.fixture
def rehearsed(sandbox, tmp_path, pg):
    yield Rehearsed(sandbox, tmp_path, pg)
    pg.run(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def test_it_tells_time_and_locks_and_leaves_nothing(rehearsed):
    nothing = rehearsed.run()
    assert not nothing["failed"] and nothing["rehearsals"] == [], nothing
    rehearsed.pending()
    assert rehearsed.run(check=True)["rehearsals"] == []
    result = rehearsed.run()
    assert not result["failed"] and not result["changed"], result
    (found,) = result["rehearsals"]
    assert found["migrations"] == ["Slow1740000000000"] and found["run"]["seconds"] >= 1
    locks = {(one["relation"], one["mode"]): one["seconds"] for one in found["run"]["locks"]}
    assert locks["public.users", "AccessExclusiveLock"] >= 0.5, found
    assert not any(relation.endswith("migrations") for relation, _mode in locks)
    assert found["revert"]["seconds"] > 0 and found["again"]["seconds"] >= 1
    assert rehearsed.untouched()


def test_a_migration_that_cannot_be_reverted_fails_before_it_was_ever_live(rehearsed):
    rehearsed.pending(down="ALTER TABLE users DROP COLUMN aged")
    result = rehearsed.run()
    assert result["failed"] and "aged" in result["msg"] and "It was a copy" in result["msg"], result
    assert rehearsed.untouched()


def test_a_tool_that_goes_to_the_live_database_is_stopped_before_it_does_anything(rehearsed):
    rehearsed.pending()
    result = rehearsed.run(service={"environment": {"PGDATABASE": DATABASE}}, lock_wait_timeout=2)
    assert result["failed"] and "lock timeout" in result["msg"], result
    assert rehearsed.untouched()


def test_the_copy_goes_when_the_run_is_ended(rehearsed):
    rehearsed.pending()
    process = rehearsed.start(progress_file=str(rehearsed.folder / "progress"))
    progress = rehearsed.folder / "progress"
    while not (progress.exists() and "migrations begin" in progress.read_text()):
        assert process.poll() is None, process.communicate()
    os.kill(process.pid, signal.SIGTERM)
    result = finish_module(process)
    assert result["failed"] and "Interrupted by SIGTERM" in result["msg"]
    assert rehearsed.untouched()
