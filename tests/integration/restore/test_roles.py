"""The roles backup, migrate and restore, one after another, as a deployment and its rollback use them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.site.server import aws_server, boto
from tests.modules import run_module
from tests.postgres import server

ROOT = Path(__file__).parents[3]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    services:
      - {name: identity, database: roles_identity, directory: "{{ directory }}"}
  tasks:
    - name: Back up
      ansible.builtin.include_role: {name: eazepay.ops.backup}
      vars: {backup_databases: [roles_identity], backup_dest: "{{ dest }}", backup_release: v1, backup_keep: {last: 3}}
    - name: Restore drill
      ansible.builtin.include_role: {name: eazepay.ops.backup}
      vars:
        backup_state: verified
        backup_verify: restore
        backup_databases: [roles_identity]
        backup_dest: "{{ dest }}"
    - name: It restores
      ansible.builtin.assert:
        that: [backup_result is changed, backup_result.backup.verified == 'restore']
    - name: Migrate
      ansible.builtin.include_role: {name: eazepay.ops.migrate}
      vars:
        migrate_services: "{{ services }}"
        migrate_rehearse: true
        migrate_manifest: "{{ backup_result.backup.manifest }}"
    - name: It was rehearsed, on a copy that is gone
      ansible.builtin.assert:
        that:
          - migrate_rehearsal.rehearsals[0].migrations == migrate_result.services[0].applied
          - migrate_rehearsal.rehearsals[0].again.seconds > 0
    - name: Revert
      ansible.builtin.include_role: {name: eazepay.ops.migrate}
      vars: {migrate_services: "{{ services }}", migrate_state: reverted, migrate_point: "{{ migrate_result.point }}"}
    - name: What came of it
      ansible.builtin.assert:
        that:
          - backup_result.backup.verified == 'restore'
          - migrate_result.services[0].reverted | length == 2
    - name: Restore
      ansible.builtin.include_role: {name: eazepay.ops.restore}
      vars: {restore_manifest: "{{ backup_result.backup.manifest }}", restore_databases: [roles_identity]}
    - name: It was swapped in
      ansible.builtin.assert:
        that: [restore_result is changed, restore_result.window > 0]
    - name: Undo the restore
      ansible.builtin.include_role: {name: eazepay.ops.restore}
      vars: {restore_state: undone, restore_databases: [roles_identity]}
    - name: It was undone
      ansible.builtin.assert:
        that: [restore_result is changed]
    - name: Drop what was kept
      ansible.builtin.include_role: {name: eazepay.ops.restore}
      vars: {restore_state: absent, restore_databases: [roles_identity]}
"""


def test_a_deployments_databases_there_and_back(sandbox, tmp_path):
    pg = server(15)
    pg.run("DROP DATABASE IF EXISTS roles_identity WITH (FORCE)")
    pg.run("CREATE DATABASE roles_identity")
    (tmp_path / "node_modules").symlink_to(Path(sandbox["SANDBOX_DIR"], "node_modules"))
    shutil.copytree(ROOT / "sandbox/company/services/identity-service", tmp_path / "service")
    (tmp_path / "play.yml").write_text(PLAY)
    variables: dict = {"dest": str(tmp_path / "backups"), "directory": str(tmp_path / "service")}
    for role in ("backup", "migrate", "restore"):
        variables.update({f"{role}_{name}": value for name, value in pg.login.items()})
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "localhost,",
            "-e",
            "@variables.json",
            "play.yml",
            "-v",
        ],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rd-canary" not in done.stdout
    assert not [name for name in pg.databases() if name.startswith("roles_identity_")]


@pytest.fixture
def bucket():
    with aws_server() as aws:
        place = {"LocationConstraint": aws["region"]}
        boto("s3", aws).create_bucket(Bucket="t-drill", CreateBucketConfiguration=place)
        yield "s3://t-drill/nightly", aws


@pytest.mark.parametrize("where", ["folder", "s3, encrypted"])
def test_the_restore_drill_is_one_command(sandbox, tmp_path, where, request):
    pg = server(15)
    pg.make("drill_wallet", rows=20)
    dest, aws = (str(tmp_path / "b"), {}) if where == "folder" else request.getfixturevalue("bucket")
    keys: dict = {}
    if aws:
        identity = tmp_path / "identity"
        said = subprocess.run(["age-keygen", "-o", str(identity)], check=True, capture_output=True, text=True).stderr
        keys = {"age_recipients": [said.split()[-1]], "age_identity": str(identity)}
    arguments = {"dest": dest, "databases": ["drill_wallet"], "release": "v1", **aws, **keys}
    made = run_module("pg_backup", **arguments, **pg.login)
    assert made["backup"]["verified"] == "read"
    variables = {
        "eazepay_database": {"host": "127.0.0.1", "port": pg.port, "secret": "none"},
        "eazepay_databases": ["drill_wallet"],
        "eazepay_backup": {"dest": dest, "max_age": "1h", "keep": {}, **keys},
        **{f"backup_{name}": value for name, value in aws.items()},
        "run_database_secret": {"username": "super", "password": pg.login["login_password"]},
    }
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    argv = [Path(sys.executable).parent / "ansible-playbook", "drill.yml", "-i", "local"]
    done = subprocess.run(
        [*argv, "-e", f"@{tmp_path}/variables.json"],
        cwd=ROOT / "playbooks",
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{made['backup']['id']} of drill_wallet was restored on trial" in " ".join(done.stdout.split())
    assert "rd-canary" not in done.stdout
    listed = run_module("pg_backup", state="listed", dest=dest, **aws)["backups"]
    assert listed[0]["verified"] == "restore"
    assert not [name for name in pg.databases() if "scratch" in name]
