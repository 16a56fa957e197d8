# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A PostgreSQL server: connections, its programs' environment, the lock that backup, migration and restore share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import traceback
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ..common.errors import InputError, MissingLibrary, OpsError

MISSING = ""
try:
    import psycopg2
    import psycopg2.extensions
    import psycopg2.extras
except ImportError:
    psycopg2 = None  # type: ignore[assignment]
    MISSING = traceback.format_exc()

# Where a process finds its own open files by number.
OPEN_FILES = "/proc/self/fd"
LOGIN_SPEC: Dict[str, Any] = {
    "login_host": {"type": "str", "aliases": ["host"]},
    "login_port": {"type": "int", "aliases": ["port"]},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_unix_socket": {"type": "path", "aliases": ["unix_socket"]},
    "login_db": {"type": "str", "default": "postgres"},
    "ssl_mode": {
        "type": "str",
        "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        "default": "prefer",
        "aliases": ["sslmode"],
    },
    "ca_cert": {"type": "path", "aliases": ["ssl_rootcert"]},
    "lock_timeout": {"type": "float", "default": 0},
    "lock_wait_timeout": {"type": "float", "default": 30},
    "bin_dir": {"type": "path"},
    "progress_file": {"type": "path"},
}


def ident(name: str) -> str:
    """A name as SQL wants it quoted."""
    return '"' + name.replace('"', '""') + '"'


def shortened(name: str, suffix: str) -> str:
    """The name with a suffix, within the 63 bytes that PostgreSQL keeps of a name."""
    kept = name.encode()[: 63 - len(suffix.encode())].decode(errors="ignore")
    return kept + suffix


def connection_string(database: str) -> str:
    """For ``--dbname``: a bare name with ``=`` in it would be taken for a connection string."""
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def passfile_line(password: str) -> str:
    """The one line of a password file that answers for every database."""
    return "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"


class Server:
    """One server and the role to work as.

    :param params: the ``login_*`` options of a module.
    :param verb, object: what the errors say was tried.
    """

    def __init__(self, params: Dict[str, Any], verb: str, object: str = "") -> None:
        if psycopg2 is None:
            raise MissingLibrary("psycopg2-binary", MISSING)
        self.verb = verb
        self.object = object
        self.host = params.get("login_unix_socket") or params.get("login_host") or os.environ.get("PGHOST")
        self.port = params.get("login_port") or os.environ.get("PGPORT")
        self.user = params.get("login_user") or os.environ.get("PGUSER")
        self.password = params.get("login_password")
        if self.password and set(self.password) & {"\n", "\r", "\0"}:
            raise InputError("login_password", "it holds a line break, which no password file can carry")
        self.maintenance = params.get("login_db") or "postgres"
        self.ssl_mode = params.get("ssl_mode") or "prefer"
        self.ca_cert = params.get("ca_cert") or None
        self.lock_wait = float(params.get("lock_wait_timeout") or 30)
        self.lock_timeout = float(params.get("lock_timeout") or 0)

    @property
    def cores(self) -> Optional[int]:
        """How many cores the server's machine has, where it is this one; otherwise None."""
        local = not self.host or self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")
        return os.cpu_count() if local else None

    def error(self, cause: str, remedy: str = "", object: str = "", **result: Any) -> OpsError:
        return OpsError(self.verb, object or self.object, cause, remedy, **result)

    def connect(self, database: Optional[str] = None, autocommit: bool = True) -> Any:
        """A connection of its own. :raises OpsError: with the server's own words."""
        name = database if database is not None else self.maintenance
        wanted: Dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "sslmode": self.ssl_mode,
            "sslrootcert": self.ca_cert,
            "dbname": name,
            "connect_timeout": 15,
            "application_name": f"eazepay.ops {self.verb}",
            "client_encoding": "utf8",
            # Whoever waits for a lock makes everybody behind wait, too.
            "options": f"-c lock_timeout={int(self.lock_wait * 1000)}",
        }
        try:
            connection = psycopg2.connect(**{key: value for key, value in wanted.items() if value is not None})
        except psycopg2.Error as error:
            where = f"{self.host or 'the local socket'}:{self.port or 5432}"
            raise self.error(
                f"database {name!r} on {where} does not let {self.user or 'the current user'!r} in: {said(error)}",
                "Check ssl_mode and ca_cert, and whether that is the server."
                if "certificate" in str(error) or "SSL" in str(error)
                else "Check the address, the name and the password.",
                object=self.object or f"database {name!r}",
            ) from error
        if connection.info.server_version < 100000:
            connection.close()
            raise self.error("the server is older than PostgreSQL 10")
        connection.autocommit = autocommit
        return connection

    @contextlib.contextmanager
    def environment(self, database: Optional[str] = None) -> Iterator[Dict[str, str]]:
        """The whole environment for PostgreSQL's programs, which ``tools.work`` runs.

        The password is in a file that only we can read; on Linux in memory, so that a killed run leaves none.
        """
        env = {
            name: value for name, value in os.environ.items() if name not in ("PGOPTIONS", "PGDATABASE", "PGSERVICE")
        }
        env.update(PGAPPNAME=f"eazepay.ops {self.verb}", PGCONNECT_TIMEOUT="15", PGSSLMODE=self.ssl_mode, LC_ALL="C")
        for name, value in (
            ("PGHOST", self.host),
            ("PGPORT", self.port),
            ("PGUSER", self.user),
            ("PGSSLROOTCERT", self.ca_cert),
            ("PGDATABASE", database),
        ):
            if value is not None:
                env[name] = str(value)
        if self.password is None:
            yield env
            return
        env.pop("PGPASSWORD", None)  # it would win against the file
        if hasattr(os, "memfd_create") and os.path.isdir(OPEN_FILES):
            memory = os.memfd_create("pgpass")
            try:
                os.fchmod(memory, 0o600)  # libpq ignores a file that others may read
                os.write(memory, passfile_line(self.password).encode())
                env["PGPASSFILE"] = f"{OPEN_FILES}/{memory}"
                yield env
            finally:
                os.close(memory)
            return
        with tempfile.TemporaryDirectory(prefix="ops-pg-") as folder:
            file = os.path.join(folder, "pass")
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
                handle.write(passfile_line(self.password))
            env["PGPASSFILE"] = file
            yield env

    def facts(self) -> Dict[str, Any]:
        """The server's version, and which cluster it is."""
        with self.session() as connection:
            version = connection.info.server_version
            return {
                "version": scalar(connection, "SHOW server_version").split(" ")[0],
                "major": version // 10000,
                "system_identifier": self.system_identifier(connection),
            }

    @staticmethod
    def system_identifier(connection: Any) -> str:
        try:
            return str(scalar(connection, "SELECT system_identifier FROM pg_catalog.pg_control_system()"))
        except psycopg2.Error:  # some managed servers forbid it
            return ""

    @contextlib.contextmanager
    def session(self, database: Optional[str] = None, autocommit: bool = True) -> Iterator[Any]:
        connection = self.connect(database, autocommit)
        try:
            yield connection
        finally:
            connection.close()

    @contextlib.contextmanager
    def locked(self, names: Sequence[str]) -> Iterator[Any]:
        """Holds the lock of each database; backup, migration and restore of one database exclude each other.

        The locks live in the maintenance database, so that they outlive the swap of the database they protect.
        """
        connection = self.connect()
        try:
            # A pooler answers with a process number of its own; its sessions are not ours, and neither are their locks.
            if connection.info.backend_pid != scalar(connection, "SELECT pg_backend_pid()"):
                raise self.error(
                    "the address is a connection pooler's, which does not keep session locks",
                    "Connect to the server itself.",
                )
            deadline = time.monotonic() + self.lock_timeout
            for name in sorted(set(names)):
                # Polled: waiting in the server would deadlock with CREATE INDEX CONCURRENTLY.
                while not scalar(connection, "SELECT pg_try_advisory_lock(%s)", lock_key(name)):
                    if time.monotonic() >= deadline:
                        raise self.error(
                            f"database {name!r} is in the hands of {self.holder(connection, name)}",
                            "Wait until it is done, or set lock_timeout to wait here.",
                        )
                    time.sleep(0.2)
            yield connection
        finally:
            connection.close()

    @staticmethod
    def holder(connection: Any, name: str) -> str:
        key = lock_key(name) & (2**64 - 1)
        found = rows(
            connection,
            "SELECT a.application_name, a.pid, a.backend_start::timestamp(0)::text FROM pg_locks l "
            "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
            "AND l.classid::bigint = %s AND l.objid::bigint = %s",
            key >> 32,
            key & (2**32 - 1),
        )
        return "{} (process {}, since {})".format(*found[0]) if found else "another run"


def lock_key(name: str) -> int:
    """The advisory lock of a database: a signed 64-bit number."""
    return int.from_bytes(hashlib.sha256(b"eazepay.ops/" + name.encode()).digest()[:8], "big", signed=True)


def said(error: Exception) -> str:
    """What the server said, in one line."""
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("LINE ", "  "))]
    return "; ".join(lines)


def execute(connection: Any, sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)


def rows(connection: Any, sql: str, *values: Any) -> List[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall()


def scalar(connection: Any, sql: str, *values: Any) -> Any:
    found = rows(connection, sql, *values)
    return found[0][0] if found else None


def database_error() -> Any:
    """The class that every error of the driver has."""
    return psycopg2.Error
