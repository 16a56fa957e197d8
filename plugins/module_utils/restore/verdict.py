# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a backup belongs here, how it is restored, and whether what was restored is what was backed up. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence


def refusals(
    manifest: Dict[str, Any], facts: Dict[str, Any], databases: Sequence[str], allow: Sequence[str]
) -> List[str]:
    """Why a backup must not be restored on a server; nothing when it may.

    :param facts: the server's ``major`` and ``system_identifier``.
    :param allow: what was agreed to: ``other_server``, ``newer_version``.
    """
    refused = []
    there = [one["name"] for one in manifest["databases"]]
    missing = [name for name in databases if name not in there]
    if missing:
        refused.append(f"it holds no database {', '.join(map(repr, missing))}, only {', '.join(map(repr, there))}")
    source = manifest["server"]
    if source["system_identifier"] != facts["system_identifier"] and "other_server" not in allow:
        refused.append("it comes from another server (set allow: [other_server] if that is meant)")
    if source["major"] > facts["major"]:
        refused.append(f"it comes from PostgreSQL {source['major']}, and this server is {facts['major']}")
    elif source["major"] < facts["major"] and "newer_version" not in allow:
        refused.append(
            f"it comes from PostgreSQL {source['major']}, and this server is {facts['major']} "
            "(set allow: [newer_version] if that is meant)"
        )
    return refused


def differences(expected: Dict[str, Any], found: Dict[str, Any]) -> List[str]:
    """In what a restored database differs from the one backed up; nothing when it is the same."""
    wrong = []
    if expected["rows_are"] == "exact":
        for table in sorted(set(expected["rows"]) | set(found["rows"])):
            before, after = expected["rows"].get(table), found["rows"].get(table)
            if after is None:
                wrong.append(f"table {table} is missing")
            elif before is None:
                wrong.append(f"table {table} was not backed up")
            elif before != after:
                wrong.append(f"table {table} has {after} rows instead of {before}")
    else:
        wrong += [f"table {table} is missing" for table in sorted(set(expected["rows"]) - set(found["rows"]))]
    for name in sorted(set(expected["extensions"]) - set(found["extensions"])):
        wrong.append(f"extension {name} is missing")
    for key, what in (("large_objects", "large objects"), ("constraints", "constraints")):
        if expected[key] != found[key]:
            wrong.append(f"it has {found[key]} {what} instead of {expected[key]}")
    if expected["owners"] != found["owners"]:
        wrong.append(f"its relations belong to {found['owners']} instead of {expected['owners']}")
    for name in found["invalid_indexes"]:
        if name not in expected["invalid_indexes"]:
            wrong.append(f"index {name} is invalid")
    return wrong


def session_settings(jobs: int, cores: Optional[int], impatient: bool) -> Dict[str, str]:
    """Settings for the sessions that restore.

    :param jobs: how many of them work at once.
    :param cores: of the server's machine; None when that is not known.
    :param impatient: whether we may say how soon autovacuum has to give way.
    """
    # The commit that swaps the database in waits for the disk, and with it for all that was written before.
    found = {"synchronous_commit": "off"}
    if impatient:
        # Autovacuum comes to each table that was filled, and whoever wants an index on it waits for this long.
        found["deadlock_timeout"] = "50ms"
    if cores is not None:
        # Each index may have two helpers: with more processes than cores they get into each other's way.
        found["max_parallel_maintenance_workers"] = str(max(0, min(2, cores // jobs - 1)))
    return found


def loss(backed_up: Dict[str, int], live: Dict[str, int]) -> Dict[str, Dict[str, int]]:
    """Tables whose row count a restore would change, by name: rows now and then."""
    return {
        table: {"now": live.get(table, 0), "backup": backed_up.get(table, 0)}
        for table in sorted(set(backed_up) | set(live))
        if live.get(table) != backed_up.get(table)
    }
