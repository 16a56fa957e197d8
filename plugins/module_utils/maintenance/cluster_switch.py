# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A switch that is where Services and Ingresses lead: while maintenance is on, to a maintenance backend.

The lease and what stood there before are an annotation of each object, so whoever finds it can put it back.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional

from ..common.errors import OpsError
from ..common.process import detach
from ..kubernetes.api import ENDPOINTS, PODS, SERVICES, Api, ApiError, Resource
from .file_switch import Unknown

ANNOTATION = "ops-maintenance/lease"
POINTER = "/metadata/annotations/" + ANNOTATION.replace("~", "~0").replace("/", "~1")


class Led(NamedTuple):
    """What is led away, and to where: for a Service the labels of pods, for an Ingress its ``backend``."""

    resource: Resource
    name: str
    backend: Dict[str, Any]


def elsewhere(led: Led, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """The parts of the spec that lead users, as they lead them to the backend. Empty when it leads nobody. Pure."""
    if led.resource is SERVICES:
        return {"selector": led.backend} if spec.get("selector") else {}
    found: Dict[str, Any] = {"defaultBackend": led.backend} if spec.get("defaultBackend") else {}
    rules = [aside(rule, led.backend) for rule in spec.get("rules") or ()]
    return {**found, "rules": rules} if any(rule.get("http") for rule in rules) else found


def aside(rule: Dict[str, Any], backend: Dict[str, Any]) -> Dict[str, Any]:
    """A rule of an Ingress with all its paths led to the backend; one without paths leads to the default backend."""
    if not rule.get("http"):
        return rule
    return {**rule, "http": {**rule["http"], "paths": [{**path, "backend": backend} for path in rule["http"]["paths"]]}}


def switched(led: Led, thing: Mapping[str, Any], lease: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The JSON patch that leads users to the backend, or renews the lease of one that leads them there. Pure."""
    metadata, spec = thing["metadata"], thing["spec"]
    annotations = metadata.get("annotations")
    held = json.loads((annotations or {}).get(ANNOTATION, "{}"))
    new = elsewhere(led, spec)
    body = {
        "lease": lease,
        "spec": held.get("spec", {part: spec[part] for part in new}),
        "annotated": held.get("annotated", annotations is not None),
    }
    value = json.dumps(body, sort_keys=True)
    return [
        unchanged(metadata),
        {"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: value}}
        if annotations is None
        else {"op": "add", "path": POINTER, "value": value},
        *({"op": "add", "path": f"/spec/{part}", "value": what} for part, what in new.items()),
    ]


def unchanged(metadata: Mapping[str, Any]) -> Dict[str, Any]:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}


def restored(thing: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The JSON patch that puts an object back as it was. Pure."""
    metadata = thing["metadata"]
    held = json.loads(metadata["annotations"][ANNOTATION])
    bare = not held["annotated"] and set(metadata["annotations"]) == {ANNOTATION}
    return [
        unchanged(metadata),
        {"op": "remove", "path": "/metadata/annotations" if bare else POINTER},
        *({"op": "add", "path": f"/spec/{part}", "value": what} for part, what in held["spec"].items()),
    ]


def lift_when_over(connect: Callable[[], Api], all_led: List[Led]) -> None:
    """Puts each back when its lease is over, and ends when none is left. Nobody is there to hear of errors."""
    api: Optional[Api] = None
    while True:
        left = []
        for led in all_led:
            try:
                api = api or connect()
                thing = api.get(led.resource, led.name)
                annotations = thing["metadata"].get("annotations") or {}
                if ANNOTATION not in annotations:
                    continue
                left.append(json.loads(annotations[ANNOTATION])["lease"]["expires"] - time.time())
                if left[-1] <= 0:
                    api.patch(led.resource, led.name, restored(thing))
            except Exception as error:
                if isinstance(error, ApiError) and error.status == 404:
                    continue
                # Also what lets us in may have been renewed meanwhile.
                left.append(5)
                api = None
        if not left:
            return
        time.sleep(max(0.2, min(5, *left, 5)))


class ClusterSwitch:
    """Services and Ingresses of a namespace.

    :param connect: makes an Api of that namespace; the process that lifts the maintenance makes one of its own.
    """

    def __init__(self, connect: Callable[[], Api], all_led: List[Led]) -> None:
        self.connect = connect
        self.api = connect()
        self.all_led = all_led
        self.where = f"{self.api.namespace}/{', '.join(led.name for led in all_led)}"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Each patch demands the version that was read, so nothing has to be locked."""
        yield

    def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self.api, operation)(*arguments, **options)
        except ApiError as error:
            remedy = "Check kubeconfig and the API server."
            if error.status:
                remedy = "Check the names, the namespace and the rights on Services and Ingresses; then run again."
            raise OpsError("switch", self.where, error.message, remedy) from error

    def get(self, led: Led) -> Dict[str, Any]:
        found: Dict[str, Any] = self.call("get", led.resource, led.name)
        return found

    def read(self) -> Optional[Dict[str, Any]]:
        """The lease of the first that has one; a run that died may have left others without."""
        for led in self.all_led:
            annotations = self.get(led)["metadata"].get("annotations") or {}
            if ANNOTATION in annotations:
                try:
                    lease: Dict[str, Any] = json.loads(annotations[ANNOTATION])["lease"]
                    return lease
                except (ValueError, KeyError, TypeError) as error:
                    raise Unknown(f"the annotation {ANNOTATION} of {led.name} cannot be read") from error
        return None

    def on(self, lease: Dict[str, Any]) -> None:
        self.demand_backends()
        found = [self.get(led) for led in self.all_led]
        for led, thing in zip(self.all_led, found):
            if not elsewhere(led, thing["spec"]):
                what = "has no selector" if led.resource is SERVICES else "has neither rules nor a default backend"
                raise OpsError("switch", f"{self.api.namespace}/{led.name}", f"it {what}", "Nothing was touched.")
        for led, thing in zip(self.all_led, found):
            self.call("patch", led.resource, led.name, switched(led, thing, lease))
        detach(lambda: lift_when_over(self.connect, self.all_led))

    def demand_backends(self) -> None:
        """Nobody is led to where nothing answers."""
        asked: List[Dict[str, Any]] = []
        for led in self.all_led:
            if led.backend in asked:
                continue
            asked.append(led.backend)
            missing = self.unready(led)
            if missing:
                cause = f"no ready pod of the maintenance backend ({missing}) is in the namespace"
                raise OpsError("switch", self.where, cause, "Deploy the backend first. Nothing was touched.")

    def unready(self, led: Led) -> str:
        """What of a backend is not ready; empty when it is."""
        if led.resource is not SERVICES:
            name = str(led.backend["service"]["name"])
            subsets = self.call("get", ENDPOINTS, name).get("subsets") or []
            return "" if any(one.get("addresses") for one in subsets) else f"Service {name}"
        selector = ",".join(f"{key}={value}" for key, value in sorted(led.backend.items()))
        for pod in self.call("list", PODS, labels=selector)[0]:
            conditions = pod.get("status", {}).get("conditions") or []
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                return ""
        return selector

    def off(self) -> None:
        for led in self.all_led:
            thing = self.get(led)
            if ANNOTATION in (thing["metadata"].get("annotations") or {}):
                self.call("patch", led.resource, led.name, restored(thing))
