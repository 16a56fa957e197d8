# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the containers of some pods have written, as lines with the time of each."""

from __future__ import annotations

import time
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from ..common.errors import OpsError
from ..kubernetes.api import NO_LOG, PODS, Api, ApiError

Json = Mapping[str, Any]


def sources(pod: Json) -> List[Tuple[str, bool]]:
    """The logs that a pod has: (container, whether of the one before its restart), the oldest first."""
    found = []
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        if "terminated" in (one.get("lastState") or {}):
            found.append((one["name"], True))
        state = one.get("state") or {}
        if "running" in state or "terminated" in state:
            found.append((one["name"], False))
    return found


def ending(pod: Json) -> bool:
    """Whether its logs may be gone at any moment: then those of the pod that takes its place are what counts."""
    status = pod.get("status") or {}
    return bool(pod["metadata"].get("deletionTimestamp")) or status.get("phase") in ("Succeeded", "Failed")


def lines(options: Json) -> Iterator[str]:
    """All lines since ``since``, pod after pod.

    :param options: ``selector``, ``namespace``, ``kubeconfig``, ``context``, ``since``, as in ``logs.pods`` of a check.
    :raises OpsError: a log that must be there cannot be read. That of a pod which is ending need not be there, nor that
        of a container from before its restart: kubelets remove both.
    """
    api = Api(options.get("kubeconfig") or None, options.get("context") or None, options.get("namespace"))
    selector = options["selector"]
    try:
        pods, _version = api.list(PODS, labels=selector)
    except ApiError as error:
        raise OpsError(
            "list the pods of", selector, f"the pods of {selector} cannot be listed: {error.message}"
        ) from None
    if not pods:
        raise OpsError("find a pod of", selector, f"namespace {api.namespace} has no pod of {selector}")
    for pod in pods:
        for container, previous in sources(pod):
            try:
                yield from _log(api, pod["metadata"]["name"], container, previous, options.get("since"))
            except ApiError as error:
                if not previous and not _gone(api, pod, container):
                    which = f"{pod['metadata']['name']}/{container}"
                    cause = f"the log of {which} cannot be read: {error.message}"
                    raise OpsError("read the log of", which, cause) from None


def _log(api: Api, pod: str, container: str, previous: bool, since: Any) -> Iterator[str]:
    query: Dict[str, Any] = {"container": container, "timestamps": "true", "previous": str(previous).lower()}
    if since:
        query["sinceTime"] = since
    for line in api.lines(PODS.url(api.namespace, pod, "log"), query):
        text = line.decode("utf-8", "replace")
        if text.startswith(NO_LOG):
            raise ApiError(404, text.strip())
        yield text


def _gone(api: Api, pod: Json, container: str) -> bool:
    """Whether the log could not be read because the container has ended since the pods were listed."""
    deadline = time.monotonic() + 5
    while True:
        try:
            now = api.get(PODS, pod["metadata"]["name"])
        except ApiError as error:
            return error.status == 404
        if ending(now) or now["metadata"]["uid"] != pod["metadata"]["uid"] or (container, False) not in sources(now):
            return True
        # Its kubelet knows that a container has ended before it tells the API server.
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
