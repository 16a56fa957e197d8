"""PostgreSQL from Debian, in a cluster of its own: one database per service, on loopback and on a Unix socket."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from sandbox.box import SandboxError, run, step, write
from sandbox.daemon import Daemon
from sandbox.parts import Part, Status

PORT = 15432
DATABASES = ("identity", "biometric", "transaction", "wallet", "agent", "ussd")
SETTINGS = """\
# Written by the sandbox at each `up`. Its data may be lost with the machine, so nothing waits for the disk.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0777
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = '128MB'
shared_preload_libraries = 'pg_stat_statements'
password_encryption = 'scram-sha-256'
track_io_timing = on
log_min_duration_statement = '1s'
"""
# As on a managed server, eazepay is no superuser: it makes databases and roles, and sees and ends what runs.
ROLES = """\
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'eazepay') THEN CREATE ROLE eazepay; END IF;
{services}END $$;
ALTER ROLE eazepay LOGIN CREATEDB CREATEROLE PASSWORD '{password}';
GRANT pg_monitor, pg_signal_backend, pg_read_all_data TO eazepay;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
"""
SERVICE_ROLE = """\
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE {name}; END IF;
  ALTER ROLE {name} LOGIN PASSWORD '{password}';
  GRANT {name} TO eazepay;
"""
RIGHTS = """\
GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {name};
GRANT USAGE, CREATE ON SCHEMA public TO {name};
ALTER DEFAULT PRIVILEGES FOR ROLE eazepay GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {name};
ALTER DEFAULT PRIVILEGES FOR ROLE eazepay GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {name};
"""


class Postgres(Part):
    name = "postgres"
    packages = ("postgresql-15", "age", "zstd")

    def __init__(self, box):
        super().__init__(box)
        self.daemon = Daemon(box, "postgres")
        self.data = self.dir / "data"
        self.sockets = self.dir / "run"
        # A Unix socket's path has 107 bytes.
        if len(f"{self.sockets}/.s.PGSQL.{PORT}") > 100:
            self.sockets = Path("/run/eazepay-ops") / box.id

    def bin(self, name: str) -> str:
        path = Path("/usr/lib/postgresql/15/bin") / name
        if not path.exists():
            raise SandboxError(f"{path} is missing although postgresql-15 was to be installed")
        return str(path)

    def as_postgres(self) -> list[str]:
        """What comes before a command line so that it does not run as root, which the server refuses."""
        if os.geteuid() != 0:
            return []
        plain = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--inh-caps=-all"]
        if run([*plain, "test", "-x", self.dir], check=False).returncode == 0:
            return list(plain)
        # The checkout stands in a folder that others cannot enter, such as /root.
        capability = "+dac_read_search"
        return [*plain[:-1], f"--inh-caps={capability}", f"--ambient-caps={capability}"]

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Runs SQL as the superuser, over the socket, and gives its output."""
        argv = [self.bin("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]
        where = {"PGHOST": str(self.sockets), "PGPORT": str(PORT), "PGUSER": "postgres"}
        password = {"PGPASSWORD": self.box.secret("postgres-superuser"), "PGCONNECT_TIMEOUT": "5"}
        return run(argv, input=sql, env={**os.environ, **where, **password}, cwd="/").stdout

    def up(self) -> None:
        if self.daemon.pid() is None:
            self.make_cluster()
            (self.data / "postmaster.pid").unlink(missing_ok=True)  # no server of this cluster runs
            with step(self.name, "starting the server"):
                argv = [*self.as_postgres(), self.bin("postgres"), "-D", str(self.data)]
                self.daemon.start(argv, lambda: self.psql("SELECT 1") == "1\n", ports=[PORT], cwd=Path("/"))
        wanted = self.state_wanted()
        mark = self.dir / "roles"
        if not mark.exists() or mark.read_text() != wanted:
            with step(self.name, f"roles and {len(DATABASES)} databases"):
                self.make_databases()
            write(mark, wanted)

    def make_cluster(self) -> None:
        for folder in (self.dir, self.sockets):
            folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres", "postgres")
            shutil.chown(self.sockets, "postgres", "postgres")
        if not (self.data / "PG_VERSION").exists():
            shutil.rmtree(self.data, ignore_errors=True)
            with step(self.name, "making the cluster"):
                password = self.dir / "password"
                write(password, self.box.secret("postgres-superuser") + "\n", mode=0o600)
                if os.geteuid() == 0:
                    shutil.chown(password, "postgres", "postgres")
                options = ["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync"]
                argv = [
                    *self.as_postgres(),
                    self.bin("initdb"),
                    "-D",
                    str(self.data),
                    "--pwfile",
                    str(password),
                    *options,
                ]
                try:
                    run(argv, cwd="/")
                finally:
                    password.unlink()
        settings = self.dir / "sandbox.conf"
        write(settings, SETTINGS.format(port=PORT, sockets=self.sockets))
        main = self.data / "postgresql.conf"
        include = f"include '{settings}'\n"
        if include not in main.read_text():
            with open(main, "a") as file:
                file.write(include)

    def state_wanted(self) -> str:
        return f"{DATABASES} {ROLES} {SERVICE_ROLE} {RIGHTS}"

    def make_databases(self) -> None:
        password = self.box.secret("postgres")
        services = "".join(SERVICE_ROLE.format(name=name, password=password) for name in DATABASES)
        self.psql(ROLES.format(services=services, password=password))
        there = self.psql("SELECT datname FROM pg_database").split()
        for name in DATABASES:
            if name not in there:
                self.psql(f"CREATE DATABASE {name} OWNER eazepay;")
            self.psql(RIGHTS.format(name=name), name)

    def status(self) -> Status:
        pid = self.daemon.pid()
        if pid is None:
            return Status(False, "not running")
        count, size = (
            self.psql(
                "SELECT count(*), pg_size_pretty(sum(pg_database_size(oid))) FROM pg_database "
                f"WHERE datname IN ({', '.join(repr(name) for name in DATABASES)})"
            )
            .strip()
            .split("|")
        )
        return Status(count == str(len(DATABASES)), f"127.0.0.1:{PORT}, pid {pid}, {count} databases, {size}")

    def down(self) -> None:
        if self.daemon.pid() is not None:
            with step(self.name, "stopping the server"):
                self.daemon.stop(60, signal.SIGINT)  # the fast shutdown: ends connections, writes a checkpoint
        if self.sockets.parent.name == "eazepay-ops":
            shutil.rmtree(self.sockets, ignore_errors=True)

    def env(self) -> dict[str, str]:
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(PORT),
            "PGUSER": "eazepay",
            "PGPASSWORD": self.box.secret("postgres"),
            "PG_SOCKET_DIR": str(self.sockets),
            "PG_SUPERUSER": "postgres",
            "PG_SUPERPASSWORD": self.box.secret("postgres-superuser"),
        }
