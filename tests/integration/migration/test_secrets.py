"""One password through backup, restore, migrations and diagnostics: it is nowhere but where it must be."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.backup.test_faults import below
from tests.modules import start_module
from tests.postgres import PASSWORD, Throwaway

CANARY = "rd-canary"
TOKEN = "a-tokens-canary-value"
# It leaks what it knows, as tools do: the address it connects to, and its environment.
TOOL = """
import os, sys, psycopg2
e = os.environ
print("connecting to postgresql://" + e["PGUSER"] + ":" + e["PGPASSWORD"] + "@" + e["PGHOST"], e["API_TOKEN"])
c = psycopg2.connect("")
c.autocommit = True
q = c.cursor()
q.execute("CREATE TABLE IF NOT EXISTS books (n serial, name text)")
if sys.argv[1] == "fail":
    sys.exit("error: password " + e["PGPASSWORD"] + " and token " + e["API_TOKEN"])
q.execute("INSERT INTO books (name) VALUES ('one')")
"""


@pytest.fixture
def own() -> Iterator[Throwaway]:
    """A server that logs every statement."""
    pg = Throwaway(15)
    pg.run("ALTER SYSTEM SET log_statement = 'all'")
    pg.run("ALTER SYSTEM SET log_min_duration_statement = 0")
    pg.run("SELECT pg_reload_conf()")
    yield pg
    pg.stop()


@contextmanager
def watched(pid: int, found: set[bytes], wrong: list[bytes]) -> Iterator[None]:
    """Looks at every command line below a process for as long as it lives."""
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for one in below(pid):
                try:
                    shown = Path(f"/proc/{one}/cmdline").read_bytes()
                except OSError:
                    continue
                found.add(shown.split(b"\0")[0].rpartition(b"/")[2])
                if CANARY.encode() in shown or TOKEN.encode() in shown:
                    wrong.append(shown)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def test_a_password_is_in_no_command_line_log_result_file_or_bundle(own, tmp_path):
    own.make("m_secret", rows=2000)
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "compose.yaml").write_text("services: {wallet: {image: none}}")
    tool = [sys.executable, "tool.py"]
    service = {
        "name": "wallet", "database": "m_secret", "chdir": str(tmp_path), "tool": "command", "table": "books",
        "column": "name", "order_by": "n", "secret_environment": {"API_TOKEN": TOKEN},
        "commands": {"run": [*tool, "run"], "show": ["echo", "one"], "revert": [*tool, "fail"]},
    }  # fmt: skip
    seen: set[bytes] = set()
    wrong: list[bytes] = []

    def run(name: str, fails: bool = False, **arguments: object) -> dict:
        given = {"progress_file": str(tmp_path / f"progress-{len(os.listdir(tmp_path))}"), **own.login, **arguments}
        if name == "diagnostics":
            given = {key: value for key, value in given.items() if key not in ("progress_file", "bin_dir")}
        process = start_module(name, diff=True, env={"TMPDIR": str(tmp_path)}, **given)
        with watched(process.pid, seen, wrong):
            stdout, stderr = process.communicate(timeout=300)
        for text in (stdout, stderr):
            assert CANARY not in text and TOKEN not in text, (name, text)
        result: dict = json.loads([line for line in stdout.splitlines() if line.startswith("{")][-1])
        assert result.get("failed", False) == fails, result
        return result

    made = run("pg_backup", databases=["m_secret"], dest=str(tmp_path / "backups"), verify="restore")["backup"]
    applied = run("db_migration", services=[service])
    assert "connecting to" in applied["services"][0]["output"]
    failed = run("db_migration", fails=True, services=[service], state="reverted", point={"wallet": []})
    assert "error: password" in failed["msg"]
    run("pg_restore", manifest=made["manifest"])
    run("pg_restore", state="undone", databases=["m_secret"])
    wrong_password = PASSWORD + "wrong"
    run("pg_restore", fails=True, manifest=made["manifest"], login_password=wrong_password)
    run(
        "diagnostics", dest=str(tmp_path / "bundle"), target="compose", compose={"project_src": str(tmp_path)},
        services=[{"name": "wallet"}], failure=f"it said {PASSWORD}",
    )  # fmt: skip

    assert not wrong and {b"pg_dump", b"pg_restore"} <= seen, (wrong, seen)
    read = 0
    for file in [*tmp_path.rglob("*"), Path(own.folder, "log")]:
        if file.is_file():
            read += 1
            content = file.read_bytes()
            assert CANARY.encode() not in content and TOKEN.encode() not in content, file
    assert read > 10 and b"CREATE DATABASE" in Path(own.folder, "log").read_bytes()
    assert (tmp_path / "bundle" / "index.html").exists()
