# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Collects what an operator looks at in trouble. What cannot be had is said, and never stops the rest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from ..common import process
from ..common.errors import MissingLibrary, OpsError

# What is asked, what each column is, and how.
QUERIES: List[Tuple[str, str, str]] = [
    ("version", "", "SELECT version()"),
    (
        "connections by user and state",
        "database, user, state, connections",
        "SELECT datname, usename, state, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " GROUP BY 1, 2, 3 ORDER BY 4 DESC",
    ),
    (
        "longest transactions",
        "pid, database, user, program, state, age, what it waits for, query",
        "SELECT pid, datname, usename, application_name, state, now() - xact_start AS age, wait_event_type,"
        " left(query, 200) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        " ORDER BY xact_start LIMIT 20",
    ),
    (
        "who waits for whom",
        "pid, pids that block it, database, query",
        "SELECT pid, pg_blocking_pids(pid), datname, left(query, 200) FROM pg_stat_activity"
        " WHERE cardinality(pg_blocking_pids(pid)) > 0",
    ),
    (
        "size of the databases",
        "database, size",
        "SELECT datname, pg_size_pretty(pg_database_size(datname)) FROM pg_database WHERE datallowconn"
        " ORDER BY pg_database_size(datname) DESC",
    ),
    (
        "slowest queries (pg_stat_statements)",
        "calls, ms in all, ms each, database, query",
        "SELECT calls, total_exec_time::bigint, mean_exec_time::bigint, datname, left(query, 200)"
        " FROM pg_stat_statements LEFT JOIN pg_database ON pg_database.oid = dbid"
        " ORDER BY total_exec_time DESC LIMIT 10",
    ),
]


def command(argv: Sequence[str], timeout: float = 30) -> str:
    """What a program prints, or why it does not."""
    try:
        done = process.run(list(argv), timeout)
    except FileNotFoundError:
        return f"({argv[0]} is not installed)"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({argv[0]} gave nothing: {error})"
    return done.output if done.rc == 0 else f"({' '.join(argv[:3])} ended with {done.rc})\n{done.output}"


def together(asked: Mapping[str, Callable[[], str]]) -> Dict[str, str]:
    """All at once: what is in trouble may change meanwhile, and putting back may wait for this."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = {name: pool.submit(ask) for name, ask in asked.items()}
        return {name: answer.result() for name, answer in answers.items()}


def services(params: Mapping[str, Any]) -> Tuple[List[Dict[str, Any]], str]:
    """How each service stands, as the rollout judges it; and why that cannot be told."""
    from ..rollout.run import rollout

    try:
        result = rollout({**params, "state": "observed", "preflight": False})
    except OpsError as error:
        return [], error.cause
    return result["services"], ""


def target(params: Mapping[str, Any]) -> Dict[str, str]:
    """Texts of one service after the other, by file name."""
    if params["target"] == "compose":
        return compose(params)
    return kubernetes(params)


def compose(params: Mapping[str, Any]) -> Dict[str, str]:
    given = params["compose"]
    argv = ["docker"] + (["--host", given["docker_host"]] if given.get("docker_host") else [])
    base = [*argv, "compose", "--project-directory", given["project_src"]]
    if given.get("project_name"):
        base += ["--project-name", given["project_name"]]
    for file in given.get("files") or ():
        base += ["--file", os.path.join(given["project_src"], file)]
    asked: Dict[str, Callable[[], str]] = {"processes.txt": lambda: command([*base, "ps", "--all"])}
    asked["images.txt"] = lambda: command([*base, "images"])
    for one in params["services"]:
        name = one.get("workload") or one["name"]
        logs = [*base, "logs", "--no-color", "--timestamps", "--tail", str(params["lines"]), name]
        asked[f"{name}/logs.txt"] = lambda logs=logs: command(logs)  # type: ignore[misc]
        asked[f"{name}/ids"] = lambda name=name: command([*base, "ps", "--all", "--quiet", name])  # type: ignore[misc]
    files = together(asked)
    ids = {name: text.split() for name, text in files.items() if name.endswith("/ids") and not text.startswith("(")}
    files = {name: text for name, text in files.items() if not name.endswith("/ids")}
    if any(ids.values()):
        every = [container for found in ids.values() for container in found]
        more: Dict[str, Callable[[], str]] = {"usage.txt": lambda: command([*argv, "stats", "--no-stream", *every])}
        for name, found in ids.items():
            if found:
                more[f"{name[:-4]}/containers.json"] = lambda found=found: inspected(  # type: ignore[misc]
                    command([*argv, "inspect", *found])
                )
        files.update(together(more))
    return files


def inspected(text: str) -> str:
    """What matters of ``docker inspect``; of the environment, the names only."""
    try:
        containers = json.loads(text)
    except ValueError:
        return text
    kept = []
    for one in containers:
        config, state = one.get("Config") or {}, one.get("State") or {}
        kept.append(
            {
                "name": one.get("Name"),
                "image": config.get("Image"),
                "state": state,
                "restarts": one.get("RestartCount"),
                "environment": sorted(entry.split("=", 1)[0] for entry in config.get("Env") or ()),
                "memory": (one.get("HostConfig") or {}).get("Memory"),
                "networks": sorted((one.get("NetworkSettings") or {}).get("Networks") or ()),
                "mounts": [f"{mount.get('Source')}:{mount.get('Destination')}" for mount in one.get("Mounts") or ()],
            }
        )
    return json.dumps(kept, indent=2)


def kubernetes(params: Mapping[str, Any]) -> Dict[str, str]:
    given = {**params, "kubeconfig": params.get("kubeconfig") or os.environ.get("K8S_AUTH_KUBECONFIG")}
    base = ["kubectl"]
    for option in ("kubeconfig", "context", "namespace"):
        if given.get(option):
            base.append(f"--{option}={given[option]}")
    columns = (
        "POD:.metadata.name,IMAGES:.spec.containers[*].image,PULL:.spec.containers[*].imagePullPolicy,"
        "IDS:.status.containerStatuses[*].imageID,WAITING:.status.containerStatuses[*].state.waiting.reason"
    )
    asked = {
        "processes.txt": ["get", "deployments,statefulsets,daemonsets,pods,services", "-o", "wide"],
        "events.txt": ["get", "events", "--sort-by=.lastTimestamp"],
        "quotas.txt": ["describe", "resourcequotas,limitranges"],
        "usage.txt": ["top", "pods", "--containers"],
        "images.txt": ["get", "pods", "-o", f"custom-columns={columns}"],
    }
    for one in params["services"]:
        name, kind = one.get("workload") or one["name"], (one.get("kind") or "Deployment").lower()
        logs = ["logs", f"{kind}/{name}", "--all-containers", "--timestamps", f"--tail={params['lines']}"]
        asked[f"{name}/describe.txt"] = ["describe", kind, name]
        asked[f"{name}/logs.txt"] = logs
        asked[f"{name}/logs_previous.txt"] = [*logs, "--previous"]
    return together({name: lambda words=words: command([*base, *words]) for name, words in asked.items()})  # type: ignore[misc]


def hosts(names: Sequence[str], timeout: float = 5) -> List[Dict[str, Any]]:
    """What each ``name`` or ``name:port`` resolves to, and its certificate.

    :returns: ``name``, ``addresses``; ``days`` that are left of the certificate, or ``error`` and ``unresolved``.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda name: host(name, timeout), names))


def host(name: str, timeout: float) -> Dict[str, Any]:
    from ..gate import wire

    address, _colon, port = name.partition(":")
    found: Dict[str, Any] = {"name": name, "addresses": [], "unresolved": False}
    try:
        answers = socket.getaddrinfo(address, int(port or 443), type=socket.SOCK_STREAM)
        found["addresses"] = sorted({str(answer[4][0]) for answer in answers})
    except (OSError, UnicodeError) as error:
        return {**found, "unresolved": True, "error": wire.said(error)}
    limit = wire.Limit(timeout)
    try:
        plain = wire.connect(address, int(port or 443), limit)
        with wire.secure(plain, wire.context(), address, limit) as connection:
            found["days"] = round(wire.days_left(connection), 1)
    except (OSError, ValueError) as error:
        found["error"] = wire.said(error)
    return found


def told(found: Sequence[Mapping[str, Any]]) -> str:
    """The same for people."""
    lines = []
    for one in found:
        addresses = ", ".join(one["addresses"]) or "no address"
        days = f"certificate ends in {one['days']} days" if "days" in one else one.get("error", "")
        lines.append(f"{one['name']}: {addresses}; {days}")
    return "\n".join(lines)


def ledger(params: Mapping[str, Any], limit: int = 10) -> str:
    """The last records, and who holds the lock; or why that cannot be told."""
    from ..ledger.ledger import Ledger
    from ..ledger.stores import open_store

    try:
        known = Ledger(open_store(params["ledger"], dict(params))).query(limit)
    except (OpsError, MissingLibrary) as error:
        return f"({error})"
    lines = released(known["records"], known["in_place"], known["newest"])
    lock = known["lock"]
    lines.append(f"lock: {lock['owner']} ({lock['purpose']}) since {lock['since']}" if lock else "lock: free")
    for one in known["records"]:
        why = (one.get("failure") or {}).get("msg") or ""
        lines.append(f"{one['id']}  {one['outcome']}  {why.splitlines()[0] if why else ''}".rstrip())
    return "\n".join(lines)


def released(records: Sequence[Mapping[str, Any]], in_place: str, newest: str) -> List[str]:
    """Which release is in place. While a run goes on nobody knows yet: it may put back what it tries.

    :param records: the newest first.
    """
    from ..ledger.judge import standing

    going = next((one for one in records[:1] if one.get("outcome") == "running"), None)
    if going:
        before = standing([dict(one) for one in records[1:]]).in_place
        return [
            f"being tried: {going.get('release')} (run {going['id']} goes on, or died)",
            f"in place before it: {before or 'nothing that is recorded'}",
        ]
    lines = [f"in place: {in_place or 'nothing that is recorded'}"]
    return lines + ([f"tried last: {newest}, which failed and was put back"] if newest != in_place else [])


def database(login: Mapping[str, Any]) -> Tuple[Dict[str, Any], str]:
    """Facts of the PostgreSQL server, and the same for people."""
    from ..postgres.server import Server, database_error, rows, said, scalar

    try:
        connection = Server(dict(login), "diagnose", "the database").connect()
    except OpsError as error:
        return {"error": error.cause}, error.message
    except MissingLibrary as missing:
        return {}, f"({missing.library} is not installed)"
    facts: Dict[str, Any] = {}
    parts = []
    try:
        scalar(connection, "SELECT set_config('statement_timeout', '10s', false)")
        for title, columns, sql in QUERIES:
            try:
                found = rows(connection, sql)
                text = "\n".join("  ".join(str(value) for value in row) for row in found) or "(none)"
                if title == "who waits for whom":
                    facts["blocked"] = len(found)
            except database_error() as error:
                text = f"({said(error)})"
            head = f"{title}: {columns}" if columns else title
            parts.append(f"{head}\n{'-' * len(head)}\n{text}\n")
        facts["connections"] = scalar(
            connection, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        facts["max_connections"] = int(scalar(connection, "SHOW max_connections"))
        facts["idle_in_transaction"] = int(
            scalar(
                connection,
                "SELECT coalesce(extract(epoch FROM max(now() - xact_start)), 0) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction'",
            )
        )
    except database_error() as error:
        facts["error"] = said(error)
    finally:
        connection.close()
    return facts, "\n".join(parts)
