# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One attempt at each kind of check. A probe never raises for what it looks at."""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import closing
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ..common import process
from ..common.errors import MissingLibrary, OpsError
from . import database, logs, prometheus, web, wire
from .judge import ERROR, FAIL, NO_DATA, PASS, Limits, Sample, threshold, worst

PRINTED = 1 << 22  # characters that a program may print

Probe = Callable[[Mapping[str, Any], Optional[float]], Sample]


def tcp(options: Mapping[str, Any]) -> Tuple[str, str]:
    try:
        wire.connect(options["host"], options["port"], wire.Limit(options["timeout"]), options["ip_version"]).close()
    except OSError as error:
        return FAIL, f"{options['host']}:{options['port']} does not answer: {wire.said(error)}"
    return PASS, f"{options['host']}:{options['port']} answers"


def tls(options: Mapping[str, Any]) -> Tuple[str, str]:
    limit = wire.Limit(options["timeout"])
    try:
        spoken = wire.context(True, options["ca_cert"], options["client_cert"], options["client_key"])
    except (OSError, ValueError) as error:
        return ERROR, f"a certificate file cannot be used: {wire.said(error)}"
    try:
        plain = wire.connect(options["host"], options["port"], limit)
        with closing(wire.secure(plain, spoken, options["server_name"] or options["host"], limit)) as connection:
            days = wire.days_left(connection)
    except (OSError, ValueError) as error:
        return FAIL, wire.said(error)
    limits = Limits(options["warn_days"], options["fail_days"], "below", "days")
    return threshold(round(days, 2), limits, "what is left of the certificate")


def command(options: Mapping[str, Any]) -> Tuple[str, str]:
    name, printed, size = options["argv"][0], [], 0
    try:
        reading = process.Reading(
            [str(word) for word in options["argv"]],
            options["timeout"],
            env={str(key): str(value) for key, value in (options.get("env") or {}).items()},
            cwd=options.get("chdir"),
        )
    except OSError as error:
        return ERROR, f"{name} cannot be run: {error.strerror or error}"
    for line in reading:
        printed.append(line)
        size += len(line)
        if size > PRINTED:
            return FAIL, f"{name} printed more than {PRINTED} characters"
    output = "".join(printed)
    last = process.tail(output, 5)[-500:]
    if reading.late:
        return FAIL, f"{name} did not end within {options['timeout']:g} s" + (f": {last}" if last else "")
    if reading.rc not in options["rc"]:
        return FAIL, f"{name} ended with {reading.rc}" + (f": {last}" if last else "")
    if options.get("stdout_matches") and not re.search(options["stdout_matches"], output, re.M):
        return FAIL, f"{options['stdout_matches']!r} does not match what {name} printed: {last}"
    return PASS, f"{name} ended with {reading.rc}"


def docker(options: Mapping[str, Any]) -> Tuple[str, str]:
    argv = ["docker"] + (["--host", options["docker_host"]] if options.get("docker_host") else [])
    try:
        names = [options["container"]] if options.get("container") else []
        if not names:
            found = process.run(
                [
                    *argv,
                    "ps",
                    "--all",
                    "--quiet",
                    "--filter",
                    f"label=com.docker.compose.project={options['project']}",
                    "--filter",
                    f"label=com.docker.compose.service={options['service']}",
                ],
                options["timeout"],
            )
            if found.rc:
                return ERROR, f"docker: {found.output[-300:]}"
            names = found.stdout.split()
            if not names:
                return FAIL, f"{options['service']} of {options['project']} has no container"
        shown = process.run([*argv, "inspect", "--type", "container", *names], options["timeout"])
        containers = json.loads(shown.stdout or "[]")
    except subprocess.TimeoutExpired:
        return ERROR, f"docker did not answer within {options['timeout']:g} s"
    except (OSError, ValueError) as error:
        return ERROR, f"docker cannot be asked: {error}"
    if shown.rc:
        absent = "No such" in shown.stderr
        return (FAIL if absent else ERROR), shown.stderr.strip().splitlines()[0] if shown.stderr else "docker failed"
    verdicts = [container(one) for one in containers]
    verdict = worst(one for one, _reason in verdicts)
    return verdict, "; ".join(reason for one, reason in verdicts if one == verdict)


def container(shown: Mapping[str, Any]) -> Tuple[str, str]:
    """How one container stands, from what ``docker inspect`` says."""
    name = str(shown.get("Name") or "?").lstrip("/")
    state = shown.get("State") or {}
    if state.get("Restarting") or state.get("Status") != "running":
        oom = ", out of memory" if state.get("OOMKilled") else ""
        return FAIL, f"{name} is {state.get('Status')} (exit code {state.get('ExitCode')}{oom})"
    health = state.get("Health") or {}
    if not health or health.get("Status") == "none":
        return PASS, f"{name} runs (it has no health check)"
    if health.get("Status") == "healthy":
        return PASS, f"{name} is healthy"
    log = health.get("Log") or [{}]
    said = str(log[-1].get("Output") or "").strip()[-200:]
    return FAIL, f"{name} is {health.get('Status')}" + (f": {said}" if said else "")


def kubernetes(options: Mapping[str, Any]) -> Tuple[str, str]:
    # Whether a workload is healthy is decided in one place only.
    from ..rollout.run import rollout

    try:
        result = rollout(
            {
                "target": "kubernetes",
                "state": "observed",
                "preflight": False,
                "kubeconfig": options.get("kubeconfig"),
                "context": options.get("context"),
                "namespace": options.get("namespace"),
                "services": [{"name": options["workload"], "kind": options["kind"], "workload": options["workload"]}],
            }
        )
    except OpsError as error:
        return ERROR, error.cause
    found = result["services"][0]
    cause = (found.get("cause") or {}).get("text") or found.get("detail") or ""
    if found["outcome"] == "healthy":
        return PASS, found.get("detail") or "healthy"
    return FAIL, f"{found['outcome']}: {cause}" if cause else found["outcome"]


SIMPLE: Dict[str, Callable[[Mapping[str, Any]], Tuple[str, str]]] = {
    "tcp": tcp,
    "tls": tls,
    "command": command,
    "docker": docker,
    "kubernetes": kubernetes,
    "logs": logs.check,
}


def probe(kind: str, options: Mapping[str, Any], since: Optional[float] = None) -> Sample:
    """One attempt. :raises MissingLibrary: this host lacks what the check needs."""
    begun = time.monotonic()
    try:
        if kind == "http":
            return web.check(options)
        if kind == "prometheus":
            return prometheus.check(options, since)
        if kind == "postgres":
            return database.check(options)
        verdict, reason = SIMPLE[kind](options)
    except MissingLibrary:
        raise
    except Exception as error:
        # A defect of a probe must not look like health.
        verdict, reason = ERROR, f"the check itself failed: {type(error).__name__}: {error}"
    return Sample(verdict, reason, seconds=round(time.monotonic() - begun, 4))


__all__ = ["NO_DATA", "Probe", "probe"]
