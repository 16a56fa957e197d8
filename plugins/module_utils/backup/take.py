# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Takes, verifies, lists and prunes backups."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from ..common.errors import InputError, OpsError
from ..common.progress import Progress
from ..postgres import catalog, tools
from ..postgres.server import Server, connection_string, database_error, execute, rows, said, scalar
from .folder import Folder, checksums
from .manifest import FORMAT, LEVELS, Backup
from .plan import level_reached, reusable, seconds, slug, space_needed
from .retention import fates

VERBS = {"present": "back up", "verified": "verify", "listed": "list", "absent": "prune"}
GLOBALS = "globals.sql"


def described(backup: Backup) -> Dict[str, Any]:
    """A backup as modules return it."""
    return {
        "id": backup.id,
        "manifest": os.path.join(backup.path, "manifest.json"),
        "created": datetime.datetime.fromtimestamp(backup.created, datetime.timezone.utc).isoformat(timespec="seconds"),
        "release": backup.release,
        "databases": list(backup.databases),
        "bytes": backup.bytes,
        "verified": backup.verified or "",
        "broken": backup.broken,
    }


class Backups:
    """The work of pg_backup.

    :param params: the module's options.
    :param check: whether only to say what would be done.
    """

    def __init__(self, params: Dict[str, Any], check: bool) -> None:
        self.params = params
        self.check = check
        self.verb = VERBS[params["state"]]
        self.folder = Folder(params["dest"], self.verb, readonly=check)
        self.progress = Progress(params.get("progress_file"))
        self.server: Any = None
        try:
            self.max_age = seconds(params["max_age"])
        except ValueError as error:
            raise InputError("max_age", str(error)) from error
        self.release = params.get("release") or ""

    def run(self) -> Dict[str, Any]:
        state = self.params["state"]
        if state == "listed":
            backups = [described(one) for one in self.folder.list() if self.wanted(one)]
            return {"changed": False, "backups": backups}
        if state == "absent":
            with self.held():
                return self.prune(self.folder.list())
        self.server = Server(self.params, self.verb, f"databases {', '.join(self.params['databases'] or ['(all)'])}")
        if state == "verified":
            return self.verify()
        return self.present()

    def wanted(self, backup: Backup) -> bool:
        names = self.params.get("databases")
        return (
            (not self.params.get("id") or backup.id == self.params["id"])
            and (not names or bool(backup.broken) or sorted(names) == sorted(backup.databases))
            and (self.params["state"] == "absent" or not self.release or backup.release == self.release)
        )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        if self.check:
            yield
            return
        with self.folder.locked(self.params["lock_timeout"]):
            self.folder.clear_partial()
            yield

    # Taking one

    def present(self) -> Dict[str, Any]:
        facts = self.server.facts()
        with self.server.session() as connection:
            there = catalog.databases(connection)
            known = {name for (name,) in rows(connection, "SELECT datname FROM pg_database WHERE datallowconn")}
        names = list(dict.fromkeys(self.params["databases"] or there))
        missing = sorted(set(names) - known)
        if missing or not names:
            raise self.server.error(
                f"the server has no database {', '.join(map(repr, missing))}"
                if missing
                else "the server has no database",
                f"It has {', '.join(there) or 'none'}. No earlier backup was touched.",
            )
        self.server.object = f"databases {', '.join(names)}"
        level = self.params["verify"]
        with self.held():
            migrations = {}
            for name in names:
                with self.server.session(name) as connection:
                    migrations[name] = catalog.migrations(connection)
            system = facts["system_identifier"]
            existing = self.folder.list()
            found = reusable(
                existing,
                names,
                self.release,
                system,
                migrations,
                self.max_age,
                time.time(),
                self.params["own_migrations"],
            )
            if found:
                reused = self.reuse(found, level)
                if reused:
                    return reused
            dump = tools.find("pg_dump", facts["major"], self.params["bin_dir"], self.verb)
            restore = tools.find("pg_restore", facts["major"], self.params["bin_dir"], self.verb)
            if self.check:
                return {"changed": True, "backup": None, "reused": False, "diff": self.diff("", f"a backup of {names}")}
            with self.server.locked(names) as connection:
                folder = self.take(names, facts, dump, existing)
                manifest = self.prove(folder, level, restore, connection)
                self.folder.mark(folder, manifest, level)
        backup = next(one for one in self.folder.list() if one.path == folder)
        result: Dict[str, Any] = {
            "changed": True,
            "reused": False,
            "backup": dict(described(backup), seconds=manifest["seconds"], migrations=backup.migrations),
            "diff": self.diff("", f"backup {backup.id} of {', '.join(names)}"),
        }
        if any((self.params["keep"] or {}).values()):
            with self.held():
                result["pruned"] = self.prune(self.folder.list())["pruned"]
        return result

    def reuse(self, found: Backup, level: str) -> Optional[Dict[str, Any]]:
        """The result when an earlier backup serves, every byte of it checked; None when it turns out damaged."""
        try:
            manifest = self.folder.check(found.path)
        except OpsError as error:
            self.progress.event(f"backup {found.id} cannot be reused: {error.cause}")
            return None
        changed = False
        if not level_reached(found, level):
            if not self.check:
                restore = tools.find("pg_restore", manifest["server"]["major"], self.params["bin_dir"], self.verb)
                with self.server.locked(found.databases) as connection:
                    self.prove(found.path, level, restore, connection)
                self.folder.mark(found.path, manifest, level)
            changed = True
            found = found._replace(verified=level)
        self.progress.event(f"backup {found.id} of release {found.release or '(none)'} serves: nothing changed since")
        return {
            "changed": changed,
            "reused": True,
            "backup": dict(described(found), seconds=manifest["seconds"], migrations=found.migrations),
            "diff": self.diff(f"backup {found.id}", f"backup {found.id}"),
        }

    @staticmethod
    def diff(before: str, after: str) -> Dict[str, str]:
        return {"before": before + "\n" if before else "", "after": after + "\n" if after else ""}

    def take(self, names: List[str], facts: Dict[str, Any], dump: tools.Tool, existing: List[Backup]) -> str:
        method = tools.compression(dump, self.params["compression"])
        started = time.time()
        stamp = datetime.datetime.fromtimestamp(started, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        name = "-".join(part for part in (stamp, slug(self.release), secrets.token_hex(2)) if part)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.unharmed())
            # All snapshots at once, so that the databases of a set fit together; the dumps follow from them.
            sources = {one: stack.enter_context(self.snapshot(one)) for one in names}
            table_bytes = {one: catalog.size(connection) for one, (connection, _id, _facts) in sources.items()}
            self.check_space(sum(table_bytes.values()), method != "0")
            partial = stack.enter_context(self.folder.building(name))
            databases = []
            with self.server.environment() as env:
                self.dump_globals(dump, env, partial)
                for number, database in enumerate(names):
                    self.progress.event(f"{database}: dump of about {table_bytes[database] >> 20} MiB begins")
                    path = f"{number}-{slug(database) or 'database'}"
                    databases.append(
                        self.dump_one(
                            database, sources[database], dump, method, env, partial, path, table_bytes[database]
                        )
                    )
            dumped = time.time()
            files = checksums(partial, durable=True)
            manifest = {
                "format": FORMAT,
                "id": name,
                "created": started,
                "release": self.release,
                "server": dict(facts, host=str(self.server.host or ""), port=str(self.server.port or "")),
                "tool": {"name": "pg_dump", "version": dump.version, "compression": method},
                "databases": databases,
                "globals": GLOBALS if GLOBALS in files else "",
                "files": files,
                "seconds": {"dump": round(dumped - started, 3), "checksums": round(time.time() - dumped, 3)},
            }
            return self.folder.publish(partial, manifest)

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """Errors of the disk and of the server, in words."""
        try:
            yield
        except OSError as error:
            raise self.server.error(
                f"{error.strerror or error} ({error.filename or self.folder.path})",
                "No earlier backup was touched, and nothing of this one was left.",
            ) from error
        except database_error() as error:
            remedy = "No earlier backup was touched, and nothing of this one was left."
            if "lock timeout" in str(error):
                remedy = "Something holds a lock on a table, such as a migration: wait for it. " + remedy
            if "row-level security" in str(error):
                remedy = "Back up with a role that has BYPASSRLS or owns the tables: it would miss rows. " + remedy
            raise self.server.error(said(error), remedy) from error

    def check_space(self, table_bytes: int, compressed: bool) -> None:
        needed = space_needed(table_bytes, compressed)
        free = self.folder.free()
        if free < needed and self.params["check_space"]:
            raise self.folder.error(
                f"{free >> 20} MiB are free and about {needed >> 20} MiB are needed",
                "Make room, choose another dest, or set check_space to false. No earlier backup was touched.",
            )

    @contextlib.contextmanager
    def snapshot(self, database: str) -> Iterator[Any]:
        """A connection that keeps looking at one moment, that moment's name, and what was true at it."""
        with self.server.session(database, autocommit=False) as connection:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            known = catalog.properties(connection, database)
            standby = scalar(connection, "SELECT pg_is_in_recovery()")
            lsn = "pg_last_wal_replay_lsn()" if standby else "pg_current_wal_lsn()"
            facts = {
                "name": database,
                "snapshot_at": scalar(connection, "SELECT extract(epoch FROM transaction_timestamp())::float8"),
                "lsn": scalar(connection, f"SELECT {lsn}::text"),
                "properties": known,
                "migrations": catalog.migrations(connection),
            }
            yield connection, scalar(connection, "SELECT pg_export_snapshot()"), facts

    def dump_globals(self, dump: tools.Tool, env: Dict[str, str], partial: str) -> None:
        if self.params["globals"] == "none":
            return
        dumpall = os.path.join(os.path.dirname(dump.path), "pg_dumpall")
        argv = [dumpall, "--globals-only", "-d", connection_string(self.server.maintenance)]
        argv += ["-f", os.path.join(partial, GLOBALS), "--no-password", f"--lock-wait-timeout={self.lock_wait}"]
        if self.params["globals"] == "without_passwords":
            argv.append("--no-role-passwords")
        tools.work(argv, env, failed=self.failed("globals"))

    @property
    def lock_wait(self) -> int:
        return int(self.server.lock_wait * 1000)

    def failed(self, what: str) -> Callable[[str], OpsError]:
        def make(cause: str) -> OpsError:
            remedy = "No earlier backup was touched, and nothing of this one was left."
            if "row-level security" in cause:
                remedy = "Back up with a role that has BYPASSRLS or owns the tables: it would miss rows. " + remedy
            elif "lock timeout" in cause or "canceling statement due to lock" in cause:
                remedy = "Something holds a lock on a table, such as a migration: wait for it. " + remedy
            return self.server.error(cause, remedy, object=f"database {what!r}" if what != "globals" else what)

        return make

    def dump_one(
        self,
        database: str,
        source: Any,
        dump: tools.Tool,
        method: str,
        env: Dict[str, str],
        partial: str,
        path: str,
        expected: int,
    ) -> Dict[str, Any]:
        connection, snapshot, facts = source
        target = os.path.join(partial, path)
        custom = self.params["format"] == "custom"
        argv = [dump.path, "-Fc" if custom else "-Fd", "-f", target, f"--compress={method}", f"--snapshot={snapshot}"]
        argv += [f"--lock-wait-timeout={self.lock_wait}", "--no-password", "--no-sync"]
        argv += [] if custom else [f"--jobs={self.params['jobs']}"]
        started = time.time()

        def tick() -> None:
            done = directory_bytes(target)
            left = (time.time() - started) * max(expected - done, 0) / done if done else 0
            self.progress.heartbeat(
                f"{database}: {done >> 20} of about {expected >> 20} MiB, about {left:.0f} s left",
                done=done,
                expected=expected,
            )

        tools.work([*argv, "-d", connection_string(database)], env, tick, self.failed(database))
        # Counted at the snapshot's moment, so that they are the dump's own counts.
        held = catalog.contents(connection, exact=self.params["counts"] == "exact")
        execute(connection, "COMMIT")
        return dict(
            facts,
            path=path,
            dump_format="custom" if custom else "directory",
            contents=held,
            seconds=round(time.time() - started, 3),
        )

    # Verifying

    def verify(self) -> Dict[str, Any]:
        candidates = [one for one in self.folder.list() if self.wanted(one)]
        if not candidates:
            raise self.folder.error("there is no such backup", "List them with state=listed.")
        backup = candidates[0]
        level = self.params["verify"]
        with self.held():
            manifest = self.folder.check(backup.path)
            changed = not level_reached(backup, level)
            if not self.check and (changed or level == "restore"):
                if level == "restore":
                    restore = tools.find("pg_restore", self.server.facts()["major"], self.params["bin_dir"], self.verb)
                    with self.server.locked(backup.databases) as connection:
                        self.prove(backup.path, level, restore, connection, manifest)
                else:
                    self.read(backup.path, manifest)
                if changed:
                    self.folder.mark(backup.path, manifest, level)
        reached = level if changed else backup.verified
        return {
            "changed": changed,
            "backup": dict(described(backup), verified=reached, seconds=manifest["seconds"]),
            "diff": self.diff(f"verified: {backup.verified or 'no'}", f"verified: {reached}"),
        }

    def read(self, folder: str, manifest: Dict[str, Any]) -> None:
        """Has pg_restore read the table of contents of every dump."""
        restore = tools.find("pg_restore", manifest["server"]["major"], self.params["bin_dir"], self.verb)
        for one in manifest["databases"]:
            tools.work(
                [restore.path, "-l", os.path.join(folder, one["path"])],
                dict(os.environ),
                failed=self.failed(one["name"]),
            )

    def prove(
        self,
        folder: str,
        level: str,
        restore: tools.Tool,
        connection: Any,
        manifest: Optional[Dict[str, Any]] = None,
    ) -> Dict[str, Any]:
        """Verifies at a level. The checksums of a dump just taken were made by reading all of it."""
        from ..restore.side import scratch

        manifest = manifest or self.folder.manifest(folder)
        self.read(folder, manifest)
        if level == LEVELS[1]:
            for one in manifest["databases"]:
                self.progress.event(f"{one['name']}: trial restore begins")
                with self.unharmed(), scratch(
                    self.server, connection, one, folder, restore, self.params["jobs"], self.progress
                ):
                    pass
        return manifest

    # Pruning

    def prune(self, backups: List[Backup]) -> Dict[str, Any]:
        """Deletes what retention lets go, or the one named by id."""
        if self.params.get("id"):
            doomed = [one for one in backups if one.id == self.params["id"]]
            for one in doomed:
                rivals = [other for other in backups if other.set == one.set and other.verified and other.id != one.id]
                if one.verified and not rivals and not self.params["force"]:
                    raise self.folder.error(
                        f"{one.id} is the last verified backup of {', '.join(one.databases)}",
                        "Take another one first, or set force.",
                    )
                if one.release and one.release in self.params["open_releases"] and not self.params["force"]:
                    raise self.folder.error(
                        f"{one.id} belongs to the open release {one.release}", "Set force if you must."
                    )
            reasons = {one.id: "named by id" for one in doomed}
            kept: Dict[str, str] = {}
        else:
            mine = [one for one in backups if self.params["state"] == "present" or self.wanted(one)]
            if self.params["state"] == "absent" and not any((self.params["keep"] or {}).values()):
                raise InputError("keep", "nothing says what is to stay")
            verdicts = fates(mine, self.params["keep"] or {}, time.time(), self.params["open_releases"])
            reasons = {fate.id: fate.reason for fate in verdicts if not fate.keep}
            kept = {fate.id: fate.reason for fate in verdicts if fate.keep}
            doomed = [one for one in backups if one.id in reasons]
        if not self.check:
            for one in doomed:
                self.folder.delete(one.path)
                self.progress.event(f"backup {one.id} was deleted: {reasons[one.id]}")
        before = "".join(f"{one.id}\n" for one in backups)
        after = "".join(f"{one.id}\n" for one in backups if one.id not in reasons)
        return {
            "changed": bool(doomed),
            "pruned": [{"id": one.id, "reason": reasons[one.id]} for one in doomed],
            "kept": [{"id": name, "reason": reason} for name, reason in kept.items()],
            "diff": {"before": before, "after": after},
        }


def directory_bytes(path: str) -> int:
    """Bytes written so far, to a file or into a folder."""
    try:
        if os.path.isfile(path):
            return os.path.getsize(path)
        return sum(entry.stat().st_size for entry in os.scandir(path))
    except OSError:
        return 0
