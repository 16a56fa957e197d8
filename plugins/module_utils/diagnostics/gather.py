# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Collects what an operator looks at in trouble. What cannot be had is said, and never stops the rest."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ..common import process
from ..common.errors import MissingLibrary, OpsError

QUERIES: List[Tuple[str, str]] = [
    ("version", "SELECT version()"),
    (
        "connections by user and state",
        "SELECT datname, usename, state, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " GROUP BY 1, 2, 3 ORDER BY 4 DESC",
    ),
    (
        "longest transactions",
        "SELECT pid, datname, usename, application_name, state, now() - xact_start AS age, wait_event_type,"
        " left(query, 200) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        " ORDER BY xact_start LIMIT 20",
    ),
    (
        "who waits for whom",
        "SELECT pid, pg_blocking_pids(pid), datname, left(query, 200) FROM pg_stat_activity"
        " WHERE cardinality(pg_blocking_pids(pid)) > 0",
    ),
    (
        "slowest queries (pg_stat_statements)",
        "SELECT calls, total_exec_time::int AS total_ms, mean_exec_time::int AS mean_ms, left(query, 200)"
        " FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 10",
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
    files = {"processes.txt": command([*base, "ps", "--all"])}
    for one in params["services"]:
        name = one.get("workload") or one["name"]
        lines = str(params["lines"])
        files[f"{name}/logs.txt"] = command([*base, "logs", "--no-color", "--timestamps", "--tail", lines, name])
        ids = command([*base, "ps", "--all", "--quiet", name]).split()
        if ids and not ids[0].startswith("("):
            files[f"{name}/containers.json"] = inspected(command([*argv, "inspect", *ids]))
            files[f"{name}/usage.txt"] = command([*argv, "stats", "--no-stream", *ids])
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
    base = ["kubectl"]
    for option in ("kubeconfig", "context", "namespace"):
        if params.get(option):
            base.append(f"--{option}={params[option]}")
    files = {
        "processes.txt": command([*base, "get", "deployments,statefulsets,daemonsets,pods,services", "-o", "wide"]),
        "events.txt": command([*base, "get", "events", "--sort-by=.lastTimestamp"]),
        "quotas.txt": command([*base, "describe", "resourcequotas,limitranges"]),
        "usage.txt": command([*base, "top", "pods", "--containers"]),
    }
    for one in params["services"]:
        name, kind = one.get("workload") or one["name"], (one.get("kind") or "Deployment").lower()
        lines = f"--tail={params['lines']}"
        logs = ["logs", f"{kind}/{name}", "--all-containers", "--timestamps", lines]
        files[f"{name}/describe.txt"] = command([*base, "describe", kind, name])
        files[f"{name}/logs.txt"] = command([*base, *logs])
        files[f"{name}/logs_previous.txt"] = command([*base, *logs, "--previous"])
    return files


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
        for title, sql in QUERIES:
            try:
                found = rows(connection, sql)
                text = "\n".join("  ".join(str(value) for value in row) for row in found) or "(none)"
                if title == "who waits for whom":
                    facts["blocked"] = len(found)
            except database_error() as error:
                text = f"({said(error)})"
            parts.append(f"{title}\n{'-' * len(title)}\n{text}\n")
        facts["connections"] = scalar(
            connection, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        facts["max_connections"] = int(scalar(connection, "SHOW max_connections"))
    except database_error() as error:
        facts["error"] = said(error)
    finally:
        connection.close()
    return facts, "\n".join(parts)
