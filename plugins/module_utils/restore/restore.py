# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Restores a backup beside the live databases, swaps it in, undoes that, and drops what was kept for it."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List

from ..backup.dump import check_keys, dumps, unreadable
from ..backup.plan import place_of, seconds
from ..backup.store import Store, open_store
from ..common.errors import InputError
from ..common.progress import Progress
from ..postgres import catalog, tools
from ..postgres.server import Server, database_error, said, scalar, shortened
from .side import build, clear, drop, ours
from .swap import Move, lift, swap
from .verdict import loss, refusals

VERBS = {"present": "restore", "undone": "undo the restore of", "absent": "prune"}


class Abandoned(Exception):
    """Nobody waits for the reading any more."""


@contextlib.contextmanager
def proving(store: Store, manifest: Dict[str, Any], progress: Progress) -> Iterator[Callable[[], Any]]:
    """Reads every byte of a backup while other things are made ready; gives what waits for it.

    That raises an OpsError when anything is not as it was written.
    """
    id, total = manifest["id"], sum(file["bytes"] for file in manifest["files"].values())
    over = threading.Event()
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        if over.is_set():
            raise Abandoned
        done += count
        progress.heartbeat(f"backup {id}: {done >> 20} of {total >> 20} MiB read", done=done, expected=total)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.check, id, tick)
        try:
            yield reading.result
        finally:
            over.set()


def unused(connection: Any, name: str, what: str) -> str:
    """A name for what gives way: with the time, and a number where something gave way within the same second."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    names = (
        shortened(name, f"_{what}_{stamp}" + (f"_{number}" if number > 1 else "")) for number in itertools.count(1)
    )
    return next(one for one in names if not scalar(connection, "SELECT true FROM pg_database WHERE datname = %s", one))


class Restores:
    """The work of pg_restore. See ``Backups`` for the parameters."""

    def __init__(self, params: Dict[str, Any], check: bool) -> None:
        self.params = params
        self.check = check
        self.verb = VERBS[params["state"]]
        self.server = Server(params, self.verb, f"databases {', '.join(params['databases'] or ['(all)'])}")
        self.progress = Progress(params.get("progress_file"))
        if params["target"] and len(params["databases"] or []) != 1:
            raise InputError("target", "it names one database, so databases must, too")

    def run(self) -> Dict[str, Any]:
        try:
            return {"present": self.present, "undone": self.undone, "absent": self.absent}[self.params["state"]]()
        except database_error() as error:
            raise self.server.error(said(error)) from error

    @contextlib.contextmanager
    def held(self, names: List[str]) -> Iterator[Any]:
        """The lock of these databases, and a connection; fences that a killed run left are lifted."""
        if self.check:
            with self.server.session() as connection:
                yield connection
            return
        # The lock's own connection does the work: what it has begun ends before the lock is free.
        with self.server.locked(names) as connection:
            for name in names:
                if lift(connection, name):
                    self.progress.event(f"{name}: opened again, a killed run had closed it")
                clear(connection, name)
            yield connection

    def present(self) -> Dict[str, Any]:
        identity = self.params["age_identity"]
        check_keys([], identity, self.verb)
        address, id = place_of(self.params["manifest"])
        store = open_store(address, self.verb, self.params, readonly=self.check)
        manifest = store.manifest(id)
        wanted = self.params["databases"] or [one["name"] for one in manifest["databases"]]
        self.server.object = f"databases {', '.join(wanted)}"
        facts = self.server.facts()
        refused = refusals(manifest, facts, wanted, self.params["allow"])
        if refused:
            raise self.server.error(
                f"backup {manifest['id']} does not belong here: {'; '.join(refused)}", "Nothing was touched."
            )
        sources = [one for one in dumps(store, manifest, identity, self.params["spool"]) if one.about["name"] in wanted]
        error = unreadable(sources)
        if error:
            raise error
        targets = {one.about["name"]: self.params["target"] or one.about["name"] for one in sources}
        restore = tools.find("pg_restore", facts["major"], self.params["bin_dir"], self.verb)
        with proving(store, manifest, self.progress) as proved, self.held(list(targets.values())) as connection:
            pending = []
            for source in sources:
                if self.params["force"] or not self.standing(connection, targets[source.about["name"]], manifest["id"]):
                    pending.append(source)
            lost = {}
            for source in pending:
                name = targets[source.about["name"]]
                lost[name] = self.lost(connection, name, source.about)
            result = {
                "changed": bool(pending),
                "backup": manifest["id"],
                "databases": [],
                "loss": lost,
                "seconds_lost": round(time.time() - manifest["created"]),
                "window": 0.0,
                "diff": {
                    "before": "".join(f"{name}: as it is\n" for name in lost),
                    "after": "".join(f"{name}: backup {manifest['id']}\n" for name in lost),
                },
            }
            if self.check or not pending:
                proved()
                return result
            started = time.time()
            sides: Dict[str, str] = {}
            try:
                for source in pending:
                    name = targets[source.about["name"]]
                    self.progress.event(f"{name}: restore beside the live database begins")
                    sides[name] = build(
                        self.server,
                        connection,
                        source,
                        restore,
                        self.params["jobs"],
                        self.progress,
                        "side",
                        name,
                        proved,
                    )
                parts = [source.about for source in pending]
                result["window"] = self.put_in_place(connection, manifest["id"], parts, targets, sides, result)
            except BaseException:
                for side in sides.values():
                    with contextlib.suppress(Exception):
                        drop(connection, side)
                raise
            result["seconds"] = round(time.time() - started, 3)
            return result

    def put_in_place(
        self,
        connection: Any,
        backup: str,
        pending: List[Dict[str, Any]],
        targets: Dict[str, str],
        sides: Dict[str, str],
        result: Dict[str, Any],
    ) -> float:
        moves = []
        for source in pending:
            name = targets[source["name"]]
            live = catalog.properties(connection, name)
            kept = unused(connection, name, "kept") if live else None
            oid = scalar(connection, "SELECT oid::bigint FROM pg_database WHERE datname = %s", sides[name])
            about = {"kind": "kept", "backup": backup, "replaced_by": oid, "at": time.time()}
            if not live:
                like = dict(source["properties"])
                catalog.apply_properties(connection, sides[name], like, None)
                about["final"] = like["comment"]
            moves.append(Move(name, sides[name], kept, about))
            result["databases"].append({"name": name, "kept": kept or "", "rows": source["contents"]["rows"]})
        window = swap(self.server, moves, self.params["fence_timeout"], connection)
        self.progress.event(f"{', '.join(move.name for move in moves)}: swapped in {window * 1000:.0f} ms")
        return round(window, 4)

    @staticmethod
    def standing(connection: Any, name: str, backup: str) -> bool:
        """Whether the live database is what was restored from this backup."""
        oid = scalar(connection, "SELECT oid::bigint FROM pg_database WHERE datname = %s", name)
        return any(
            known["kind"] == "kept" and known["backup"] == backup and known["replaced_by"] == oid
            for known in ours(connection, name)
        )

    def lost(self, connection: Any, name: str, source: Dict[str, Any]) -> Dict[str, Any]:
        if catalog.properties(connection, name) is None:
            return {}
        with self.server.session(name) as live:
            return loss(source["contents"]["rows"], catalog.contents(live)["rows"])

    def named(self) -> List[str]:
        names = self.params["databases"]
        if not names:
            raise InputError("databases", "it names no database")
        return names

    def undone(self) -> Dict[str, Any]:
        wanted = self.named()
        with self.held(wanted) as connection:
            moves = []
            for name in wanted:
                oid = scalar(connection, "SELECT oid::bigint FROM pg_database WHERE datname = %s", name)
                kept = [one for one in ours(connection, name) if one["kind"] == "kept" and one["replaced_by"] == oid]
                if not kept:
                    continue
                last = kept[-1]
                about = {"kind": "undone", "backup": last["backup"], "at": time.time(), "copied": True}
                about["final"] = last["comment"]
                moves.append(Move(name, last["database"], unused(connection, name, "undone"), about))
            result: Dict[str, Any] = {
                "changed": bool(moves),
                "databases": [{"name": move.name, "kept": move.old, "from": move.new} for move in moves],
                "window": 0.0,
                "diff": {
                    "before": "".join(f"{move.name}: the restored one\n" for move in moves),
                    "after": "".join(f"{move.name}: {move.new}\n" for move in moves),
                },
            }
            if moves and not self.check:
                result["window"] = round(swap(self.server, moves, self.params["fence_timeout"], connection), 4)
            return result

    def absent(self) -> Dict[str, Any]:
        """Drops what was kept of the databases that restores replaced."""
        wanted = self.named()
        try:
            age = seconds(self.params["older_than"])
        except ValueError as error:
            raise InputError("older_than", str(error)) from error
        with self.held(wanted) as connection:
            doomed = [
                known["database"]
                for name in wanted
                for known in ours(connection, name)
                if known["kind"] in ("kept", "undone") and time.time() - known["at"] >= age
            ]
            if not self.check:
                for name in doomed:
                    drop(connection, name)
        return {
            "changed": bool(doomed),
            "dropped": doomed,
            "diff": {"before": "".join(f"{name}\n" for name in doomed), "after": ""},
        }
