# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a backup must be taken at all. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from .manifest import LEVELS, NAME, Backup

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
    """The verified backup that spares a new one: of this release, young enough, of the same migrations.

    The newest from before the release's own migrations wins, for it is the way back; then the newest of what is now.

    :param migrations: what each database has applied now.
    :param max_age: in seconds; 0 reuses none.
    :param own: by database, migrations that the release itself applied after its backup: they make it no older.
    """
    before, today = less(migrations, own or {}), less(migrations, {})
    fitting = [
        (less(backup.migrations, {}), backup)
        for backup in backups
        if not backup.broken
        and backup.verified
        and sorted(backup.databases) == sorted(databases)
        and backup.release == release
        and backup.system == system
        and 0 <= now - backup.created < max_age
    ]
    for wanted in (before, today):
        same = [backup for applied, backup in fitting if applied == wanted]
        if same:
            return max(same, key=lambda backup: (backup.created, backup.id))
    return None


def space_needed(table_bytes: int, compressed: bool) -> int:
    """Bytes that must be free before a dump of so many bytes of tables starts."""
    return int(table_bytes * (0.6 if compressed else 1.15)) + (1 << 20)


def slug(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60]


# What a filter adds to a file's name.
ENDINGS = {"zstd": ".zst", "age": ".age"}
SMALLEST_PART = 8 << 20


def part_size(expected: int) -> int:
    """Bytes of a part, for an upload of about so many bytes: S3 takes 10,000 parts, and each stands in memory."""
    return max(SMALLEST_PART, -(-expected * 2 // 10_000 >> 20) << 20)


def streamed(format: str, bucket: bool, encrypted: bool) -> bool:
    """Whether a dump is one stream; otherwise pg_dump writes a folder, with several processes.

    :raises ValueError: a folder is asked for where there can be none.
    """
    one = bucket or encrypted
    if format == "directory" and one:
        raise ValueError(f"a folder of files cannot be {'written to S3' if bucket else 'encrypted'}: choose custom")
    return one or format == "custom"


def filters_of(stream: bool, method: str, wanted: str, compressor: bool, recipients: Sequence[str]) -> List[str]:
    """What a dump goes through on its way.

    :param method: what pg_dump itself is told to do; ``0`` when it could only use gzip.
    :param wanted: the option ``compression``.
    :param compressor: whether there is a zstd beside pg_dump.
    """
    found = ["zstd"] if stream and method == "0" and wanted == "auto" and compressor else []
    return [*found, "age"] if recipients else found


def remaining(elapsed: float, fraction: float, begun: int, tables: int) -> str:
    """How long it may still take, as the end of a sentence; nothing while that cannot be told.

    :param fraction: of the bytes; what is compressed lags behind, and then the number of tables tells more.
    """
    share = max(min(fraction, 1.0), (begun - 1) / tables if tables else 0.0)
    return f", about {elapsed * (1 - share) / share:.0f} s left" if share > 0.01 else ""


def place_of(manifest: str) -> Tuple[str, str]:
    """The store and the name of a backup, from the address of its manifest or its own."""
    path = manifest.rstrip("/")
    if path.rpartition("/")[2] == NAME:
        path = path.rpartition("/")[0]
    store, _slash, id = path.rpartition("/")
    return store or ("/" if manifest.startswith("/") else "."), id
