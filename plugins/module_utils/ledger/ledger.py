# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An environment's ledger: the lock, and the records of what was released."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..common.errors import InputError, OpsError
from . import judge, lease
from .holder import current_run, ended
from .stores import Store, Stored

LOCK = "lock"
TIMES = ("since", "heartbeat", "expires", "freed")
# How often a write is tried again because somebody else was faster.
ATTEMPTS = 50


def text_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def seconds_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Ledger:
    """The ledger in a store.

    :param clock: seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock

    def read_lock(self, force: str = "") -> Tuple[Optional[Stored], Optional[Dict[str, Any]]]:
        stored = self.store.read(LOCK)
        if stored is None:
            return None, None
        try:
            lock = judge.decode(stored.data)
            return stored, {key: seconds_of(value) if key in TIMES else value for key, value in lock.items()}
        except (judge.Unreadable, ValueError, TypeError) as error:
            if force:
                # Nobody knows who holds it: whoever has a reason may.
                now = self.clock()
                return stored, {
                    "owner": "somebody unknown",
                    "purpose": "",
                    "since": now,
                    "heartbeat": now,
                    "expires": now + 1,
                    "generation": int(now),
                }
            raise OpsError(
                "read",
                f"the lock of {self.store.where}",
                str(error),
                "Make sure that no deployment runs, then take the lock with force and a reason.",
            ) from error

    def swap(
        self, decide: Callable[[Optional[Dict[str, Any]]], lease.Decision], force: str, check: bool
    ) -> lease.Decision:
        """Decides until nobody else was faster."""
        for attempt in range(ATTEMPTS):
            stored, lock = self.read_lock(force)
            decision = decide(lock)
            if decision.document is None or check:
                return decision
            body = {key: text_of(value) if key in TIMES else value for key, value in decision.document.items()}
            if self.store.write(LOCK, judge.encode(body), stored.version if stored else None):
                return decision
            time.sleep(min(0.01 * (attempt + 1), 0.2))
        raise OpsError("lock", self.store.where, "others kept writing the lock at the same time", "Run again.")

    def lock(self, owner: str, purpose: str, ttl: float, force: str = "", check: bool = False) -> Dict[str, Any]:
        """Takes the lock, or renews it for the same owner.

        :raises OpsError: somebody else holds it; the message says who, since when, and for what.
        """
        holder = current_run()

        def decide(lock: Optional[Dict[str, Any]]) -> lease.Decision:
            dead = bool(lock and lock.get("owner") and ended(lock.get("holder", {})))
            return lease.take(lock, owner, purpose, ttl, self.clock(), holder, dead, force)

        decision = self.swap(decide, force, check)
        if not decision.granted:
            raise self.refusal("lock", decision.holder)
        return {
            # A heartbeat is no change of who holds it.
            "changed": decision.why != lease.MINE,
            "lock": self.shown(decision.document),
            "taken_from": {**self.shown(decision.holder), "why": decision.why} if decision.holder else {},
        }

    def unlock(self, owner: str, force: str = "", check: bool = False) -> Dict[str, Any]:
        """Frees the lock, if ``owner`` holds it."""
        decision = self.swap(lambda lock: lease.give_up(lock, owner, self.clock(), force), force, check)
        if not decision.granted:
            raise self.refusal("unlock", decision.holder)
        return {"changed": decision.document is not None, "lock": {}}

    def refusal(self, verb: str, holder: Dict[str, Any]) -> OpsError:
        where = holder.get("holder", {}).get("host", "")
        purpose = f" for {holder['purpose']!r}" if holder.get("purpose") else ""
        return OpsError(
            verb,
            self.store.where,
            f"{holder['owner']}{' on ' + where if where else ''} holds it since {text_of(holder['since'])}{purpose}, "
            f"was last heard of at {text_of(holder['heartbeat'])}, "
            f"and keeps it until {text_of(holder['expires'])} unless it is heard of again",
            "Wait for it. If that run is certainly dead, take the lock with force and a reason "
            '(playbooks: -e force_lock="<reason>").',
            lock=self.shown(holder),
        )

    def shown(self, lock: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """A lock as results show it; empty when it is free."""
        if not lock or not lock.get("owner"):
            return {}
        return {key: text_of(value) if key in TIMES else value for key, value in lock.items()}

    def record(self, id: str, body: Dict[str, Any], owner: Optional[str] = None, check: bool = False) -> Dict[str, Any]:
        """Merges ``body`` into the record ``id``.

        :param owner: if given, who must hold the lock; it is renewed for as long as it was taken for.
        """
        if not judge.ID.match(id):
            raise InputError("id", f"{id!r} is not like 20261126T113000Z-v1.1.0")
        if body.get("outcome", "running") not in judge.OUTCOMES:
            raise InputError("outcome", f"it is one of {', '.join(judge.OUTCOMES)}")
        if owner:
            self.demand(owner)
            if not check:
                self.beat(owner)
        name = f"records/{id}"
        for attempt in range(ATTEMPTS):
            stored = self.store.read(name)
            before = self.decoded(name, stored) if stored else {}
            after = judge.merge(before, {**body, "id": id})
            after.setdefault("outcome", "running")
            if not after.get("release"):
                raise InputError("release", f"the record {id} names no release yet")
            if (
                before == after
                or check
                or self.store.write(name, judge.encode(after), stored.version if stored else None)
            ):
                return {
                    "changed": before != after,
                    "record": after,
                    "diff": {"before": pretty(before), "after": pretty(after)},
                }
            time.sleep(min(0.01 * (attempt + 1), 0.2))
        raise OpsError("record", f"{id} in {self.store.where}", "others kept writing it at the same time", "Run again.")

    def notice(self, id: str, body: Dict[str, Any], check: bool = False) -> Dict[str, Any]:
        """Keeps that people were told of something. A notice is written once, and dated here.

        :param body: with ``starts`` (ISO 8601) and ``minutes`` it is of a window; ``until`` is added.
        """
        if not judge.ID.match(id):
            raise InputError("id", f"{id!r} is not like 20261126T113000Z-v1.1.0")
        name = f"notices/{id}"
        stored = self.store.read(name)
        if stored:
            return {"changed": False, "notice": self.decoded(name, stored)}
        kept = {**body, "id": id, "at": text_of(self.clock())}
        if body.get("starts") and body.get("minutes"):
            try:
                starts = seconds_of(str(body["starts"]).replace("Z", "+00:00"))
                kept["until"] = text_of(starts + 60 * float(body["minutes"]))
            except ValueError as error:
                raise InputError("record", f"starts and minutes are no window: {error}") from error
        if not check and not self.store.write(name, judge.encode(kept), None):
            raise OpsError("record", f"the notice {id} in {self.store.where}", "another has this name", "Run again.")
        return {"changed": True, "notice": kept}

    def notices(self, limit: int = 100) -> List[Dict[str, Any]]:
        """The newest notices, the newest first.

        :raises OpsError: one of them cannot be read.
        """
        found = []
        for name in sorted(self.store.names("notices/"), reverse=True)[:limit]:
            stored = self.store.read(name)
            if stored:
                found.append(self.decoded(name, stored))
        return found

    def demand(self, owner: str) -> None:
        lock = self.read_lock()[1]
        if lease.state(lock, owner, self.clock()) != lease.MINE:
            holder = (lock or {}).get("owner") or "nobody"
            raise OpsError(
                "record",
                f"as {owner} in {self.store.where}",
                f"the lock is held by {holder}",
                "Another run took it over. Stop this one, and look at status.",
            )

    def beat(self, owner: str, ttl: float = 0) -> lease.Decision:
        """The heartbeat of the lock, if ``owner`` still holds it.

        :param ttl: seconds after which it expires without the next one; 0 leaves it at what it was taken for.
        """
        return self.swap(lambda lock: lease.beat(lock, owner, self.clock(), ttl), "", False)

    def decoded(self, name: str, stored: Stored) -> Dict[str, Any]:
        try:
            return judge.decode(stored.data)
        except judge.Unreadable as error:
            raise OpsError(
                "read",
                f"{name} in {self.store.where}",
                str(error),
                "Restore it from a backup, move it away, or use the version of the collection that wrote it.",
            ) from error

    def query(self, limit: int, target: str = "", release: str = "") -> Dict[str, Any]:
        """The newest records, and what they say.

        :param target: only records of this one count, and those that name none.
        :param release: the one to go back to; without it the last good one before what was tried last.
        :raises OpsError: a record that matters cannot be read.
        """
        names = sorted(self.store.names("records/"), reverse=True)
        records: List[Dict[str, Any]] = []
        unreadable: Dict[str, str] = {}
        standing = judge.standing([])
        for count, name in enumerate(names, 1):
            stored = self.store.read(name)
            if stored is None:
                continue
            try:
                record = judge.decode(stored.data)
                if not target or record.get("target") in (None, "", target):
                    records.append(record)
            except judge.Unreadable as error:
                unreadable[name.partition("/")[2]] = str(error)
            standing = judge.standing(records, release)
            # What was only found in place may be a good release that an older record tells of.
            if count >= limit and (standing.roll_back_to or {}).get("outcome") and judge.told(records):
                break
        doubtful = judge.doubtful(unreadable, records)
        if doubtful:
            raise OpsError(
                "read",
                f"records/{doubtful[-1]} in {self.store.where}",
                unreadable[doubtful[-1]],
                "No newer good record stands above it, so what is in place is unknown. "
                "Restore it from a backup, move it away, or use the version of the collection that wrote it.",
                unreadable=unreadable,
            )
        stored_lock = self.read_lock()[1]
        held = lease.state(stored_lock, "", self.clock()) in (lease.HELD, lease.DEAD)
        return {
            "changed": False,
            "in_place": standing.in_place,
            "newest": standing.newest,
            "last_good": standing.last_good or {},
            "roll_back_to": standing.roll_back_to or {},
            "records": records[:limit],
            "unreadable": unreadable,
            "lock": self.shown(stored_lock) if held else {},
        }


def pretty(body: Dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n" if body else ""
