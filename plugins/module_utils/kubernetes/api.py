# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The Kubernetes API as JSON: requests with time limits, and watches that survive what API servers do."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple
from urllib.parse import urlencode

from .access import access

JSON_PATCH = "application/json-patch+json"

# Seconds. A watch is ended by the server after WATCH; one that has said nothing for longer is taken for dead.
CONNECT, READ, WATCH = 5.0, 30.0, 60

# For how long a request is repeated, in seconds: while the API server is away, when it has never answered yet (its
# address may be wrong), and when it calls its own fault one that it does not expect to pass.
PATIENCE, FIRST, FAULT = 30.0, 3.0, 3.0

# How a kubelet answers for the log of a container that it has removed meanwhile: with status 200.
NO_LOG = "unable to retrieve container logs"


class ApiError(Exception):
    """The API server said no. ``status`` is the HTTP status, 0 when there was no answer."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason


class Resource:
    """Where a kind is served: ``path`` up to the namespace, ``plural`` after it."""

    def __init__(self, path: str, plural: str, kind: str = "") -> None:
        self.path = path
        self.plural = plural
        self.kind = kind
        self.head = {"apiVersion": path.partition("/")[2].partition("/")[2], "kind": kind}

    def url(self, namespace: str, name: str = "", sub: str = "") -> str:
        return "/".join(part for part in (self.path, "namespaces", namespace, self.plural, name, sub) if part)


DEPLOYMENTS = Resource("/apis/apps/v1", "deployments", "Deployment")
STATEFUL_SETS = Resource("/apis/apps/v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("/apis/apps/v1", "daemonsets", "DaemonSet")
REPLICA_SETS = Resource("/apis/apps/v1", "replicasets", "ReplicaSet")
CONTROLLER_REVISIONS = Resource("/apis/apps/v1", "controllerrevisions", "ControllerRevision")
PODS = Resource("/api/v1", "pods", "Pod")
EVENTS = Resource("/api/v1", "events", "Event")
SECRETS = Resource("/api/v1", "secrets", "Secret")
SERVICES = Resource("/api/v1", "services", "Service")
ENDPOINTS = Resource("/api/v1", "endpoints", "Endpoints")
INGRESSES = Resource("/apis/networking.k8s.io/v1", "ingresses", "Ingress")
CONFIG_MAPS = Resource("/api/v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNTS = Resource("/api/v1", "serviceaccounts", "ServiceAccount")
CLAIMS = Resource("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim")
QUOTAS = Resource("/api/v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGES = Resource("/api/v1", "limitranges", "LimitRange")
WORKLOADS = {one.kind: one for one in (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS)}


class Api:
    """One API server and one namespace, by the credentials of a kubeconfig or of the pod this runs in.

    :raises OpsError: the kubeconfig cannot be used.
    :raises MissingLibrary: the Python client is not installed.
    """

    def __init__(self, kubeconfig: Optional[str], context: Optional[str], namespace: Optional[str]) -> None:
        self.access = access(kubeconfig, context)
        self.namespace = namespace or self.access.namespace or "default"
        self.requests = 0
        self.answered = False

    def _open(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        content_type: str = "application/json",
        read: float = READ,
    ) -> Any:
        import urllib3

        headers = {"Accept": "application/json", "User-Agent": "eazepay.ops", **self.access.headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self.access.host}{path}" + (f"?{urlencode(query)}" if query else "")
        self.requests += 1
        try:
            return self.access.pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body),
                headers=headers,
                preload_content=False,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT, read=read),
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, f"{self.access.host} does not answer: {error}") from None

    def text(
        self, method: str, path: str, query: Optional[Mapping[str, Any]] = None, body: Any = None, **more: Any
    ) -> str:
        """One request and its answer.

        Repeated while the server is away, which is safe: reads are, and every write has a precondition.

        :raises ApiError: an answer other than 2xx, or none for as long as :func:`patience` says.
        """
        import urllib3

        began = time.monotonic()
        pause = 0.1
        while True:
            try:
                response = self._open(method, path, query, body, **more)
                self.answered = True
                try:
                    data = response.read().decode("utf-8", "replace")
                except urllib3.exceptions.HTTPError as broken:
                    raise ApiError(0, f"{self.access.host} broke off: {broken}") from None
                finally:
                    response.release_conn()
                if 200 <= response.status < 300:
                    return data
                error = _refusal(response.status, data)
            except ApiError as unanswered:
                error = unanswered
            if time.monotonic() - began >= patience(error, self.answered):
                raise error
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def json(
        self, method: str, path: str, query: Optional[Mapping[str, Any]] = None, body: Any = None, **more: Any
    ) -> Any:
        """One request and its answer as JSON."""
        return json.loads(self.text(method, path, query, body, **more))

    def get(self, resource: Resource, name: str) -> Dict[str, Any]:
        return _with_kind(self.json("GET", resource.url(self.namespace, name)), resource)

    def create(self, resource: Resource, body: Mapping[str, Any]) -> Dict[str, Any]:
        answer = self.json("POST", resource.url(self.namespace), body={**resource.head, **body})
        return _with_kind(answer, resource)

    def replace(self, resource: Resource, name: str, body: Mapping[str, Any]) -> Dict[str, Any]:
        """A whole object anew; it should name the resourceVersion that it replaces."""
        answer = self.json("PUT", resource.url(self.namespace, name), body={**resource.head, **body})
        return _with_kind(answer, resource)

    def patch(
        self, resource: Resource, name: str, operations: List[Dict[str, Any]], dry_run: bool = False
    ) -> Dict[str, Any]:
        """A JSON patch; its first operation should be a test of the resourceVersion."""
        query = {"fieldManager": "eazepay.ops", **({"dryRun": "All"} if dry_run else {})}
        answer = self.json("PATCH", resource.url(self.namespace, name), query, operations, content_type=JSON_PATCH)
        return _with_kind(answer, resource)

    def delete(self, resource: Resource, name: str, uid: str) -> None:
        """Deletes exactly this object; one that is gone already is gone."""
        try:
            self.json(
                "DELETE",
                resource.url(self.namespace, name),
                body={"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}},
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def list(self, resource: Resource, selector: str = "", labels: str = "") -> Tuple[List[Dict[str, Any]], str]:
        """The objects of a kind, and the resourceVersion to watch from. In pages, to be kind to the server."""
        query: Dict[str, Any] = {"limit": 500}
        query.update({key: value for key, value in (("fieldSelector", selector), ("labelSelector", labels)) if value})
        items: List[Dict[str, Any]] = []
        while True:
            try:
                page = self.json("GET", resource.url(self.namespace), query)
            except ApiError as error:
                if error.status == 410 and "continue" in query:
                    # The list's pages have expired: begin again, without pages.
                    items, query = [], {key: value for key, value in query.items() if key not in ("limit", "continue")}
                    continue
                raise
            items += [slim(_with_kind(one, resource)) for one in page.get("items") or ()]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, metadata.get("resourceVersion") or ""
            query["continue"] = metadata["continue"]

    def watch(self, resource: Resource, version: str, selector: str = "") -> Iterator[Tuple[str, Dict[str, Any]]]:
        """The changes since ``version``, as (type, object), until the server ends the watch.

        :raises ApiError: 410 when the version is too old: list again.
        """
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH,
            **({"fieldSelector": selector} if selector else {}),
        }
        try:
            for line in self.lines(resource.url(self.namespace), query, read=WATCH + 15.0):
                event = json.loads(line)
                what, thing = event.get("type"), event.get("object") or {}
                if what == "ERROR":
                    raise ApiError(thing.get("code") or 0, thing.get("message") or "the watch failed")
                yield what, slim(_with_kind(thing, resource))
        except ValueError as error:
            raise ApiError(0, f"the watch broke off: {error}") from None

    def lines(self, path: str, query: Mapping[str, Any], read: float = READ) -> Iterator[bytes]:
        """The lines of an answer as they come, without those that are empty. Not repeated.

        :param read: seconds without a byte after which the server is taken for dead.
        :raises ApiError: an answer other than 200, or one that broke off.
        """
        import urllib3

        response = self._open("GET", path, query, read=read)
        try:
            if response.status != 200:
                raise _refusal(response.status, response.read().decode("utf-8", "replace"))
            yield from _lines(response)
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, f"the answer broke off: {error}") from None
        finally:
            with contextlib.suppress(Exception):
                response.close()


def patience(error: ApiError, answered: bool) -> float:
    """For how many seconds a request that failed like this is repeated."""
    if error.status == 0:
        return PATIENCE if answered else FIRST
    if error.status == 500 and "webhook" in error.message:
        # Somebody else's server; how long to wait for it, the API server has already decided.
        return 0.0
    if error.status == 500:
        return PATIENCE if "etcdserver" in error.message else FAULT
    return PATIENCE if error.status in (429, 502, 503, 504) else 0.0


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(65536, decode_content=True):
        rest += chunk
        *whole, rest = rest.split(b"\n")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def _refusal(status: int, body: str) -> ApiError:
    try:
        said = json.loads(body)
        return ApiError(status, said.get("message") or body[:400], said.get("reason") or "")
    except (ValueError, AttributeError):
        return ApiError(status, body.strip()[:400] or f"HTTP status {status}")


def _with_kind(thing: Dict[str, Any], resource: Resource) -> Dict[str, Any]:
    # The items of a list do not say what they are.
    thing.setdefault("kind", resource.kind)
    return thing


def slim(thing: Dict[str, Any]) -> Dict[str, Any]:
    """The object without the bookkeeping that makes up half of it."""
    (thing.get("metadata") or {}).pop("managedFields", None)
    return thing


class Watches:
    """Keeps lists current: one watch a kind, each in a thread of its own that only fills a queue.

    Queue entries are (resource, "LIST", objects), (resource, type, object) or (resource, "FAILED", ApiError).
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.queue: queue.Queue[Tuple[Resource, str, Any]] = queue.Queue()
        self.ended = threading.Event()

    def start(self, resource: Resource, version: str, selector: str = "") -> None:
        threading.Thread(target=self._follow, args=(resource, version, selector), daemon=True).start()

    def close(self) -> None:
        self.ended.set()

    def _follow(self, resource: Resource, version: str, selector: str) -> None:
        pause = 0.1
        while not self.ended.is_set():
            try:
                if not version:
                    items, version = self.api.list(resource, selector)
                    self.queue.put((resource, "LIST", items))
                for what, thing in self.api.watch(resource, version, selector):
                    if self.ended.is_set():
                        return
                    version = (thing.get("metadata") or {}).get("resourceVersion") or version
                    pause = 0.1
                    if what != "BOOKMARK":
                        self.queue.put((resource, what, thing))
            except ApiError as error:
                if error.status in (401, 403, 404):
                    self.queue.put((resource, "FAILED", error))
                    return
                if error.status == 410:
                    version = ""
                # Away, restarting or overloaded: it will be back, and the rollout has a time-out of its own.
                self.ended.wait(pause)
                pause = min(pause * 2, 2.0)
            except Exception as error:
                self.queue.put((resource, "FAILED", ApiError(0, f"{type(error).__name__}: {error}")))
                return
