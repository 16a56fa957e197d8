# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A switch that is the selector of Services: while maintenance is on, they lead to a maintenance backend.

The lease and the original selector stand in an annotation of each Service, so whoever finds it can put it back.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from ..common.errors import OpsError
from ..common.process import detach
from ..kubernetes.api import PODS, SERVICES, Api, ApiError
from .file_switch import Unknown

ANNOTATION = "ops-maintenance/lease"
POINTER = "/metadata/annotations/" + ANNOTATION.replace("~", "~0").replace("/", "~1")


def switched(service: Dict[str, Any], backend: Dict[str, str], lease: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The JSON patch that leads a Service to the backend, or renews the lease of one that is led there. Pure."""
    metadata = service["metadata"]
    annotations = metadata.get("annotations")
    held = json.loads((annotations or {}).get(ANNOTATION, "{}"))
    kept = held.get("selector", service["spec"].get("selector"))
    body = {"lease": lease, "selector": kept, "annotated": held.get("annotated", annotations is not None)}
    value = json.dumps(body, sort_keys=True)
    patch: List[Dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
    ]
    if annotations is None:
        patch.append({"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: value}})
    else:
        patch.append({"op": "add", "path": POINTER, "value": value})
    patch.append({"op": "add", "path": "/spec/selector", "value": backend})
    return patch


def unchanged(metadata: Dict[str, Any]) -> Dict[str, Any]:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}


def restored(service: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The JSON patch that puts a Service back as it was. Pure."""
    metadata = service["metadata"]
    held = json.loads(metadata["annotations"][ANNOTATION])
    bare = not held["annotated"] and set(metadata["annotations"]) == {ANNOTATION}
    return [
        unchanged(metadata),
        {"op": "remove", "path": "/metadata/annotations" if bare else POINTER},
        {"op": "add", "path": "/spec/selector", "value": held["selector"]},
    ]


def lift_when_over(connect: Callable[[], Api], names: List[str]) -> None:
    """Puts each Service back when its lease is over, and ends when none is left. Nobody is there to hear of errors."""
    api: Optional[Api] = None
    while True:
        left = []
        for name in names:
            try:
                api = api or connect()
                service = api.get(SERVICES, name)
                annotations = service["metadata"].get("annotations") or {}
                if ANNOTATION not in annotations:
                    continue
                left.append(json.loads(annotations[ANNOTATION])["lease"]["expires"] - time.time())
                if left[-1] <= 0:
                    api.patch(SERVICES, name, restored(service))
            except Exception as error:
                if isinstance(error, ApiError) and error.status == 404:
                    continue
                # Also what lets us in may have been renewed meanwhile.
                left.append(5)
                api = None
        if not left:
            return
        time.sleep(max(0.2, min(5, *left, 5)))


class ServiceSwitch:
    """Services of a namespace.

    :param connect: makes an Api of that namespace; the process that lifts the maintenance makes one of its own.
    :param backend: the selector of the maintenance backend's pods.
    """

    def __init__(self, connect: Callable[[], Api], services: List[str], backend: Dict[str, str]) -> None:
        self.connect = connect
        self.api = connect()
        self.services = services
        self.backend = backend
        self.where = f"{self.api.namespace}/{', '.join(services)}"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Each patch demands the version that was read, so nothing has to be locked."""
        yield

    def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self.api, operation)(*arguments, **options)
        except ApiError as error:
            remedy = (
                "Check the names, the namespace and the rights on Services; then run again."
                if error.status
                else "Check kubeconfig and the API server."
            )
            raise OpsError("switch", self.where, error.message, remedy) from error

    def get(self, name: str) -> Dict[str, Any]:
        found: Dict[str, Any] = self.call("get", SERVICES, name)
        return found

    def read(self) -> Optional[Dict[str, Any]]:
        """The lease of the first Service that has one; a run that died may have left others without."""
        for name in self.services:
            annotations = self.get(name)["metadata"].get("annotations") or {}
            if ANNOTATION in annotations:
                try:
                    lease: Dict[str, Any] = json.loads(annotations[ANNOTATION])["lease"]
                    return lease
                except (ValueError, KeyError, TypeError) as error:
                    raise Unknown(f"the annotation {ANNOTATION} of {name} cannot be read") from error
        return None

    def on(self, lease: Dict[str, Any]) -> None:
        self.demand_backend()
        found = [self.get(name) for name in self.services]
        for service in found:
            if not service["spec"].get("selector"):
                name = service["metadata"]["name"]
                raise OpsError("switch", f"{self.api.namespace}/{name}", "it has no selector", "Nothing was touched.")
        for name, service in zip(self.services, found):
            self.call("patch", SERVICES, name, switched(service, self.backend, lease))
        detach(lambda: lift_when_over(self.connect, self.services))

    def demand_backend(self) -> None:
        """Nobody is led to where nothing answers."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(self.backend.items()))
        pods, _version = self.call("list", PODS, labels=selector)
        for pod in pods:
            conditions = pod.get("status", {}).get("conditions") or []
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                return
        raise OpsError(
            "switch",
            self.where,
            f"no ready pod of the maintenance backend ({selector}) is in the namespace",
            "Deploy the backend first. Nothing was touched.",
        )

    def off(self) -> None:
        for name in self.services:
            service = self.get(name)
            if ANNOTATION in (service["metadata"].get("annotations") or {}):
                self.call("patch", SERVICES, name, restored(service))
