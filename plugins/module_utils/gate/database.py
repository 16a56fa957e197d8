# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A PostgreSQL server, judged by what it says of itself."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..common.errors import MissingLibrary
from .judge import ERROR, FAIL, NO_DATA, PASS, Limits, Sample, threshold, worst

CONNECTIONS = (
    "SELECT 100.0 * (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    " AND pid <> pg_backend_pid())"
    " / current_setting('max_connections')::int"
)
OLDEST = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
)
INVALID = "SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE NOT indisvalid"
LAG_OF_STANDBYS = (
    "SELECT CASE WHEN count(*) > 0 THEN max(coalesce(extract(epoch FROM replay_lag), 0)) END FROM pg_stat_replication"
    " WHERE state = 'streaming'"
)
# A standby that has replayed all it got is not behind, however long ago the last transaction was.
OWN_LAG = (
    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END"
)


def _connect(options: Mapping[str, Any]) -> Any:
    import psycopg2

    timeout = options["timeout"]
    wanted: Dict[str, Any] = {
        "host": options.get("login_unix_socket") or options.get("login_host"),
        "port": options.get("login_port"),
        "user": options.get("login_user"),
        "password": options.get("login_password"),
        "dbname": options.get("login_db"),
        "sslmode": options.get("ssl_mode"),
        "sslrootcert": options.get("ca_cert") or None,
        "connect_timeout": max(2, int(timeout)),
        "tcp_user_timeout": int(timeout * 1000),
        "application_name": "eazepay.ops health_gate",
        "options": f"-c statement_timeout={int(timeout * 1000)} -c default_transaction_read_only=on",
    }
    connection = psycopg2.connect(**{key: value for key, value in wanted.items() if value is not None})
    connection.autocommit = True
    return connection


def check(options: Mapping[str, Any]) -> Sample:
    """Reachable, and every asked-for number within its limits."""
    try:
        import psycopg2
    except ImportError as error:
        raise MissingLibrary("psycopg2-binary", str(error)) from error
    begun = time.monotonic()
    verdicts: List[Tuple[str, str]] = []
    value: Optional[float] = None
    try:
        connection = _connect(options)
    except psycopg2.Error as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        return Sample(FAIL, f"no connection: {reason}", seconds=round(time.monotonic() - begun, 4))
    try:
        with connection.cursor() as cursor:

            def scalar(sql: str) -> Any:
                cursor.execute(sql)
                rows = cursor.fetchmany(2)
                return rows[0][0] if len(rows) == 1 and rows[0] else None

            cursor.execute("SELECT pg_is_in_recovery()")
            standby = bool(cursor.fetchone()[0])
            for name, sql, what, unit in (
                ("connections", CONNECTIONS, "the use of connections", "%"),
                ("oldest_transaction", OLDEST, "the oldest transaction's age", "s"),
                ("replication_lag", OWN_LAG if standby else LAG_OF_STANDBYS, "the replication's lag", "s"),
                ("query", options.get("query"), "the query's value", ""),
            ):
                limits = options.get(f"{name}_limits")
                if not limits or not sql:
                    continue
                found = scalar(sql)
                if found is None:
                    verdicts.append((NO_DATA, f"{what} is not known: not exactly one row, or no value"))
                    continue
                verdict, reason = threshold(
                    found, Limits(limits["warn"], limits["fail"], limits["direction"], unit), what
                )
                value = float(found) if verdict in (PASS, "warn", FAIL) else None
                verdicts.append((verdict, reason))
            if options.get("invalid_indexes"):
                broken = scalar(INVALID)
                verdicts.append((FAIL, f"invalid indexes: {broken}") if broken else (PASS, "no index is invalid"))
            if not verdicts:
                verdicts.append((PASS, "it answers" + (" (a standby)" if standby else "")))
    except psycopg2.Error as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        verdicts.append((ERROR, f"the question failed: {said[0]}"))
    finally:
        connection.close()
    verdict = worst(one for one, _reason in verdicts)
    reason = "; ".join(reason for one, reason in verdicts if one == verdict)
    return Sample(verdict, reason, value, seconds=round(time.monotonic() - begun, 4))
