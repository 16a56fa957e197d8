# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Runs, reverts and runs migrations on copies of live databases, and tells how long that took and what it locked."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple

from ..common.errors import OpsError
from ..postgres import catalog
from ..postgres.server import Server, database_error, execute, rows

# Seconds between two looks at the locks; one that is held for less may be missed.
EVERY = 0.01
# The modes that keep other people from writing or reading, on tables that they can see: not those being created.
HELD = (
    "SELECT DISTINCT n.nspname || '.' || c.relname, l.mode FROM pg_catalog.pg_locks l "
    "JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) "
    "AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() AND c.relkind IN ('r', 'p', 'm') "
    "AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND l.mode IN "
    "('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
)


class Locks:
    """Watches what others lock in a database.

    :param ignore: a table that only the migration tool uses.
    """

    def __init__(self, server: Server, database: str, ignore: str) -> None:
        self.server, self.database, self.ignore = server, database, ignore
        self.held: Dict[Tuple[str, str], float] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self) -> None:
        # A copy that is dropped, or a server that goes, is for the work itself to tell.
        with contextlib.suppress(OpsError, database_error()), self.server.session(self.database) as connection:
            before: Dict[Tuple[str, str], float] = {}
            while not self.over.is_set():
                found = set(rows(connection, HELD))
                now = time.monotonic()
                for one in found:
                    self.held[one] = self.held.get(one, 0.0) + now - before.get(one, now)
                before = dict.fromkeys(found, now)
                self.over.wait(EVERY)

    def report(self) -> List[Dict[str, Any]]:
        """Each lock and for how many seconds it was held, the longest first."""
        found = [
            {"relation": relation, "mode": mode, "seconds": round(seconds, 3)}
            for (relation, mode), seconds in self.held.items()
            if relation.rpartition(".")[2] != self.ignore.rpartition(".")[2]
        ]
        return sorted(found, key=lambda one: (-one["seconds"], one["relation"], one["mode"]))


def measured(service: Any, work: Callable[[], None]) -> Dict[str, Any]:
    """Does the work, and gives its seconds and locks."""
    locks = Locks(service.server, service.database, service.tool.table)
    locks.thread.start()
    started = time.monotonic()
    try:
        work()
    finally:
        seconds = time.monotonic() - started
        locks.over.set()
        locks.thread.join(30)
    return {"seconds": round(seconds, 3), "locks": locks.report()}


@contextlib.contextmanager
def sealed(service: Any) -> Iterator[None]:
    """Locks the books of the live database: a tool that goes there instead of to the copy stops before it has begun."""
    with service.server.session(service.database, autocommit=False) as connection:
        if service.rows() is not None:
            execute(connection, f"LOCK TABLE {catalog.qualified(service.tool.table)} IN ACCESS EXCLUSIVE MODE")
        yield


def rehearsal(service: Any) -> Dict[str, Any]:
    """Runs, reverts and runs again. :param service: that of the copy."""
    first = measured(service, lambda: service.run(False))
    applied = [name for name in service.after if name not in service.before]
    result = {"migrations": applied, "run": first}
    if applied:
        point = list(service.before)
        result["revert"] = measured(service, lambda: service.revert(point, False))
        result["again"] = measured(service, lambda: service.run(False))
    return result
