# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The likely cause, from what was gathered. The first rules are the surest."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple


class Finding(NamedTuple):
    """What is probably wrong. ``sure`` goes from 0 to 100; ``next`` is what to do about it."""

    sure: int
    service: str
    text: str
    next: str
    at: str = "now"  # or failure: a rollout saw it, which may have put back since


# Codes of the rollout's causes: how sure, and what to do.
CAUSES: Dict[str, Tuple[int, str]] = {
    "image_not_found": (95, "Push the image, or roll back to a release that has one."),
    "image_name": (95, "Correct the image's name."),
    "image_unauthorised": (95, "Renew the registry's pull secret."),
    "config_missing": (95, "Create the Secret or ConfigMap, or correct its name."),
    "config_invalid": (90, "Correct the configuration."),
    "oom_killed": (90, "Raise the memory limit, or roll back."),
    "refused": (90, "Free the quota, or ask whoever runs the admission webhook."),
    "start_error": (85, "Correct the command or the mounts of the container."),
    "init_failed": (85, "Read the init container's log."),
    "unschedulable": (85, "Free or add nodes, or lower the requests."),
    "volume": (80, "Look at the volume claim and its events."),
    "paused": (85, "See who paused it, and why; kubectl rollout resume, or docker compose unpause."),
    "sandbox": (80, "Look at the node's network plugin and its container runtime."),
    "driver": (78, "See whether the cluster or the engine answers, and what else changes the service."),
    "config_pending": (75, "Look at the node's kubelet: it does not get the Secret or ConfigMap."),
    "crash_loop": (75, "Read the last lines before it ended; roll back if it is the release."),
    "image_pull": (70, "See whether the registry answers."),
    "evicted": (70, "Look at the node's disk and memory."),
    "unhealthy": (60, "Read what the health check printed."),
    "not_ready": (55, "Read what the readiness probe says."),
    "deadline": (55, "Read its events and what the readiness probe says."),
    "timeout": (55, "Read its events and what the readiness probe says."),
}

# What logs say, whatever the service is written in. (pattern, how sure, text, next)
LOGS: List[Tuple[Any, int, str, str]] = [
    (
        re.compile(r"(?:sorry, too many clients|remaining connection slots are reserved)", re.I),
        97,
        "the database has no connection left",
        "See who holds connections (database.txt); lower pool sizes or raise max_connections.",
    ),
    (
        re.compile(r"password authentication failed|no pg_hba\.conf entry", re.I),
        96,
        "the database refuses the login",
        "Compare the service's credentials with the secret; was it rotated?",
    ),
    (
        re.compile(r"(?:relation|column) \"[^\"]+\"(?: of relation \"[^\"]+\")? does not exist", re.I),
        94,
        "the database lacks a table or column that the code expects",
        "Show the migrations; one is missing, or was reverted.",
    ),
    (
        re.compile(r"(?:getaddrinfo|name or service not known|ENOTFOUND|could not translate host name)", re.I),
        85,
        "a name cannot be resolved",
        "Check the address in the configuration, and DNS.",
    ),
    (
        re.compile(r"(?:no space left on device|ENOSPC)", re.I),
        95,
        "the disk is full",
        "Free space on the node or the volume.",
    ),
    (
        re.compile(r"(?:OutOfMemoryError|heap out of memory|MemoryError|Cannot allocate memory)", re.I),
        88,
        "the process ran out of memory",
        "Raise the memory limit, or roll back.",
    ),
    (
        re.compile(r"(?:certificate has expired|certificate verify failed|CERT_HAS_EXPIRED)", re.I),
        90,
        "a certificate is not accepted",
        "Renew the certificate, or the authority that is trusted.",
    ),
    (
        re.compile(r"(?:config|environment|setting)\w*(?: \w+)? \S+ is (?:not set|missing|required|undefined)", re.I),
        89,
        "its configuration lacks something",
        "Add it to the ConfigMap, Secret or environment file that the release needs.",
    ),
    (
        re.compile(r"(?:ECONNREFUSED|connection refused)", re.I),
        72,
        "something that the service needs refuses connections",
        "See which address the line names, and whether that is up.",
    ),
    (
        re.compile(r"(?:Cannot find module|ModuleNotFoundError|ClassNotFoundException|ImportError)"),
        86,
        "the image lacks a part of the program",
        "Rebuild the image; roll back meanwhile.",
    ),
]


def findings(facts: Mapping[str, Any]) -> List[Finding]:
    """Likely causes: those of the failure first, then what is seen now; of each the surest first.

    :param facts: ``services`` (each with ``name``, ``outcome``, ``cause``, ``logs``), ``rollout`` (the same of a
        rollout that failed), ``database`` (``error``, ``connections``, ``max_connections``, ``blocked``,
        ``idle_in_transaction`` in seconds), ``hosts`` (``name``, ``unresolved``, ``error``, ``days``), ``unreachable``.
    """
    found: List[Finding] = []
    for service in facts.get("rollout") or ():
        # One without a cause was put back for the sake of another.
        if service.get("cause"):
            found += [one._replace(at="failure") for one in _service({**service, "outcome": "failed"})]
    for service in facts.get("services") or ():
        found += _service(service)
    found += _database(facts.get("database") or {})
    for host in facts.get("hosts") or ():
        found += _host(host)
    if facts.get("unreachable"):
        found.append(
            Finding(
                98, "", f"the target cannot be asked: {facts['unreachable']}", "Check address, credentials, network."
            )
        )
    unique: Dict[Tuple[str, str], Finding] = {}
    for one in found:
        unique.setdefault((one.service, one.text), one)
    return sorted(unique.values(), key=lambda one: (one.at != "failure", -one.sure, one.service, one.text))


def likely(found: Sequence[Finding], failed: bool) -> Optional[Finding]:
    """The likely cause, if there is one.

    :param failed: a run failed, whose message explains more than what is merely noticed now.
    """
    first = found[0] if found else None
    return None if first and failed and first.at == "now" and first.sure < 50 else first


def nearest(events: Sequence[str], cause: str) -> List[str]:
    """Events, those first that share most words with the cause; else as they were."""
    words = {word for word in re.split(r"[\s\"'(),;]+", cause) if len(word.strip(".:")) > 3}
    return sorted(events, key=lambda event: -sum(word in event for word in words))


def _service(service: Mapping[str, Any]) -> List[Finding]:
    name = str(service.get("name"))
    healthy = service.get("outcome") == "healthy"
    found = []
    cause = service.get("cause") or {}
    if cause.get("text"):
        sure, remedy = CAUSES.get(cause.get("code", ""), (50, "Read its logs and events."))
        found.append(Finding(sure, name, cause["text"], remedy))
    elif not healthy:
        found.append(Finding(40, name, f"it is {service.get('outcome')}", "Read its logs and events."))
    for log in service.get("logs") or ():
        for pattern, sure, text, remedy in LOGS:
            line = next(
                (line for line in reversed(str(log.get("text") or "").splitlines()) if pattern.search(line)), None
            )
            if line:
                # An old line of a service that is well again explains less.
                found.append(Finding(sure - (60 if healthy else 0), name, f"{text}: {message(line)[:200]}", remedy))
    return found


def message(line: str) -> str:
    """What a line of a log says; of one in JSON its message."""
    found = re.search(r'"(?:message|msg)"\s*:\s*"((?:[^"\\]|\\.)*)"', line)
    return found[1] if found else line.strip()


def _database(database: Mapping[str, Any]) -> List[Finding]:
    found = []
    if database.get("error"):
        found.append(
            Finding(93, "", f"the database does not answer: {database['error']}", "See whether the server runs.")
        )
    used, most = database.get("connections"), database.get("max_connections")
    if used is not None and most and used >= 0.9 * most:
        found.append(
            Finding(92, "", f"{used} of {most} database connections are in use", "See who holds them (database.txt).")
        )
    if database.get("blocked"):
        found.append(
            Finding(60, "", f"{database['blocked']} sessions wait for locks", "See who blocks them (database.txt).")
        )
    idle = database.get("idle_in_transaction") or 0
    if idle >= 300:
        text = f"a transaction has been open and idle for {idle // 60} min"
        found.append(
            Finding(58, "", text, "See whose it is (database.txt): it holds locks and keeps vacuum from working.")
        )
    return found


def _host(host: Mapping[str, Any]) -> List[Finding]:
    name, error, days = host["name"], host.get("error") or "", host.get("days")
    if host.get("unresolved"):
        return [Finding(87, "", f"the name {name} cannot be resolved: {error}", "Check DNS.")]
    if "certificate" in error.lower():
        return [Finding(89, "", f"the certificate of {name} is not accepted: {error}", "Renew it.")]
    if error:
        return [Finding(71, "", f"{name} does not speak TLS: {error}", "See whether what serves it is up.")]
    if days is not None and days < 14:
        return [Finding(35, "", f"the certificate of {name} ends in {days:g} days", "Renew it.")]
    return []
