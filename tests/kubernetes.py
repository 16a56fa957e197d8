"""A namespace of its own on the sandbox's cluster, and workloads whose container does what its image's version says."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.modules import finish_module, start_module

# Each container serves /version and /health on port 8080, as tests/images.py makes it; v2 may do something else.
SERVE = "exec /bin/sh /serve"


def kubectl(*words: str, given: Any = None, check: bool = True) -> str:
    """What kubectl prints; ``given`` goes to its standard input as JSON."""
    done = subprocess.run(
        ["kubectl", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        input=None if given is None else json.dumps(given),
    )
    assert done.returncode == 0 or not check, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout


def until(condition: Callable[[], Any], seconds: float = 120, what: str = "") -> Any:
    """The first true value of the condition."""
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < limit, f"not within {seconds} s: {what or condition}"
        time.sleep(0.1)


def acting(fault: str) -> list[str]:
    """The command of a container that serves, but does ``fault`` when it is v2."""
    return ["/bin/sh", "-c", f'if [ "$VERSION" = v2 ]; then {fault}; fi; {SERVE}']


def container(image: str, name: str = "app", fault: str = "", probe: dict | None = None, **more: Any) -> dict:
    """A container that is ready when it serves ``/health``.

    :param fault: shell commands in place of serving, in version v2.
    """
    return {
        "name": name,
        "image": image,
        "resources": {"requests": {"cpu": "1m"}},
        "readinessProbe": {
            "initialDelaySeconds": 1,
            "periodSeconds": 2,
            "failureThreshold": 1,
            "timeoutSeconds": 10,
            **(probe or {"httpGet": {"path": "/health", "port": 8080}}),
        },
        **({"command": acting(fault)} if fault else {}),
        **more,
    }


def template(labels: dict[str, str], containers: list[dict], **pod: Any) -> dict:
    spec = {"terminationGracePeriodSeconds": 1, "containers": containers, **pod}
    return {"metadata": {"labels": labels}, "spec": spec}


def workload(name: str, containers: list[dict], kind: str = "Deployment", pod: dict | None = None, **spec: Any) -> dict:
    """A workload with one replica, of which none may be missing."""
    labels = {"app": "shop", "name": name, **spec.pop("labels", {})}
    selector = spec.pop("selector", {"name": name})
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    usual: dict[str, dict] = {
        "Deployment": {"replicas": 1, "strategy": surge},
        "StatefulSet": {"replicas": 1, "serviceName": name},
        "DaemonSet": {},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": selector},
            "template": template(labels, containers, **(pod or {})),
            **usual[kind],
            **spec,
        },
    }


class Namespace:
    """One namespace; see :func:`namespace`."""

    def __init__(self, name: str, kubeconfig: str) -> None:
        self.name = name
        self.kubeconfig = kubeconfig

    def kubectl(self, *words: str, given: Any = None, check: bool = True) -> str:
        return kubectl("-n", self.name, *words, given=given, check=check)

    def apply(self, *objects: dict) -> None:
        self.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": list(objects)})

    def put(self, kind: str, name: str, **body: Any) -> None:
        """Applies an object of the core API."""
        self.apply({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **body})

    def get(self, what: str, name: str = "") -> dict:
        return json.loads(self.kubectl("get", what, *([name] if name else []), "-o", "json"))

    def items(self, what: str) -> list[dict]:
        return self.get(what)["items"]

    def image(self, name: str, kind: str = "deployment", index: int = 0) -> str:
        return self.get(kind, name)["spec"]["template"]["spec"]["containers"][index]["image"]

    def settled(self, *kinds: str, seconds: float = 240) -> None:
        """Waits until all workloads of these kinds are in place."""
        for kind in kinds or ("deployment",):
            for one in self.items(kind):
                self.kubectl("rollout", "status", f"{kind}/{one['metadata']['name']}", f"--timeout={seconds:.0f}s")

    def arguments(self, services: list[dict], **more: Any) -> dict[str, Any]:
        return {"kubeconfig": self.kubeconfig, "namespace": self.name, "services": services, "timeout": 120, **more}

    def start(self, services: list[dict], **more: Any) -> subprocess.Popen:
        return start_module("service_rollout", **self.arguments(services, **more))

    def rollout(self, services: list[dict], **more: Any) -> dict[str, Any]:
        """The result of the module; ``by_name`` are its services."""
        check = {"check": more.pop("check", False)}
        result = finish_module(start_module("service_rollout", **check, **self.arguments(services, **more)))
        result["by_name"] = {one["name"]: one for one in result.get("services", ())}
        return result


@contextlib.contextmanager
def namespace(env: dict[str, str]) -> Iterator[Namespace]:
    """A new namespace on the sandbox's cluster, deleted at the end."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, f"of={name}")
        yield Namespace(name, str(Path(env["KUBECONFIG"])))
    finally:
        kubectl("delete", "namespace", name, "--wait=false", check=False)
