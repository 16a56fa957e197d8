# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Who may hold a lock: decided from what is stored and what is asked. Pure; times are seconds since the epoch."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional

FREE, MINE, HELD, EXPIRED, DEAD = "free", "mine", "held", "expired", "dead"


class Decision(NamedTuple):
    """What to do about a lock. ``document`` is what to store; None leaves what is stored."""

    granted: bool
    document: Optional[Dict[str, Any]]
    why: str  # FREE, MINE, HELD, EXPIRED, DEAD, or "forced"
    holder: Dict[str, Any]  # who held it before


def state(lock: Optional[Dict[str, Any]], owner: str, now: float, dead: bool = False) -> str:
    """How a stored lock looks to ``owner``.

    :param dead: the holder's process is known to have ended.
    """
    if not lock or not lock.get("owner"):
        return FREE
    if lock["owner"] == owner:
        return MINE
    if now >= lock["expires"]:
        return EXPIRED
    return DEAD if dead else HELD


def take(
    lock: Optional[Dict[str, Any]],
    owner: str,
    purpose: str,
    ttl: float,
    now: float,
    holder: Dict[str, Any],
    dead: bool = False,
    force: str = "",
) -> Decision:
    """Whether ``owner`` gets the lock; asking again renews it (its heartbeat).

    :param ttl: seconds after which it expires without another heartbeat.
    :param holder: what else is to be known of the new holder.
    :param force: the reason to take it from a living holder; empty does not.
    """
    found = state(lock, owner, now, dead)
    before = dict(lock or {}) if found in (HELD, EXPIRED, DEAD) else {}
    if found == HELD and not force:
        return Decision(False, None, HELD, before)
    generation = int((lock or {}).get("generation", 0))
    if lock and found == MINE:
        # A heartbeat of a clock that runs behind must not shorten the lease.
        expires = max(now + ttl, lock["expires"]) if now < lock["heartbeat"] else now + ttl
        renewed = {**lock, "purpose": purpose or lock["purpose"], "heartbeat": max(now, lock["heartbeat"])}
        return Decision(True, {**renewed, "expires": expires}, MINE, {})
    document = {
        "owner": owner,
        "purpose": purpose,
        "since": now,
        "heartbeat": now,
        "expires": now + ttl,
        # Grows with each new holder: who writes under an older one has lost the lock.
        "generation": generation + 1,
        "holder": holder,
    }
    if before:
        document["taken_from"] = {"owner": before["owner"], "since": before["since"], "why": force or found}
    return Decision(True, document, "forced" if found == HELD else found, before)


def beat(lock: Optional[Dict[str, Any]], owner: str, now: float, ttl: float = 0) -> Decision:
    """A heartbeat: renews what ``owner`` holds, also when it has expired, and never takes what it does not.

    :param ttl: seconds from now on, also when that is less than was left; 0 renews for as long as before.
    """
    found = state(lock, owner, now)
    if not lock or found != MINE:
        return Decision(False, None, found, dict(lock or {}))
    return take(lock, owner, "", ttl or lock["expires"] - lock["heartbeat"], now, {})


def give_up(lock: Optional[Dict[str, Any]], owner: str, now: float, force: str = "") -> Decision:
    """Whether ``owner`` may free the lock. A free lock, or one that expired, is left to be."""
    found = state(lock, owner, now)
    if found in (FREE, EXPIRED):
        return Decision(True, None, found, {})
    if found == HELD and not force:
        return Decision(False, None, HELD, dict(lock or {}))
    free: Dict[str, Any] = {"owner": "", "generation": (lock or {})["generation"], "freed": now}
    if found == HELD:
        free["forced"] = force
    return Decision(True, free, "forced" if found == HELD else MINE, dict(lock or {}))
