# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A database restored beside the live one, and proved, before anybody depends on it."""

from __future__ import annotations

import contextlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Optional

from ..backup.dump import Dump
from ..common.errors import OpsError
from ..common.progress import Progress
from ..postgres import catalog, tools
from ..postgres.server import Server, connection_string, execute, ident, rows, scalar, shortened
from .verdict import differences, session_settings

MARK = "eazepay.ops"
# The connection limit that a side database is created with. Its note follows a moment later, and a killed run may leave
# it without; together with the name, this tells whose it is.
LIMIT = 19471


def note(kind: str, of: str, **more: Any) -> str:
    """The comment by which a later run knows one of our databases."""
    return json.dumps(dict(more, by=MARK, kind=kind, of=of), sort_keys=True)


def ours(connection: Any, of: Optional[str] = None) -> List[Dict[str, Any]]:
    """The databases that carry our note, oldest first, with the note's fields, ``database`` and ``oid``."""
    found = []
    for oid, name, comment in rows(
        connection,
        "SELECT oid::bigint, datname, pg_catalog.shobj_description(oid, 'pg_database') "
        "FROM pg_catalog.pg_database ORDER BY oid",
    ):
        try:
            known = json.loads(comment or "")
        except ValueError:
            continue
        if isinstance(known, dict) and known.get("by") == MARK and of in (None, known.get("of")):
            found.append(dict(known, database=name, oid=oid))
    return found


def drop(connection: Any, name: str) -> None:
    """Drops a database together with the sessions in it."""
    if scalar(connection, "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = %s", name):
        execute(connection, f"ALTER DATABASE {ident(name)} ALLOW_CONNECTIONS false")
        catalog.terminate(connection, name)
        execute(connection, f"DROP DATABASE IF EXISTS {ident(name)}")


def clear(connection: Any, of: str) -> None:
    """Drops what killed runs left for a database. Only with its lock held."""
    for known in ours(connection, of):
        if known["kind"] in ("scratch", "side"):
            drop(connection, known["database"])
    unnoted = "SELECT datname FROM pg_catalog.pg_database WHERE datconnlimit = %s"
    for (name,) in rows(connection, unnoted, LIMIT):
        head, _underscore, token = name.rpartition("_")
        kind = head.rpartition("_")[2]
        if kind in ("scratch", "side") and name == shortened(of, f"_{kind}_{token}"):
            drop(connection, name)


def analyze(server: Server, name: str, jobs: int, settings: Dict[str, Any]) -> None:
    """Gives the planner of a database its statistics, several tables at a time: no client may find it without."""
    with server.session(name) as connection:
        tables = iter(catalog.analyzable(connection))

    def work(_number: int) -> None:
        with server.session(name) as own:
            for setting, value in settings.items():
                execute(own, f"SET {setting} = %s", value)
            for table in tables:  # each takes the next one
                execute(own, f"ANALYZE {table}")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, range(jobs)))


def build(
    server: Server,
    connection: Any,
    dump: Dump,
    restore: tools.Tool,
    jobs: int,
    progress: Progress,
    kind: str,
    of: str,
    ready: Callable[[], Any] = lambda: None,
) -> str:
    """Restores one database of a backup under a name of its own, proves it, and gives that name.

    Whatever fails, the side database is gone again.

    :param kind: ``scratch`` or ``side``.
    :param ready: called when the side database is there and before anything of the backup goes into it.
    """
    source = dump.about
    name = shortened(of, f"_{kind}_{secrets.token_hex(4)}")
    try:
        catalog.create(connection, name, source["properties"], LIMIT)
        execute(connection, f"COMMENT ON DATABASE {ident(name)} IS %s", note(kind, of))
        # Nobody else has any business in it.
        execute(connection, f"REVOKE ALL ON DATABASE {ident(name)} FROM PUBLIC")
        ready()
        argv = [restore.path, "--no-password", "--exit-on-error", "-d", connection_string(name)]

        def failed(cause: str) -> OpsError:
            remedy = "A missing role is in the backup's globals.sql. " if "role" in cause else ""
            return server.error(
                cause, remedy + "The live database was not touched.", object=f"database {source['name']!r}"
            )

        total = sum(source["contents"]["rows"].values())

        def tick(said: Any) -> None:
            done = scalar(connection, "SELECT pg_catalog.pg_database_size(%s::name)", name)
            progress.heartbeat(f"{of}: {done >> 20} MiB restored ({total} rows in all)", done=done)

        with server.environment() as env:
            impatient = catalog.may_set(connection, "deadlock_timeout")
            settings = session_settings(jobs if dump.path or dump.spool else 1, server.cores, impatient)
            env["PGOPTIONS"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
            dump.feed(argv, env, tick, failed, jobs)
        with ThreadPoolExecutor(1) as pool, server.session(name) as inside:
            analyzed = pool.submit(analyze, server, name, jobs, settings) if kind == "side" else None
            wrong = differences(source["contents"], catalog.contents(inside))
            if analyzed:
                analyzed.result()
        if wrong:
            more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise server.error(
                f"what was restored is not what was backed up: {'; '.join(wrong[:5])}{more}",
                "The live database was not touched.",
                object=f"database {source['name']!r}",
            )
    except BaseException:
        with contextlib.suppress(Exception):
            drop(connection, name)
        raise
    return name


@contextlib.contextmanager
def scratch(
    server: Server,
    connection: Any,
    dump: Dump,
    restore: tools.Tool,
    jobs: int,
    progress: Progress,
) -> Iterator[str]:
    """A proved copy of a backed-up database for a while.

    :param connection: the one that holds the database's lock. What it makes is made before the lock is free again, even
        when this process is killed.
    """
    of = dump.about["name"]
    clear(connection, of)
    name = build(server, connection, dump, restore, jobs, progress, "scratch", of)
    try:
        yield name
    finally:
        drop(connection, name)
