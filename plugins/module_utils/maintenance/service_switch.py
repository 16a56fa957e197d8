# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A switch that is the selector of Services: while maintenance is on, they lead to a maintenance backend.

The lease and the original selector stand in an annotation of each Service, so whoever finds it can put it back.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, Dict, Iterator, List, Optional

from ..common.errors import OpsError
from .file_switch import Unknown, start

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


# Runs on its own once the module has ended; it looks at the annotations, and ends when none is left.
WATCHDOG = r"""
import json, sys, time
from kubernetes import client, config

given = json.load(sys.stdin)
api = client.CoreV1Api(config.new_client_from_config(given["kubeconfig"] or None, given["context"] or None))
while True:
    left = []
    for name in given["services"]:
        try:
            service = json.loads(api.read_namespaced_service(name, given["namespace"], _preload_content=False).data)
            metadata = service["metadata"]
            annotations = metadata.get("annotations") or {}
            if given["annotation"] not in annotations:
                continue
            held = json.loads(annotations[given["annotation"]])
            left.append(held["lease"]["expires"] - time.time())
            if left[-1] <= 0:
                bare = not held["annotated"] and len(annotations) == 1
                api.patch_namespaced_service(name, given["namespace"], [
                    {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
                    {"op": "remove", "path": "/metadata/annotations" if bare else given["pointer"]},
                    {"op": "add", "path": "/spec/selector", "value": held["selector"]},
                ])
        except client.exceptions.ApiException as error:
            if error.status != 404:
                left.append(5)
        except Exception:
            left.append(5)
    if not left:
        sys.exit()
    time.sleep(max(0.2, min(5, *left, 5)))
"""


class ServiceSwitch:
    """Services of a namespace.

    :param api: a CoreV1Api.
    :param backend: the selector of the maintenance backend's pods.
    """

    def __init__(
        self, api: Any, namespace: str, services: List[str], backend: Dict[str, str], access: Dict[str, Any]
    ) -> None:
        self.api = api
        self.namespace = namespace
        self.services = services
        self.backend = backend
        self.access = access
        self.where = f"{namespace}/{', '.join(services)}"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Each patch demands the version that was read, so nothing has to be locked."""
        yield

    def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            found = getattr(self.api, operation)(*arguments, _preload_content=False, **options)
            return json.loads(found.data)
        except ApiException as error:
            said = f"the API server answers {error.status} {error.reason}"
            with contextlib.suppress(ValueError, TypeError):
                said = json.loads(error.body or "").get("message", said)
            remedy = "Check the names, the namespace and the rights on Services; then run again."
            raise OpsError("switch", self.where, said, remedy) from error
        except HTTPError as error:
            raise OpsError("switch", self.where, str(error), "Check kubeconfig and the API server.") from error

    def get(self, name: str) -> Dict[str, Any]:
        found: Dict[str, Any] = self.call("read_namespaced_service", name, self.namespace)
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
                raise OpsError("switch", f"{self.namespace}/{name}", "it has no selector", "Nothing was touched.")
        for name, service in zip(self.services, found):
            self.call("patch_namespaced_service", name, self.namespace, switched(service, self.backend, lease))
        given = {**self.access, "namespace": self.namespace, "services": self.services}
        start([sys.executable, "-c", WATCHDOG], json.dumps({**given, "annotation": ANNOTATION, "pointer": POINTER}))

    def demand_backend(self) -> None:
        """Nobody is led to where nothing answers."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(self.backend.items()))
        pods = self.call("list_namespaced_pod", self.namespace, label_selector=selector).get("items", [])
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
                self.call("patch_namespaced_service", name, self.namespace, restored(service))
