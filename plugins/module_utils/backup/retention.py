# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which backups stay. Pure."""

from __future__ import annotations

import datetime
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from .manifest import Backup

KEPT_BY: Tuple[Tuple[str, Callable[[datetime.datetime], Any]], ...] = (
    ("daily", lambda at: (at.year, at.month, at.day)),
    ("weekly", lambda at: tuple(at.isocalendar())[:2]),
    ("monthly", lambda at: (at.year, at.month)),
    ("yearly", lambda at: at.year),
)


class Fate(NamedTuple):
    """What happens to one backup, and why."""

    id: str
    keep: bool
    reason: str


def fates(backups: Iterable[Backup], keep: Dict[str, int], now: float, open_releases: Sequence[str] = ()) -> List[Fate]:
    """What of each backup, newest first.

    Only verified backups count: one that was never proved must not push out one that was. Sets of other databases or
    servers do not count for each other. Without any rule everything stays.

    :param keep: ``last``, ``days``, ``daily``, ``weekly``, ``monthly``, ``yearly``.
    :param now: seconds since 1970.
    """
    ordered = sorted(backups, key=lambda backup: (backup.created, backup.id), reverse=True)
    rules = {name: count for name, count in keep.items() if count}
    reasons: Dict[str, str] = {}
    for group in {backup.set for backup in ordered if not backup.broken}:
        reasons.update(
            _kept([one for one in ordered if not one.broken and one.set == group], rules, now, open_releases)
        )
    result = []
    for backup in ordered:
        if backup.broken:
            result.append(Fate(backup.id, True, f"it cannot be read ({backup.broken}); look at it, then delete it"))
        elif backup.id in reasons:
            result.append(Fate(backup.id, True, reasons[backup.id]))
        else:
            why = "no rule keeps it" if backup.verified else "it was never verified, and a newer one was"
            result.append(Fate(backup.id, False, why))
    return result


def _kept(group: List[Backup], rules: Dict[str, int], now: float, open_releases: Sequence[str]) -> Dict[str, str]:
    """Why those that stay do. The backups are of one set, newest first."""
    kept: Dict[str, str] = {}
    verified = [backup for backup in group if backup.verified]
    for backup in group:
        if not rules:
            kept[backup.id] = "there is no rule"
        elif backup.release and backup.release in open_releases:
            kept[backup.id] = f"release {backup.release} is open"
        elif not backup.verified and (not verified or backup.created >= verified[0].created):
            kept[backup.id] = "no newer one is verified"
    if verified:
        kept.setdefault(verified[0].id, "the newest verified one")
    for backup in verified[: rules.get("last", 0)]:
        kept.setdefault(backup.id, f"among the last {rules['last']}")
    for backup in verified:
        if "days" in rules and now - backup.created <= rules["days"] * 86400:
            kept.setdefault(backup.id, f"not {rules['days']} days old")
    for rule, period in KEPT_BY:
        seen: List[Any] = []
        for backup in verified:
            at = period(datetime.datetime.fromtimestamp(backup.created, datetime.timezone.utc))
            if at not in seen and len(seen) < rules.get(rule, 0):
                seen.append(at)
                kept.setdefault(backup.id, f"the {rule} one")
    return kept
