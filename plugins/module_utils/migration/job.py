# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The Kubernetes Job that runs one command of a migration tool: made from a workload's own pod template. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

Json = Dict[str, Any]

LABEL = "eazepay.ops/migration"
# What a pod needs to run where the workload's pods run, and as them. Not what makes it one of them: labels, ports.
POD = (
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostNetwork",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "securityContext",
    "serviceAccountName",
    "tolerations",
    "volumes",
)
CONTAINER = ("env", "envFrom", "imagePullPolicy", "resources", "securityContext", "volumeMounts", "workingDir")
# Failed Jobs are kept for so long, by clusters that clean up.
KEEP = 7 * 86400


def name_of(service: str, token: str) -> str:
    """A name that Kubernetes takes, and that no other run has."""
    return f"{slug(service)}-migration-{token}"


def slug(service: str) -> str:
    """The service's name as a label's value. Several services may share it."""
    return re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:40].rstrip("-") or "service"


def container_of(template: Json, names: Sequence[str]) -> Optional[Json]:
    """The container whose environment the migration gets: the first that is named so, or the only one."""
    containers: List[Json] = template["spec"]["containers"]
    for name in names:
        for container in containers:
            if container["name"] == name:
                return container
    return containers[0] if len(containers) == 1 else None


def manifest(
    name: str,
    service: str,
    template: Json,
    container: Json,
    image: str,
    argv: Sequence[str],
    folder: Optional[str],
    variables: Mapping[str, str],
    timeout: float,
) -> Json:
    """The Job. Secrets are not in it: the values of ``variables`` come from the Secret of the same name.

    It is never tried again, and its pod ends by itself a while after ``timeout``, should nobody be there to end it.
    """
    given = [{"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in sorted(variables)]
    own = {key: container[key] for key in CONTAINER if key in container}
    # Ours stand first: what refers to them finds them.
    own["env"] = given + [one for one in own.get("env") or [] if one["name"] not in variables]
    if folder:
        own["workingDir"] = folder
    labels = {"app.kubernetes.io/managed-by": "eazepay.ops", LABEL: name.rpartition("-migration-")[0]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "annotations": {LABEL: service}},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEEP,
            "template": {
                # A mesh's proxy would go on after the migration, and the Job would never end.
                "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {
                    **{key: template["spec"][key] for key in POD if key in template["spec"]},
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": int(timeout) + 60,
                    "containers": [{**own, "name": "migration", "image": image, "command": list(argv)}],
                },
            },
        },
    }


def ended(pod: Mapping[str, Any]) -> Optional[Json]:
    """How the pod's container ended: ``exitCode``, ``reason``; None while it has not."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        found: Optional[Json] = (container.get("state") or {}).get("terminated")
        if found:
            return found
    if status.get("phase") == "Failed":
        return {"exitCode": 1, "reason": status.get("reason") or "Failed"}
    return None


def started(pod: Mapping[str, Any]) -> bool:
    return any(
        "running" in (container.get("state") or {})
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )


def condition(job: Mapping[str, Any]) -> str:
    """Why the Job itself failed; empty while it has not."""
    for one in (job.get("status") or {}).get("conditions") or ():
        if one.get("type") == "Failed" and one.get("status") == "True":
            return f"{one.get('reason') or 'Failed'}: {one.get('message') or ''}".rstrip(": ")
    return ""


def finished(job: Mapping[str, Any]) -> bool:
    return any(
        one.get("type") in ("Complete", "Failed") and one.get("status") == "True"
        for one in (job.get("status") or {}).get("conditions") or ()
    )
