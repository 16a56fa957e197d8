"""Every module that logs in to PostgreSQL, with a server that takes nobody without TLS and has to prove who it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from tests.conftest import ROOT
from tests.integration.gate.servers import Authority
from tests.postgres import Throwaway

NAME = "localhost"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pg(authority, tmp_path_factory):
    """A server whose certificate is for its name, and not for its address."""
    folder = Path(str(tmp_path_factory.mktemp("server")))
    both = Path(authority.issue("server", names=[x509.DNSName(NAME)]))
    (folder / "both.pem").write_bytes(both.read_bytes())
    (folder / "hba").write_text("local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
    for one in (folder, *folder.iterdir()):
        shutil.chown(one, "postgres", "postgres")
        one.chmod(0o700 if one.is_dir() else 0o600)
    for above in folder.parents[:2]:
        above.chmod(0o755)
    files = {"ssl_cert_file": "both.pem", "ssl_key_file": "both.pem", "hba_file": "hba"}
    made = Throwaway(15, "ssl = on\n" + "".join(f"{name} = '{folder}/{file}'\n" for name, file in files.items()))
    made.make("wallet", rows=20)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """An authority that has signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Somebody else").file


def login(pg, **tls):
    return {**pg.login, "login_host": NAME, **tls}


def asked(module, login, dest):
    """What each module says of a login: an error, or nothing when it was let in."""
    tool = {"tool": "command", "commands": {"show": ["true"], "run": ["true"]}, "table": "migrations", "column": "name"}
    service = {"name": "wallet", "directory": "/", "database": "wallet", "order_by": "id", **tool}
    backup = module("pg_backup", dest=str(dest), databases=["wallet"], release="v1.0.0", **login)
    found = {"pg_backup": backup.get("msg", "")}
    shown = module("db_migration", state="shown", services=[service], **login)
    found["db_migration"] = shown.get("msg", "")
    plain = {key: value for key, value in login.items() if key != "bin_dir"}
    gate = module("health_gate", checks=[{"name": "database", "postgres": plain}], deadline=0)
    found["health_gate"] = gate.get("msg", "") if gate["failed"] else ""
    bundle = module("diagnostics", dest=f"{dest}.zip", services=[], **plain)
    found["diagnostics"] = next((one["text"] for one in bundle["findings"] if "does not answer" in one["text"]), "")
    if backup.get("backup"):
        manifest = backup["backup"]["manifest"]
        restored = module("pg_restore", manifest=manifest, databases=["wallet"], **login)
        found["pg_restore"] = restored.get("msg", "") if restored["failed"] else ""
        assert backup["backup"]["verified"]
    return found


def test_a_server_that_proves_who_it_is_is_worked_with(module, pg, authority, tmp_path):
    found = asked(module, login(pg, ssl_mode="verify-full", ca_cert=authority.file), tmp_path / "backups")
    assert len(found) == 5 and not any(found.values()), found
    assert pg.run("SELECT count(*) FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()") == [(1,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"login_host": "127.0.0.1"}, "does not match host name"),
        ({"ca_cert": "stranger"}, "certificate verify failed"),
        ({"ssl_mode": "disable"}, "no encryption"),
    ],
)
def test_any_other_gets_no_password_and_no_data(module, pg, authority, stranger, tmp_path, change, said):
    given = login(pg, **{"ssl_mode": "verify-full", "ca_cert": authority.file, **change})
    if given["ca_cert"] == "stranger":
        given["ca_cert"] = stranger
    found = asked(module, given, tmp_path / "backups")
    assert len(found) == 4 and all(said in one for one in found.values()), found


def test_the_inventory_reaches_every_role_that_logs_in():
    roles = ("backup", "migrate", "restore")
    words = [f"{role}_{option}" for role in roles for option in ("ssl_mode", "ca_cert")]
    words += [
        f"{of}.{option}"
        for of in ("watch_database.postgres", "diagnose_database")
        for option in ("ssl_mode", "ca_cert")
    ]
    given = {
        "eazepay_database": {"host": "db", "port": 1, "secret": "s", "ssl_mode": "verify-ca", "ca_cert": "/ca.pem"}
    }
    given |= {"run_database": {"username": "u", "password": "p"}, "release": "v1.1.0"}
    program = Path(sys.executable).with_name("ansible")
    argv = [program, "control", "-i", "inventories/production", "--playbook-dir", "playbooks", "-m", "debug"]
    argv += ["-a", f"msg=<{{{{ [{', '.join(words)}] | to_json }}}}>", "-e", json.dumps(given)]
    done = subprocess.run(argv, check=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    found = re.search(r"<(\[.*\])>", " ".join(done.stdout.split()))
    assert found, done.stdout
    assert json.loads(found.group(1)) == ["verify-ca", "/ca.pem"] * 5
