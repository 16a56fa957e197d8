# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a backup must be taken at all. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, Optional, Sequence

from .manifest import LEVELS, Backup

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: Any) -> float:
    """``90``, ``"30m"``, ``"24h"`` or ``"7d"`` in seconds. :raises ValueError: for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", str(text))
    if not match:
        raise ValueError(f"{text!r} is no duration such as 30m, 24h or 7d")
    return float(match.group(1)) * UNITS[match.group(2)]


def level_reached(backup: Backup, level: str) -> bool:
    return backup.verified is not None and LEVELS.index(backup.verified) >= LEVELS.index(level)


def less(migrations: Dict[str, Any], own: Dict[str, Any]) -> Dict[str, Any]:
    """What each database has applied, by tool, without the migrations named in ``own`` by database."""
    found = {}
    for database, tools in migrations.items():
        rest = {table: [name for name in names if name not in own.get(database, ())] for table, names in tools.items()}
        # The first migration makes the tool's table: none and an empty one are the same.
        if any(rest.values()):
            found[database] = {table: names for table, names in rest.items() if names}
    return found


def reusable(
    backups: Iterable[Backup],
    databases: Sequence[str],
    release: str,
    system: str,
    migrations: Dict[str, Any],
    max_age: float,
    now: float,
    own: Optional[Dict[str, Any]] = None,
) -> Optional[Backup]:
    """The newest verified backup that spares a new one: of this release, young enough, of the same migrations.

    :param migrations: what each database has applied now.
    :param max_age: in seconds; 0 reuses none.
    :param own: by database, migrations that the release itself applied after its backup: they make it no older.
    """
    before = less(migrations, own or {})
    fitting = [
        backup
        for backup in backups
        if not backup.broken
        and backup.verified
        and sorted(backup.databases) == sorted(databases)
        and backup.release == release
        and backup.system == system
        and less(backup.migrations, {}) == before
        and 0 <= now - backup.created < max_age
    ]
    return max(fitting, key=lambda backup: (backup.created, backup.id), default=None)


def space_needed(table_bytes: int, compressed: bool) -> int:
    """Bytes that must be free before a dump of so many bytes of tables starts."""
    return int(table_bytes * (0.6 if compressed else 1.15)) + (1 << 20)


def slug(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60]
