"""An API server in memory, with a Deployment controller: enough of Kubernetes to run the module against.

What a pod does is in its image's tag: ``good...`` is ready, ``missing`` cannot be pulled, ``crash`` ends, ``unready``
never is ready.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMESPACE = "shop"
KINDS = {
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "replicasets": "ReplicaSet",
    "controllerrevisions": "ControllerRevision",
    "pods": "Pod",
    "events": "Event",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "serviceaccounts": "ServiceAccount",
    "resourcequotas": "ResourceQuota",
    "limitranges": "LimitRange",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "poddisruptionbudgets": "PodDisruptionBudget",
}


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """Everything the API server knows; use it as a context manager."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.moved = threading.Condition(self.lock)
        self.version = 100
        self.objects: dict[str, dict[str, dict]] = {plural: {} for plural in KINDS}
        self.history: list[tuple[int, str, str, dict]] = []  # version, plural, type, object
        self.compacted = 0
        self.forbidden: set[tuple[str, str]] = set()
        self.faults: list[str] = []  # what the next patches are refused with, by status 500
        self.requests: list[tuple[str, str]] = []
        self.refuse_pods = ""  # what a quota says
        self.delay = 0.05
        self.frozen = False
        self.no_previous_logs = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.ended = threading.Event()

    def __enter__(self) -> Cluster:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=self._control, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self, folder) -> str:
        file = folder / "kubeconfig"
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
                    "users": [{"name": "it", "user": {"token": "t"}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": NAMESPACE}}],
                }
            )
        )
        return str(file)

    # Objects.

    def put(self, plural: str, thing: dict, what: str = "") -> dict:
        with self.lock:
            self.version += 1
            name = thing["metadata"]["name"]
            known = self.objects[plural].get(name)
            thing = copy.deepcopy(thing)
            thing["metadata"].setdefault("uid", f"{plural}-{name}-{self.version}")
            thing["metadata"]["resourceVersion"] = str(self.version)
            self.objects[plural][name] = thing
            self.history.append((self.version, plural, what or ("MODIFIED" if known else "ADDED"), thing))
            self.moved.notify_all()
            return thing

    def drop(self, plural: str, name: str) -> None:
        with self.lock:
            thing = self.objects[plural].pop(name, None)
            if thing:
                self.version += 1
                thing = copy.deepcopy(thing)
                thing["metadata"]["resourceVersion"] = str(self.version)
                self.history.append((self.version, plural, "DELETED", thing))
                self.moved.notify_all()

    def compact(self) -> None:
        """Forgets the history, as etcd does: watches from before are told 410."""
        with self.lock:
            self.version += 1
            self.compacted = self.version
            self.history.clear()
            self.moved.notify_all()

    def deployment(self, name: str, tag: str = "good1", replicas: int = 2, **spec: Any) -> None:
        template = {
            "metadata": {"labels": {"app": "same"}},
            "spec": {"containers": [{"name": name, "image": f"shop/{name}:{tag}"}, *spec.pop("beside", [])]},
        }
        template["spec"].update(spec.pop("pod", {}))
        self.put(
            "deployments",
            {
                "metadata": {"name": name, "generation": 1},
                "spec": {"replicas": replicas, "template": template, **spec},
                "status": {},
            },
        )
        self.settle()

    def settle(self) -> None:
        """Waits until the controllers have nothing left to do for good deployments."""
        for _ in range(400):
            with self.lock:
                if all(
                    (one["status"] or {}).get("availableReplicas", 0) >= one["spec"]["replicas"]
                    for one in self.objects["deployments"].values()
                    if ":good" in one["spec"]["template"]["spec"]["containers"][0]["image"]
                ):
                    return
            time.sleep(0.02)

    def image(self, name: str, plural: str = "deployments") -> str:
        return self.objects[plural][name]["spec"]["template"]["spec"]["containers"][0]["image"]

    def annotations(self, name: str) -> dict[str, str]:
        return self.objects["deployments"][name]["metadata"].get("annotations") or {}

    # Controllers.

    def _control(self) -> None:
        while not self.ended.wait(self.delay):
            with self.lock:
                if not self.frozen:
                    for name in list(self.objects["deployments"]):
                        self._deployment(self.objects["deployments"][name])

    def _deployment(self, thing: dict) -> None:
        metadata, spec = thing["metadata"], thing["spec"]
        mine = [one for one in self.objects["replicasets"].values() if _owner(one) == metadata["uid"]]
        current = next((one for one in mine if one["spec"]["template"] == spec["template"]), None)
        numbers = [int(one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for one in mine]
        revision = str(max([0, *numbers]) + (current is None))
        if (
            current is not None
            and metadata.get("annotations", {}).get("deployment.kubernetes.io/revision")
            != (current["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
        ):
            revision = str(max(numbers) + 1)
        elif current is not None:
            revision = current["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
        annotations = {**(metadata.get("annotations") or {}), "deployment.kubernetes.io/revision": revision}
        if current is None or current["metadata"]["annotations"] != annotations:
            name = current["metadata"]["name"] if current else f"{metadata['name']}-{self.version}"
            base = current or {"metadata": {"name": name, "ownerReferences": _owned(metadata["uid"], "Deployment")}}
            base = copy.deepcopy(base)
            base["metadata"]["annotations"] = annotations
            base["spec"] = {"replicas": spec["replicas"], "template": spec["template"]}
            current = self.put("replicasets", base)
        uid = current["metadata"]["uid"]
        pods = [one for one in self.objects["pods"].values() if _owner(one) == uid]
        condition: list[dict] = []
        if len(pods) < spec["replicas"]:
            if self.refuse_pods and ":good1" not in spec["template"]["spec"]["containers"][0]["image"]:
                condition = [
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": self.refuse_pods}
                ]
            else:
                self._pod(current, spec["template"])
        elif len(pods) > spec["replicas"]:
            self.drop("pods", pods[0]["metadata"]["name"])
        if current.get("status", {}).get("conditions", []) != condition:
            current = self.put("replicasets", {**current, "status": {"conditions": condition}})
        pods = [one for one in self.objects["pods"].values() if _owner(one) == uid]
        ready = sum(bool(_ready(pod)) for pod in pods)
        others = [
            pod
            for one in mine
            if one["metadata"]["uid"] != uid
            for pod in self.objects["pods"].values()
            if _owner(pod) == one["metadata"]["uid"]
        ]
        if ready >= spec["replicas"]:
            for pod in others:
                self.drop("pods", pod["metadata"]["name"])
            others = []
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods) + len(others),
            "updatedReplicas": len(pods),
            "availableReplicas": ready + sum(bool(_ready(pod)) for pod in others),
        }
        if thing["status"] != status or (metadata.get("annotations") or {}) != annotations:
            self.put("deployments", {**thing, "metadata": {**metadata, "annotations": annotations}, "status": status})

    def _pod(self, owner: dict, template: dict) -> None:
        name = f"{owner['metadata']['name']}-{self.version}"
        container = template["spec"]["containers"][0]
        tag = container["image"].rpartition(":")[2]
        status: dict[str, Any] = {"name": container["name"], "image": container["image"], "restartCount": 0}
        event = None
        if tag.startswith("good"):
            status.update(ready=True, state={"running": {}})
        elif tag == "missing":
            status.update(state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})
            event = ("Failed", f'Failed to pull image "{container["image"]}": manifest unknown: manifest unknown')
        elif tag == "crash":
            status.update(
                restartCount=2,
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 3, "reason": "Error"}},
            )
        else:
            status.update(state={"running": {}})
            event = ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
        pod = self.put(
            "pods",
            {
                "metadata": {"name": name, "ownerReferences": _owned(owner["metadata"]["uid"], "ReplicaSet")},
                "spec": template["spec"],
                "status": {
                    "conditions": [{"type": "Ready", "status": "True" if status.get("ready") else "False"}],
                    "containerStatuses": [status],
                },
            },
        )
        if event:
            self.put(
                "events",
                {
                    "metadata": {"name": f"{name}.1"},
                    "type": "Warning",
                    "reason": event[0],
                    "message": event[1],
                    "involvedObject": {"uid": pod["metadata"]["uid"], "kind": "Pod", "name": name},
                },
            )

    # HTTP.

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                try:
                    answer = cluster.answer(self, body)
                except Refused as refused:
                    self.reply(refused.status, {"kind": "Status", "message": str(refused), "code": refused.status})
                    return
                if answer is not None:
                    self.reply(200, answer)

            do_GET = do_PATCH = do_DELETE = _do

            def reply(self, status: int, answer: Any) -> None:
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler

    def answer(self, handler: Any, body: Any) -> Any:
        url = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        if parts == ["apis", "policy"]:
            return {"preferredVersion": {"groupVersion": "policy/v1"}}
        _, _, (plural, *rest) = parts[: parts.index("namespaces")], NAMESPACE, parts[parts.index("namespaces") + 2 :]
        name = rest[0] if rest else ""
        verb = {"PATCH": "patch", "DELETE": "delete"}.get(handler.command) or (
            "watch" if query.get("watch") else "get" if name else "list"
        )
        with self.lock:
            self.requests.append((verb, plural))
            if (verb, plural) in self.forbidden:
                raise Refused(403, f'{plural} is forbidden: User "it" cannot {verb} resource "{plural}"')
        if verb == "watch":
            self._watch(handler, plural, int(query["resourceVersion"]))
            return None
        with self.lock:
            if verb == "list":
                wanted = query.get("fieldSelector", "").partition("=")[2]
                items = [one for key, one in self.objects[plural].items() if wanted in ("", key)]
                return {"items": copy.deepcopy(items), "metadata": {"resourceVersion": str(self.version)}}
            if name not in self.objects[plural]:
                raise Refused(404, f'{plural} "{name}" not found')
            if rest[1:] == ["log"]:
                if self.no_previous_logs and query.get("previous") == "true":
                    return "unable to retrieve container logs for docker://1"
                return "starting\npassword=hunter22\nno database\n"
            if verb == "delete":
                self.drop(plural, name)
                return {}
            if verb == "patch":
                if self.faults:
                    raise Refused(500, self.faults.pop(0))
                return self._patch(plural, name, body, "dryRun" in query)
            return copy.deepcopy(self.objects[plural][name])

    def _patch(self, plural: str, name: str, operations: list[dict], dry_run: bool) -> dict:
        thing = copy.deepcopy(self.objects[plural][name])
        spec = json.dumps(thing["spec"])
        for one in operations:
            *path, last = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
            where: Any = thing
            for part in path:
                where = where[int(part)] if isinstance(where, list) else where[part]
            key = int(last) if isinstance(where, list) else last
            if one["op"] == "test":
                if where[key] != one["value"]:
                    raise Refused(422, "the server rejected our request due to an error in our request")
            elif one["op"] == "remove":
                del where[key]
            else:
                where[key] = one["value"]
        if dry_run:
            return thing
        if json.dumps(thing["spec"]) != spec:
            thing["metadata"]["generation"] += 1
        return copy.deepcopy(self.put(plural, thing))

    def _watch(self, handler: Any, plural: str, since: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()

        def send(what: str, thing: dict) -> None:
            data = json.dumps({"type": what, "object": thing}).encode() + b"\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            handler.wfile.flush()

        while not self.ended.is_set():
            with self.lock:
                gone = since < self.compacted
                news = [one for one in self.history if one[0] > since and one[1] == plural]
                if not news and not gone:
                    self.moved.wait(0.2)
            try:
                if gone:
                    send("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
                    break
                for version, _, what, thing in news:
                    since = version
                    send(what, thing)
            except OSError:
                return
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.wfile.write(b"0\r\n\r\n")


def _owned(uid: str, kind: str) -> list[dict]:
    return [{"uid": uid, "kind": kind, "controller": True}]


def _owner(thing: dict) -> str:
    return next((one["uid"] for one in thing["metadata"].get("ownerReferences") or ()), "")


def _ready(pod: dict) -> bool:
    return pod["status"]["conditions"][0]["status"] == "True"
