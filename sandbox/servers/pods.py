"""Tells Prometheus which pods to scrape, for Debian builds it without Kubernetes' own discovery.

GET / lists the running pods of a namespace whose label `app` ends in -service, in the form of http_sd_configs.
Usage: python -m sandbox.servers.pods PORT KUBECONFIG NAMESPACE METRICS_PORT
"""

from __future__ import annotations

import sys
from typing import Any

from sandbox.servers.web import Handler, serve


def targets(pods: list[dict[str, Any]], port: int) -> list[dict[str, Any]]:
    """A group of one target for each pod that runs and is not about to end."""
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port}"],
            "labels": {"service": app, "pod": pod["metadata"]["name"], "target": "kubernetes"},
        }
        for pod in pods
        if (app := (pod["metadata"].get("labels") or {}).get("app", "")).endswith("-service")
        and pod["status"].get("phase") == "Running"
        and pod["status"].get("podIP")
        and not pod["metadata"].get("deletionTimestamp")
    ]


def main() -> None:
    from kubernetes import client, config

    port, kubeconfig, namespace, metrics = sys.argv[1:]
    core = client.CoreV1Api(config.new_client_from_config(config_file=kubeconfig))

    class Pods(Handler):
        def do_GET(self) -> None:
            found = core.list_namespaced_pod(namespace, _request_timeout=5)
            self.answer(200, targets(core.api_client.sanitize_for_serialization(found)["items"], int(metrics)))

    serve(Pods, int(port))


if __name__ == "__main__":
    main()
