# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Runs a migration tool as a Kubernetes Job of the release's image, with the environment that the workload has."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from typing import Any, Dict, List, Optional, Tuple

from ..common.errors import InputError, OpsError
from ..common.process import Finished
from ..kubernetes.api import EVENTS, PODS, SECRETS, WORKLOADS, Api, ApiError, Resource
from ..rollout.cause import pod_cause
from . import job as jobs

JOBS = Resource("/apis/batch/v1", "jobs", "Job")
# Seconds: between two looks, and for a pod to start.
PAUSE, START = 0.5, 300.0
# Bytes of logs that are read at most.
LOGS = 4 << 20


class Kubernetes:
    """One command is one Job: removed when it succeeds, kept when it fails."""

    def __init__(self, service: Dict[str, Any], params: Dict[str, Any]) -> None:
        self.service = service["name"]
        self.folder = service["chdir"]
        self.timeout = params["timeout"]
        self.left = ""
        self.api = Api(params["kubeconfig"], params["context"], params["namespace"])
        kind, workload = WORKLOADS[service["kind"]], service["workload"] or service["name"]
        try:
            self.template = self.api.get(kind, workload)["spec"]["template"]
        except ApiError as error:
            raise OpsError(
                "read", f"{service['kind']} {workload} in namespace {self.api.namespace}", error.message,
                "Check workload and namespace. Nothing was touched.",
            ) from error  # fmt: skip
        names = [service["container"]] if service["container"] else [workload, service["name"]]
        container = jobs.container_of(self.template, names)
        if container is None:
            raise InputError("container", f"{workload} has several containers, and none is named {' or '.join(names)}")
        self.container = container
        self.image = service["image"] or container["image"]

    def run(self, argv: List[str], env: Dict[str, str]) -> Finished:
        """:raises subprocess.TimeoutExpired: it did not end in time; its pod was ended."""
        name = jobs.name_of(self.service, secrets.token_hex(5))
        body = jobs.manifest(
            name, self.service, self.template, self.container, self.image, argv, self.folder, env, self.timeout
        )
        made: Optional[Dict[str, Any]] = None
        over = good = False
        try:
            made = self.create(JOBS, body)
            self.create(SECRETS, self.secret(name, made, env))
            done, over = self.follow(name, argv)
            good = done.rc == 0
            return done
        except ApiError as error:
            raise OpsError("run", f"Job {name} in namespace {self.api.namespace}", error.message) from error
        finally:
            if good:
                self.delete(JOBS, name)
            elif not over:
                # Whatever happened, it must neither begin nor go on when we have said that it failed.
                self.stop(name)
            if made and not good:
                self.left = f"Job {name} is kept in namespace {self.api.namespace}."
            self.delete(SECRETS, name)

    def create(self, resource: Resource, body: Dict[str, Any]) -> Dict[str, Any]:
        try:
            found: Dict[str, Any] = self.api.json("POST", resource.url(self.api.namespace), body=body)
            return found
        except ApiError as error:
            # The answer to the first attempt was lost: nobody else knows this name.
            if error.status != 409:
                raise
            return self.api.get(resource, body["metadata"]["name"])

    def secret(self, name: str, owner: Dict[str, Any], env: Dict[str, str]) -> Dict[str, Any]:
        """The values of the variables. It goes with the Job, also when this process dies."""
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner["metadata"]["uid"]}
        labels = owner["metadata"]["labels"]
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels, "ownerReferences": [reference]},
            "stringData": env,
        }

    def follow(self, name: str, argv: List[str]) -> Tuple[Finished, bool]:
        """How the command ended, and whether it did: a pod that cannot start has not."""
        deadline = time.monotonic() + self.timeout
        patience = time.monotonic() + min(START, self.timeout)
        while True:
            pod = self.pod(name)
            end = jobs.ended(pod) if pod else None
            if pod and end:
                logs = self.logs(pod)
                reason = "" if end.get("reason") in ("Completed", "Error", None) else f"error: {end['reason']}"
                return Finished(int(end["exitCode"]), logs, reason), True
            failed = jobs.condition(self.api.get(JOBS, name))
            if failed:
                return Finished(1, "", f"error: {failed}"), True
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(argv, self.timeout)
            if not (pod and jobs.started(pod)):
                found = pod_cause(pod, self.events(pod)) if pod else None
                if found and (found.permanent or time.monotonic() >= patience):
                    return Finished(1, "", f"error: {found.cause.text}"), False
                if time.monotonic() >= patience:
                    return Finished(1, "", f"error: no pod of it started within {START:.0f} s"), False
            time.sleep(PAUSE)

    def pod(self, name: str) -> Optional[Dict[str, Any]]:
        found = self.api.json("GET", PODS.url(self.api.namespace), {"labelSelector": f"job-name={name}"})
        return max(found["items"], key=lambda one: one["metadata"]["creationTimestamp"], default=None)

    def events(self, pod: Dict[str, Any]) -> List[Dict[str, Any]]:
        try:
            found, _version = self.api.list(EVENTS, f"involvedObject.uid={pod['metadata']['uid']}")
        except ApiError:  # not everybody may read them
            return []
        return sorted(found, key=lambda one: one.get("lastTimestamp") or "")

    def logs(self, pod: Dict[str, Any]) -> str:
        path = PODS.url(self.api.namespace, pod["metadata"]["name"], "log")
        try:
            return self.api.text("GET", path, {"limitBytes": LOGS})
        except ApiError as error:
            return f"error: its logs cannot be read: {error.message}"

    def stop(self, name: str) -> None:
        """Ends the Job's pod and keeps the Job; one that has ended stays as it is, logs included."""
        with contextlib.suppress(ApiError):
            if not jobs.finished(self.api.get(JOBS, name)):
                self.api.patch(JOBS, name, [{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1}])

    def delete(self, resource: Resource, name: str) -> None:
        with contextlib.suppress(ApiError):
            self.api.json("DELETE", resource.url(self.api.namespace, name), {"propagationPolicy": "Background"})

    def busy(self) -> str:
        """:raises OpsError: that cannot be told."""
        try:
            found, _version = self.api.list(JOBS, labels=f"{jobs.LABEL}={jobs.slug(self.service)}")
        except ApiError as error:
            raise OpsError("list", f"Jobs in namespace {self.api.namespace}", error.message) from error
        working = [one for one in found if one["metadata"]["annotations"].get(jobs.LABEL) == self.service]
        names = [one["metadata"]["name"] for one in working if not jobs.finished(one)]
        return f"Job {names[0]} in namespace {self.api.namespace}" if names else ""

    def sources(self) -> Optional[List[str]]:
        return None
