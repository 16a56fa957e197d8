# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Shows, runs and reverts the migrations of services."""

from __future__ import annotations

import contextlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional

from ..common.errors import InputError, OpsError
from ..common.process import Finished
from ..common.progress import Progress
from ..common.redact import Redactor
from ..postgres import catalog
from ..postgres.server import Server, database_error, said
from ..restore.copies import copies
from . import plan
from .rehearsal import rehearsal, sealed
from .runners import runner

VERBS = {
    "present": "migrate",
    "shown": "show the migrations of",
    "reverted": "revert the migrations of",
    "decided": "find the way back for",
    "rehearsed": "rehearse the migrations of",
}


class Service:
    """One service: its tool, its runner, its books."""

    def __init__(self, server: Server, given: Dict[str, Any], params: Dict[str, Any], progress: Progress) -> None:
        self.server = server
        self.name = given["name"]
        self.database = given["database"]
        self.given = given
        self.verb = server.verb
        self.progress = progress
        both = {**(given["environment"] or {}), **(given["secret_environment"] or {})}
        self.variables = {name: str(value) for name, value in both.items()}
        self.redactor = Redactor([server.password or "", *self.variables.values()])
        try:
            self.tool = plan.merged(given["tool"], given)
        except ValueError as error:
            raise InputError("services", f"{self.name}: {error}") from error
        self.runner = runner(given, params)
        self.before: List[str] = []
        self.after: List[str] = []
        self.pending: Optional[List[str]] = None
        self.way: Optional[plan.Way] = None
        self.restorable = False  # the backup is at the point
        self.output = ""
        self.started = self.ended = time.monotonic()

    def error(self, cause: str, remedy: str = "") -> OpsError:
        left = self.runner.left if hasattr(self, "runner") else ""
        return OpsError(self.verb, f"service {self.name!r}", cause, " ".join(part for part in (remedy, left) if part))

    def said(self, finished: Finished, lines: int = 12) -> str:
        return plan.cause_of(self.redactor.text(finished.output), lines)

    def env(self) -> Dict[str, str]:
        """The variables of a command. A workload's container has its own address, role and password."""
        server = self.server
        # Whoever waits for a lock makes everybody behind wait, too.
        options = f"-c lock_timeout={int(server.lock_wait * 1000)}"
        env = {"PGDATABASE": self.database, "PGOPTIONS": options, "PGAPPNAME": catalog.MIGRATION}
        login = self.given["pass_login"]
        if login or (login is None and self.given["runner"] == "local"):
            # Node's driver takes libpq's default, to use TLS where it can, for an order to use it.
            if server.ssl_mode not in ("prefer", "allow"):
                env["PGSSLMODE"] = server.ssl_mode
            for name, value in (
                ("PGHOST", server.host),
                ("PGPORT", server.port),
                ("PGUSER", server.user),
                ("PGPASSWORD", server.password),
                ("PGSSLROOTCERT", server.ca_cert),
            ):
                if value is not None:
                    env[name] = str(value)
        return {**env, **self.variables}

    def command(self, argv: List[str]) -> Finished:
        try:
            finished: Finished = self.runner.run(argv, self.env())
            if argv != self.tool.show:
                self.output += self.redactor.text(finished.output) + "\n"
            return finished
        except FileNotFoundError as error:
            raise self.error(f"there is no program {error.filename!r}", "Install it, or set commands.") from error
        except subprocess.TimeoutExpired as error:
            raise self.error(
                f"{' '.join(argv)} did not end within {error.timeout:.0f} s, and was killed",
                "See with state=shown what was applied.",
            ) from error

    def rows(self) -> Optional[List[str]]:
        with self.server.session(self.database) as connection:
            try:
                return catalog.applied(connection, self.tool.table, self.tool.column, self.tool.order)
            except database_error() as error:
                raise self.error(f"table {self.tool.table} cannot be read: {said(error)}") from error

    def known(self, readonly: bool, there: bool) -> Optional[List[str]]:
        """The migrations of the code, oldest first; None when that cannot be told without a change."""
        if readonly and not there and self.tool.show_writes:
            sources = self.runner.sources()
            return None if sources is None else plan.class_names(sources)
        finished = self.command(self.tool.show)
        if finished.rc:
            raise self.error(f"{' '.join(self.tool.show)} ended with {finished.rc}: {self.said(finished)}")
        return plan.known_names(self.tool, finished.stdout)

    def applied(self, known: Optional[List[str]]) -> List[str]:
        try:
            return plan.applied_names(self.tool, self.rows() or [], known or [])
        except ValueError as error:
            raise self.error(str(error), "Merge the heads first.") from error

    def look(self, readonly: bool) -> Optional[List[str]]:
        """Fills in what is applied and pending, and gives what the code knows."""
        known = self.known(readonly, self.rows() is not None)
        self.before = self.after = self.applied(known)
        self.pending = None if known is None else plan.pending(known, self.before)
        return known

    def show(self) -> None:
        self.look(readonly=True)

    def run(self, check: bool) -> None:
        if not check:
            self.alone()
        known = self.look(readonly=check)
        refused = plan.refusal(known, self.before)
        if refused:
            raise self.error(refused, "Use the release that belongs to this database. Nothing was run.")
        if check or not self.pending:
            return
        todo = list(self.pending)
        self.progress.event(f"{self.name}: {len(todo)} migrations begin, the first is {todo[0]}")
        finished = self.command(self.tool.run)
        self.after = self.applied(known)
        self.pending = plan.pending(known or [], self.after)
        made = self.after[len(self.before) :]
        remedy = (
            f"Applied before it failed: {', '.join(made)}. Revert with state=reverted to the point in the result."
            if made
            else "Nothing was applied."
        )
        if finished.rc:
            raise self.error(f"{' '.join(self.tool.run)} ended with {finished.rc}: {self.said(finished)}", remedy)
        problem = plan.run_problem(self.before, self.after, known or [])
        if problem:
            raise self.error(f"{problem}; {self.said(finished, 5)}", remedy)
        self.progress.event(f"{self.name}: applied {', '.join(made)}")

    def alone(self) -> None:
        """Sees to it that no tool works in the database, as one does whose module was killed: it kept no lock.

        :raises OpsError: one does.
        """
        deadline = time.monotonic() + catalog.GONE
        with self.server.session(self.database) as connection:
            while True:
                # A command that has only begun has no session yet.
                at_work = catalog.migrating(connection) or self.runner.busy()
                if not at_work:
                    return
                if time.monotonic() >= deadline:
                    raise self.error(
                        f"another migration is under way: {at_work}", "Wait until it is done. Nothing was run."
                    )
                time.sleep(0.2)

    def revert(self, point: List[str], check: bool) -> None:
        if not check:
            self.alone()
        known = self.look(readonly=True)
        try:
            todo = plan.reverts(self.before, point)
        except ValueError as error:
            raise self.error(str(error), "Restore the backup instead. Nothing was reverted.") from error
        strange = [name for name in todo if known is not None and name not in known]
        if strange:
            raise self.error(
                f"this code does not have {', '.join(strange)}", "Revert with the release that brought them."
            )
        if todo and not self.tool.revert:
            raise self.error("there is no command that reverts", "Set commands.revert.")
        if check:
            self.after = [name for name in self.before if name not in todo]
            return
        for name in todo:
            before = self.after
            finished = self.command(self.tool.revert)
            if finished.rc and self.tool.bare and plan.needs_no_transaction(finished.output):
                finished = self.command([*self.tool.revert, *self.tool.bare])
            self.after = self.applied(known)
            if finished.rc:
                raise self.error(f"reverting {name} ended with {finished.rc}: {self.said(finished)}")
            if self.after != before[:-1]:
                raise self.error(
                    f"reverting {name} left {', '.join(self.after) or 'nothing'} applied",
                    "Restore the backup instead.",
                )
            self.progress.event(f"{self.name}: reverted {name}")
        self.pending = None if known is None else plan.pending(known, self.after)

    def decide(self, point: List[str], backup: Optional[Dict[str, List[str]]], prefer: str) -> None:
        """Finds the way back to a point. :param backup: what the backup of the database has applied, by table."""
        known = self.look(readonly=True)
        stands = None
        try:
            # Without the table of a tool that backups know, it was taken before the first migration.
            if backup is not None and self.tool.table in {table for table, _column, _order in catalog.MIGRATION_TABLES}:
                stands = plan.applied_names(self.tool, backup.get(self.tool.table) or [], known or [])
            self.restorable = stands is not None and stands == point
            self.way = plan.way_back(self.before, point, known, bool(self.tool.revert), stands, prefer)
        except ValueError as error:
            raise self.error(
                str(error), "Nothing was touched. Choose a backup, and restore it with pg_restore."
            ) from error

    def result(self) -> Dict[str, Any]:
        return {
            "name": self.name,
            "database": self.database,
            "changed": self.before != self.after,
            "before": self.before,
            "after": self.after,
            "applied": [name for name in self.after if name not in self.before],
            "reverted": [name for name in self.before[::-1] if name not in self.after],
            "pending": self.pending or [],
            "pending_known": self.pending is not None,
            "output": plan.last_lines(self.output),
            "seconds": round(self.ended - self.started, 3),
        }


def migrate(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    """The work of db_migration: all services, those of one database one after another."""
    state = params["state"]
    names = [one["name"] for one in params["services"]]
    server = Server(params, VERBS[state], f"services {', '.join(names)}")
    progress = Progress(params.get("progress_file"))
    if len(set(names)) != len(names):
        raise InputError("services", "a name occurs twice")
    services = [Service(server, one, params, progress) for one in params["services"]]
    points = params["point"] or {}
    if state in ("reverted", "decided") and set(names) - set(points):
        raise InputError("point", f"it says nothing about {', '.join(sorted(set(names) - set(points)))}")
    by_database: Dict[str, List[Service]] = {}
    for service in services:
        by_database.setdefault(service.database, []).append(service)
    if state == "rehearsed":
        return rehearse(server, services, params, progress, check)
    backups = params["backup_migrations"] or {}

    def act(service: Service) -> None:
        if state == "shown":
            service.show()
        elif state == "present":
            service.run(check)
        elif state == "reverted":
            service.revert(list(points[service.name]), check)
        else:
            service.decide(list(points[service.name]), backups.get(service.database), params["prefer"])

    # Reverting goes the other way round.
    groups = [group[::-1] if state == "reverted" else group for group in by_database.values()]
    looks = check or state in ("shown", "decided")
    with contextlib.nullcontext() if looks else server.locked(list(by_database)):
        failures = work_all(groups, act, params["max_parallel"])
    done = [service.result() for service in services]
    if check and state == "present":
        for one in done:
            one["changed"] = bool(one["pending"]) or not one["pending_known"]
    result = {
        "changed": any(one["changed"] for one in done),
        "services": done,
        "point": {one["name"]: one["before"] for one in done},
        "diff": {
            "before": "".join(f"{one['name']}: {name}\n" for one in done for name in one["before"]),
            "after": "".join(
                f"{one['name']}: {name}\n"
                for one in done
                for name in [*one["after"], *(one["pending"] if check and state == "present" else [])]
            ),
        },
    }
    if failures:
        first = failures[0]
        others = "".join(f" {error.message}" for error in failures[1:])
        raise OpsError(first.verb, first.object, first.cause, first.remedy + others, **result)
    if state == "decided":
        result["ways"] = [decision(database, group) for database, group in by_database.items()]
    return result


def rehearse(
    server: Server, services: List[Service], params: Dict[str, Any], progress: Progress, check: bool
) -> Dict[str, Any]:
    """Runs, reverts and runs what is pending on copies from a backup. The live databases stay as they are."""
    for service in services:
        service.look(readonly=True)
        refused = plan.refusal(None if service.pending is None else [*service.before, *service.pending], service.before)
        if refused:
            raise service.error(refused, "Nothing was run.")
    todo = [one for one in services if one.pending is None or one.pending]
    found = []
    if todo and not check:
        names = list(dict.fromkeys(one.database for one in todo))
        with server.locked(names) as connection, copies(server, connection, params, names, progress) as made:
            for service in todo:
                given = {**service.given, "database": made[service.database]}
                on_copy = Service(server, given, params, progress)
                with sealed(service):
                    try:
                        result = rehearsal(on_copy)
                    except OpsError as error:
                        remedy = "It was a copy: the live database was not touched."
                        raise OpsError(error.verb, error.object, error.cause, remedy) from error
                found.append({"name": service.name, "database": service.database, **result})
                progress.event(f"{service.name}: rehearsed, {plan.summary(result)}")
    return {
        "changed": False,
        "services": [service.result() for service in services],
        "point": {service.name: service.before for service in services},
        "rehearsals": found,
    }


def decision(database: str, group: List[Service]) -> Dict[str, Any]:
    """How one database gets back, and why. :raises OpsError: its services cannot go back together."""
    found = [(one, one.way) for one in group if one.way]
    way = plan.together([one for _service, one in found])
    for service, one in found:
        if way == "restore" and one.way != "restore" and not service.restorable:
            raise service.error(
                f"database {database!r} has to be restored, and then this service would not be at its point",
                "Nothing was touched. Choose a backup, and restore it with pg_restore.",
            )
    return {
        "database": database,
        "way": way,
        "services": [
            {"name": service.name, "migrations": one.migrations, "reason": one.reason} for service, one in found
        ],
    }


def work_all(groups: List[List[Service]], act: Callable[[Service], None], parallel: int) -> List[OpsError]:
    """Works on every database at once and gives what failed."""

    def work(group: List[Service]) -> List[OpsError]:
        for service in group:
            service.started = time.monotonic()
            try:
                act(service)
            except OpsError as error:
                return [error]
            finally:
                service.ended = time.monotonic()
        return []

    with ThreadPoolExecutor(max(1, parallel)) as pool:
        return [failure for failures in pool.map(work, groups) for failure in failures]
