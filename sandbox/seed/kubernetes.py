"""The company on Kubernetes: namespace `eazepay`."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.box import Box, SandboxError, await_ready, step
from sandbox.seed.compose import release_of
from sandbox.seed.images import SERVICES

NAMESPACE = "eazepay"
FIRST_FILES = ("namespace.yaml",)
LAST_FILES = ("edge.yaml",)  # its pods learn the Services' addresses when they start


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """Replaces the ${NAME}s that are in `values`; every other dollar stays, as manifests hold shell and nginx text."""
    return re.sub(r"\$\{(\w+)\}", lambda match: values.get(match.group(1), match.group(0)), text)


def manifests(folder: Path, values: Mapping[str, str]) -> list[dict[str, Any]]:
    import yaml

    names = sorted(path.name for path in folder.glob("*.yaml") if path.name not in (*FIRST_FILES, *LAST_FILES))
    found: list[dict[str, Any]] = []
    for name in (*FIRST_FILES, *names, *LAST_FILES):
        found += [one for one in yaml.safe_load_all(fill_in((folder / name).read_text(), values)) if one]
    # Services first: a pod's environment holds only those that are there when it starts.
    order = {"Namespace": 0, "ConfigMap": 1, "Secret": 1, "Service": 2}
    return sorted(found, key=lambda one: order.get(one["kind"], 3))


class Kubernetes:
    def __init__(self, box: Box):
        self.box = box
        self.env = box.read_env()

    def check(self) -> None:
        if not self.env.get("KUBECONFIG"):
            raise SandboxError("no cluster is up. Run `python -m sandbox up kubernetes` first.")

    def client(self) -> Any:
        from kubernetes import config, dynamic

        return dynamic.DynamicClient(config.new_client_from_config(config_file=self.env["KUBECONFIG"]))

    def deployments(self, client: Any) -> list[Any]:
        api = client.resources.get(api_version="apps/v1", kind="Deployment")
        return list(api.get(namespace=NAMESPACE).items)

    def versions(self) -> dict[str, str]:
        """What is asked for: release by short name."""
        found = {}
        for one in self.deployments(self.client()):
            if one.metadata.name.endswith("-service"):
                image = one.spec.template.spec.containers[0].image
                found[one.metadata.name.removesuffix("-service")] = release_of(image)
        return found

    def start(self, release_folder: Path, release: str, reset: bool = False) -> None:
        client = self.client()
        wanted = {f"{name}-service" for name in SERVICES} | {"edge", "maintenance"}
        there = {one.metadata.name for one in self.deployments(client)}
        if wanted <= there and not reset:
            await_ready(lambda: self.settled(client), 300, f"namespace {NAMESPACE}")
            return
        values = {**self.env, "RELEASE": release}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db", "namespace": NAMESPACE},
            "data": {"password": base64.b64encode(self.env["PGPASSWORD"].encode()).decode()},
        }
        with step("seed", f"{release} on Kubernetes: {len(wanted)} deployments"):
            objects = manifests(release_folder / "kubernetes", values)
            for one in [objects[0], secret, *objects[1:]]:
                provide(client, one, overwrite=reset)
            await_ready(lambda: self.settled(client), 300, f"namespace {NAMESPACE}")

    def settled(self, client: Any) -> bool:
        """Whether every deployment has what it asks for; the exception names one that has not."""
        for one in self.deployments(client):
            status, replicas = one.status, one.spec.replicas
            done = (status.observedGeneration or 0) >= one.metadata.generation and (
                status.updatedReplicas or 0,
                status.replicas or 0,
                status.availableReplicas or 0,
            ) == (replicas, replicas, replicas)
            if not done:
                raise SandboxError(f"{one.metadata.name}: {status.availableReplicas or 0} of {replicas} available")
        return True


def provide(client: Any, wanted: dict[str, Any], overwrite: bool) -> None:
    """Creates an object; one that is there is left alone, or made what is wanted."""
    from kubernetes.dynamic.exceptions import NotFoundError

    api = client.resources.get(api_version=wanted["apiVersion"], kind=wanted["kind"])
    place = {"name": wanted["metadata"]["name"], "namespace": wanted["metadata"].get("namespace")}
    # Asked first: a Service whose node port is taken, by itself, is refused as invalid and not as a conflict.
    try:
        there = api.get(**place).to_dict()
    except NotFoundError:
        api.create(body=wanted, namespace=place["namespace"])
        return
    if overwrite and wanted["kind"] == "Deployment":
        # Whole, as a rollout may have left what a merge would keep.
        metadata = dict(wanted["metadata"], resourceVersion=there["metadata"]["resourceVersion"])
        api.replace(body=dict(wanted, metadata=metadata), **place)
    elif overwrite:
        api.patch(body=wanted, content_type="application/merge-patch+json", **place)
