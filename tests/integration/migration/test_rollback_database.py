"""playbooks/tasks/rollback_database.yml on a real server: what a deployment did to databases, undone the right way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.modules import run_module

ROOT = Path(__file__).parents[3]
DATABASE = "m_rollback"
FIRST, SECOND, THIRD = "CreateUsers1735689600000", "IndexPhones1738368000000", "AddPhoneVerified1740787200000"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: "{{ root }}/playbooks/tasks/rollback_database.yml"
    - ansible.builtin.copy:
        dest: "{{ result }}"
        content: "{{ rollback_databases | to_json }}"
        mode: "0600"
      check_mode: false
"""


class Deployed:
    """Release v1.1.0 over v1.0.0 on a database of its own, as a deployment leaves it, and the ledger's records."""

    def __init__(self, sandbox, folder, pg) -> None:
        self.folder, self.pg = folder, pg
        (folder / "node_modules").symlink_to(Path(sandbox["SANDBOX_DIR"], "node_modules"))
        (folder / "play.yml").write_text(PLAY)
        # A repository of its own: deployments tag theirs.
        self.repository = folder / "company.git"
        clone = ["git", "clone", "--quiet", "--bare", Path(sandbox["SANDBOX_DIR"], "company.git"), self.repository]
        subprocess.run(clone, check=True)
        subprocess.run(["git", f"--git-dir={self.repository}", "tag", "--force", "v1.1.0", "main"], check=True)
        pg.run(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        pg.run(f"CREATE DATABASE {DATABASE}")
        self.records = []
        for release in ("v1.0.0", "v1.1.0"):
            self.deploy(release)

    def deploy(self, release) -> None:
        export = self.folder / release
        if not export.exists():
            export.mkdir()
            archive = ["git", f"--git-dir={self.repository}", "archive", release, "services/identity-service"]
            tar = subprocess.run(archive, check=True, capture_output=True).stdout
            subprocess.run(["tar", "-x", "-C", export], input=tar, check=True)
        dest = str(self.folder / "backups")
        backup = run_module(
            "pg_backup", databases=[DATABASE], dest=dest, release=release, max_age="0", **self.pg.login
        )["backup"]
        service = {"name": "identity", "database": DATABASE, "chdir": str(export / "services/identity-service")}
        done = run_module("db_migration", services=[service], **self.pg.login)
        assert not done["failed"], done
        self.records.insert(
            0,
            {
                "id": release, "release": release, "outcome": "good", "migration_point": done["point"],
                "migration_databases": {"identity": DATABASE},
                "migrated": {DATABASE: done["services"][0]["applied"]},
                "backup": backup["manifest"], "backup_migrations": backup["migrations"],
            },
        )  # fmt: skip

    def roll_back(self, *more, **variables):
        given = {
            "root": str(ROOT), "result": str(self.folder / "result.json"),
            "run_owner": "test", "run_purpose": "rollback",
            "ansible_python_interpreter": sys.executable,
            "ledger_result": {"records": self.records}, "rollback_to": {"release": "v1.0.0"},
            "run_database_secret": {"username": "super", "password": self.pg.login["login_password"]},
            "source_repository": str(self.repository), "source_checkout": str(self.folder / "checkout"),
            "source_destination": str(self.folder), "source_release": "{{ release }}",
            "migrate_services": [{
                "name": "identity", "database": DATABASE,
                "directory": str(self.folder) + "/{{ release }}/services/identity-service",
            }],
            "maintenance_target": "compose", "maintenance_switch": str(self.folder / "maintenance"),
            **{f"{role}_{name}": value for name, value in self.pg.login.items() for role in ("migrate", "restore")},
            **variables,
        }  # fmt: skip
        file = self.folder / "variables.json"
        file.write_text(json.dumps(given))
        argv = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-e", f"@{file}", *more]
        done = subprocess.run(
            [*argv, str(self.folder / "play.yml")],
            check=False, capture_output=True, text=True, timeout=300, cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
        assert self.pg.login["login_password"] not in done.stdout + done.stderr
        if done.returncode:
            return done.stdout + done.stderr
        return {one["database"]: one["way"] for one in json.loads((self.folder / "result.json").read_text())}

    def decide(self, code="v1.1.0", **more):
        chdir = str(self.folder / code / "services/identity-service")
        service = {"name": "identity", "database": DATABASE, "chdir": chdir}
        point = self.records[0]["migration_point"]
        return run_module("db_migration", state="decided", services=[service], point=point, **more, **self.pg.login)

    def rows(self):
        return [name for (name,) in self.pg.run("SELECT name FROM migrations ORDER BY id", DATABASE)]

    def kept(self):
        return [name for name in self.pg.databases() if name.startswith(f"{DATABASE}_kept")]


@pytest.fixture
def deployed(sandbox, tmp_path, pg):
    found = Deployed(sandbox, tmp_path, pg)
    yield found
    for name in (DATABASE, *found.kept()):
        pg.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_what_a_release_migrated_is_reverted_with_its_code_and_no_row_is_lost(deployed, pg):
    pg.run("INSERT INTO users (name, phone) VALUES ('Amina', '+254700000001')", DATABASE)
    assert deployed.rows() == [FIRST, SECOND, THIRD]
    assert deployed.roll_back() == {DATABASE: "revert"}
    assert deployed.rows() == [FIRST, SECOND]
    assert pg.run("SELECT count(*) FROM users", DATABASE) == [(1,)] and not deployed.kept()
    # The runbook's revert, once more, would now undo v1.0.0.
    assert deployed.roll_back() == {DATABASE: "nothing"} and deployed.rows() == [FIRST, SECOND]


def test_the_decision_without_the_code_that_migrated_is_to_restore(deployed):
    old = deployed.decide("v1.0.0", backup_migrations=deployed.records[0]["backup_migrations"])
    assert old["ways"][0]["way"] == "restore" and not old["changed"], old
    assert THIRD in old["ways"][0]["services"][0]["reason"]
    nobackup = deployed.decide("v1.0.0")
    assert nobackup["failed"] and "no backup says" in nobackup["msg"]
    assert deployed.decide()["ways"][0]["way"] == "revert" and deployed.rows() == [FIRST, SECOND, THIRD]


def test_a_restore_is_agreed_to_first_and_nothing_is_reverted_after_it(deployed, pg):
    pg.run("INSERT INTO users (name, phone) VALUES ('Amina', '+254700000001')", DATABASE)
    refused = deployed.roll_back(database_way="restore")
    assert "accept_loss=true" in refused and "would be lost" in refused, refused
    assert deployed.rows() == [FIRST, SECOND, THIRD] and not deployed.kept()
    assert deployed.roll_back(database_way="restore", accept_loss=True) == {DATABASE: "restore"}
    assert deployed.rows() == [FIRST, SECOND] and len(deployed.kept()) == 1
    assert pg.run("SELECT count(*) FROM users", DATABASE) == [(0,)]
    assert not (deployed.folder / "maintenance").exists()
    again = deployed.decide()
    assert again["ways"][0]["way"] == "nothing" and "at the point" in again["ways"][0]["services"][0]["reason"]
