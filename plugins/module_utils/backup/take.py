# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Takes, verifies, lists and prunes backups."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import shutil
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from ..common.errors import InputError, OpsError
from ..common.progress import Progress
from ..postgres import catalog, pipe, tools
from ..postgres.pipe import Stage
from ..postgres.server import Server, connection_string, database_error, execute, rows, said, scalar
from . import manifest as manifests
from .dump import check_keys, dumps, filtering, unreadable
from .manifest import FORMAT, LEVELS, NAME, Backup
from .plan import ENDINGS, filters_of, level_reached, remaining, reusable, seconds, slug, space_needed, streamed
from .retention import fates
from .store import Draft, open_store

VERBS = {"present": "back up", "verified": "verify", "listed": "list", "absent": "prune"}
GLOBALS = "globals.sql"


def described(backup: Backup) -> Dict[str, Any]:
    """A backup as modules return it."""
    return {
        "id": backup.id,
        "manifest": f"{backup.path}/{NAME}",
        "created": datetime.datetime.fromtimestamp(backup.created, datetime.timezone.utc).isoformat(timespec="seconds"),
        "release": backup.release,
        "databases": list(backup.databases),
        "bytes": backup.bytes,
        "verified": backup.verified or "",
        "broken": backup.broken,
    }


class Source(NamedTuple):
    """A database at one moment: a connection that keeps looking at it, its name for others, and what was true then."""

    connection: Any
    snapshot: str
    facts: Dict[str, Any]
    bytes: int
    tables: int


class Backups:
    """The work of pg_backup.

    :param params: the module's options; to list backups, ``state``, ``dest`` and ``max_age`` are enough.
    :param check: whether only to say what would be done.
    """

    def __init__(self, params: Dict[str, Any], check: bool) -> None:
        self.params = params
        self.check = check
        self.verb = VERBS[params["state"]]
        self.progress = Progress(params.get("progress_file"))
        self.release = params.get("release") or ""
        self.recipients = params.get("age_recipients") or []
        self.identity = params.get("age_identity")
        self.server: Any = None
        try:
            self.max_age = seconds(params["max_age"])
        except ValueError as error:
            raise InputError("max_age", str(error)) from error
        try:
            in_bucket = params["dest"].startswith("s3://")
            self.stream = streamed(params.get("format") or "auto", in_bucket, bool(self.recipients))
        except ValueError as error:
            raise InputError("format", str(error)) from error
        self.store = open_store(params["dest"], self.verb, params, readonly=check)

    def run(self) -> Dict[str, Any]:
        state = self.params["state"]
        if state == "listed":
            backups = [described(one) for one in self.store.list() if self.wanted(one)]
            return {"changed": False, "backups": backups}
        if state == "absent":
            with self.held():
                return self.prune(self.store.list())
        check_keys(self.recipients, self.identity, self.verb)
        self.server = Server(self.params, self.verb, f"databases {', '.join(self.params['databases'] or ['(all)'])}")
        if state == "verified":
            return self.verify()
        if self.recipients and self.params["verify"] == "restore" and not self.identity:
            raise InputError("age_identity", "without an identity, a trial restore could not read the backup")
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
        with self.store.locked(self.params["lock_timeout"]):
            self.store.clear()
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
        # The databases first: what another run is about to finish may be what this one needs.
        with self.server.session() if self.check else self.server.locked(names) as connection, self.held():
            migrations = {}
            for name in names:
                with self.server.session(name) as inside:
                    migrations[name] = catalog.migrations(inside)
            found = reusable(
                self.store.list(),
                names,
                self.release,
                facts["system_identifier"],
                migrations,
                self.max_age,
                time.time(),
                self.params["own_migrations"],
            )
            reused = self.reuse(found, connection) if found else None
            if reused:
                return reused
            dump = tools.find("pg_dump", facts["major"], self.params["bin_dir"], self.verb)
            tools.find("pg_restore", facts["major"], self.params["bin_dir"], self.verb)
            if self.check:
                return {"changed": True, "backup": None, "reused": False, "diff": self.diff("", f"a backup of {names}")}
            self.unmigrated(names)
            manifest = self.take(names, facts, dump)
            if self.stream:
                # A folder's files were read to make their checksums; a stream never was.
                self.store.check(manifest["id"])
            self.prove(manifest, connection)
            backups = self.store.list()
            backup = next(one for one in backups if one.id == manifest["id"])
            result: Dict[str, Any] = {
                "changed": True,
                "reused": False,
                "backup": dict(described(backup), seconds=manifest["seconds"], migrations=backup.migrations),
                "diff": self.diff("", f"backup {backup.id} of {', '.join(names)}"),
            }
            if any((self.params["keep"] or {}).values()):
                result["pruned"] = self.prune(backups)["pruned"]
            return result

    def unmigrated(self, names: List[str]) -> None:
        """Sees to it that nobody migrates, as a tool does whose module was killed: it kept no lock.

        :raises OpsError: somebody does.
        """
        deadline = time.monotonic() + catalog.GONE
        for name in names:
            with self.server.session(name) as inside:
                while True:
                    at_work = catalog.migrating(inside)
                    if not at_work:
                        break
                    if time.monotonic() >= deadline:
                        raise self.server.error(
                            f"a migration of database {name!r} is under way: {at_work}",
                            "Wait until it is done. No earlier backup was touched.",
                        )
                    time.sleep(0.2)

    def reuse(self, found: Backup, connection: Any) -> Optional[Dict[str, Any]]:
        """The result when an earlier backup serves, checked once more; None when it turns out damaged."""
        try:
            manifest = self.store.check(found.id, thorough=False)
        except OpsError as error:
            self.progress.event(f"backup {found.id} cannot be reused: {error.cause}")
            return None
        changed = not level_reached(found, self.params["verify"])
        if changed:
            if not self.check:
                self.prove(manifest, connection)
            found = found._replace(verified=self.params["verify"])
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

    def take(self, names: List[str], facts: Dict[str, Any], dump: tools.Tool) -> Dict[str, Any]:
        """Takes a backup and gives its manifest."""
        method = tools.compression(dump, self.params["compression"])
        filters = filters_of(
            self.stream, method, self.params["compression"], bool(shutil.which("zstd")), self.recipients
        )
        started = time.time()
        stamp = datetime.datetime.fromtimestamp(started, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        name = "-".join(part for part in (stamp, slug(self.release), secrets.token_hex(2)) if part)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.unharmed())
            # All snapshots at once, so that the databases of a set fit together; the dumps follow from them.
            sources = {one: stack.enter_context(self.snapshot(one)) for one in names}
            if self.params["check_space"]:
                table_bytes = sum(source.bytes for source in sources.values())
                self.store.ready(space_needed(table_bytes, method != "0" or "zstd" in filters))
            draft = stack.enter_context(self.store.draft(name))
            databases = []
            with self.server.environment() as env:
                globals_ = self.dump_globals(dump, env, draft)
                for number, (database, source) in enumerate(sources.items()):
                    self.progress.event(f"{database}: dump of about {source.bytes >> 20} MiB begins")
                    path = f"{number}-{slug(database) or 'database'}"
                    databases.append(self.dump_one(database, source, dump, method, filters, env, draft, path))
            dumped = time.time()
            files = draft.files()
            manifest = {
                "format": FORMAT,
                "id": name,
                "created": started,
                "release": self.release,
                "server": dict(facts, host=str(self.server.host or ""), port=str(self.server.port or "")),
                "tool": {"name": "pg_dump", "version": dump.version, "compression": method},
                "databases": databases,
                "globals": globals_,
                "files": files,
                "seconds": {"dump": round(dumped - started, 3), "checksums": round(time.time() - dumped, 3)},
            }
            draft.publish(manifest)
            return manifests.parse(manifests.text_of(manifest).encode())

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """Errors of the disk and of the server, in words."""
        try:
            yield
        except OSError as error:
            raise self.server.error(
                f"{error.strerror or error} ({error.filename or self.store.address})",
                "No earlier backup was touched, and nothing of this one was left.",
            ) from error
        except database_error() as error:
            remedy = "No earlier backup was touched, and nothing of this one was left."
            if "lock timeout" in str(error):
                remedy = "Something holds a lock on a table, such as a migration: wait for it. " + remedy
            if "row-level security" in str(error):
                remedy = "Back up with a role that has BYPASSRLS or owns the tables: it would miss rows. " + remedy
            raise self.server.error(said(error), remedy) from error

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
            exported = scalar(connection, "SELECT pg_export_snapshot()")
            yield Source(connection, exported, facts, *catalog.extent(connection))

    def dump_globals(self, dump: tools.Tool, env: Dict[str, str], draft: Draft) -> str:
        """Writes roles and tablespaces, and gives the name of the file; empty when they are not wanted."""
        if self.params["globals"] == "none":
            return ""
        dumpall = os.path.join(os.path.dirname(dump.path), "pg_dumpall")
        argv = [dumpall, "--globals-only", "-d", connection_string(self.server.maintenance)]
        argv += ["--no-password", f"--lock-wait-timeout={self.lock_wait}"]
        if self.params["globals"] == "without_passwords":
            argv.append("--no-role-passwords")
        filters = ["age"] if self.recipients else []
        name = GLOBALS + "".join(ENDINGS[one] for one in filters)
        stages = [Stage(argv, env), *filtering(filters, self.recipients)]
        with draft.sink(name, 0) as sink:
            pipe.out_of(stages, sink.write, lambda said: None, self.failed("globals"))
        return name

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
        source: Source,
        dump: tools.Tool,
        method: str,
        filters: List[str],
        env: Dict[str, str],
        draft: Draft,
        path: str,
    ) -> Dict[str, Any]:
        """Dumps one database and gives its part of the manifest."""
        argv = [dump.path, f"--compress={method}", f"--snapshot={source.snapshot}", "--verbose", "--no-password"]
        argv += [f"--lock-wait-timeout={self.lock_wait}", "-d", connection_string(database)]
        started = time.time()

        def report(done: int, begun: int) -> None:
            left = remaining(time.time() - started, done / source.bytes if source.bytes else 0, begun, source.tables)
            self.progress.heartbeat(
                f"{database}: {done >> 20} of about {source.bytes >> 20} MiB, {begun} of {source.tables} tables{left}",
                done=done,
                expected=source.bytes,
                tables=source.tables,
                begun=begun,
            )

        failed = self.failed(database)
        if self.stream:
            path += ".dump" + "".join(ENDINGS[one] for one in filters)
            stages = [Stage([*argv, "-Fc"], env), *filtering(filters, self.recipients)]
            with draft.sink(path, source.bytes) as sink:
                pipe.out_of(stages, sink.write, lambda said: report(sink.bytes, begun(said)), failed)
        else:
            target = os.path.join(draft.folder, path)  # type: ignore[arg-type]
            argv += ["-Fd", "-f", target, f"--jobs={self.params['jobs']}", "--no-sync"]
            tools.work(argv, env, lambda said: report(directory_bytes(target), begun(said)), failed)
        # Counted at the snapshot's moment, so that they are the dump's own counts.
        held = catalog.contents(source.connection, exact=self.params["counts"] == "exact")
        execute(source.connection, "COMMIT")
        return dict(
            source.facts,
            path=path,
            dump_format="custom" if self.stream else "directory",
            filters=filters,
            contents=held,
            seconds=round(time.time() - started, 3),
        )

    # Verifying

    def verify(self) -> Dict[str, Any]:
        candidates = [one for one in self.store.list() if self.wanted(one)]
        if not candidates:
            raise self.store.error("there is no such backup", "List them with state=listed.")
        backup = candidates[0]
        level = self.params["verify"]
        trial = level == LEVELS[1] and not self.check
        with self.server.locked(backup.databases) if trial else contextlib.nullcontext() as connection, self.held():
            manifest = self.store.check(backup.id)
            changed = not level_reached(backup, level)
            if trial or (changed and not self.check):
                self.prove(manifest, connection)
        reached = level if changed else backup.verified
        return {
            "changed": changed,
            "backup": dict(described(backup), verified=reached, seconds=manifest["seconds"]),
            "diff": self.diff(f"verified: {backup.verified or 'no'}", f"verified: {reached}"),
        }

    def prove(self, manifest: Dict[str, Any], connection: Any) -> None:
        """Verifies a backup the checksums of which hold, at the level that is asked for, and notes that.

        :param connection: the one that holds the databases' locks.
        """
        from ..restore.side import scratch

        level = self.params["verify"]
        found = dumps(self.store, manifest, self.identity)
        restore = tools.find("pg_restore", manifest["server"]["major"], self.params["bin_dir"], self.verb)
        for dump in found:
            if dump.readable:
                failed = self.failed(dump.about["name"])
                dump.feed([restore.path, "-l"], dict(os.environ), lambda said: None, failed, enough=True)
        if level == LEVELS[1]:
            error = unreadable(found)
            if error:
                raise error
            # The server may be newer than the backup's.
            restore = tools.find("pg_restore", self.server.facts()["major"], self.params["bin_dir"], self.verb)
            for dump in found:
                self.progress.event(f"{dump.about['name']}: trial restore begins")
                with self.unharmed(), scratch(
                    self.server, connection, dump, restore, self.params["jobs"], self.progress
                ):
                    pass
        try:
            self.store.mark(manifest["id"], manifest, level)
        except OSError as error:
            raise self.store.error(
                f"backup {manifest['id']} is whole, but that it was verified cannot be noted: {error.strerror}",
                "Make room, then verify it again with state=verified. No earlier backup was touched.",
            ) from error

    # Pruning

    def prune(self, backups: List[Backup]) -> Dict[str, Any]:
        """Deletes what retention lets go, or the one named by id."""
        if self.params.get("id"):
            doomed = [one for one in backups if one.id == self.params["id"]]
            for one in doomed:
                rivals = [other for other in backups if other.set == one.set and other.verified and other.id != one.id]
                if one.verified and not rivals and not self.params["force"]:
                    raise self.store.error(
                        f"{one.id} is the last verified backup of {', '.join(one.databases)}",
                        "Take another one first, or set force.",
                    )
                if one.release and one.release in self.params["open_releases"] and not self.params["force"]:
                    raise self.store.error(
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
                self.store.delete(one.id)
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
    """Bytes written so far into a folder."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(path))
    except OSError:
        return 0


def begun(said: Any) -> int:
    """Tables whose dump has begun, by what pg_dump has said so far."""
    # Its position is also pg_dump's own, so it must not move.
    return os.pread(said.fileno(), os.fstat(said.fileno()).st_size, 0).count(b"dumping contents of table")
