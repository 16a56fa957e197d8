# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The Kubernetes driver: Deployments, StatefulSets and DaemonSets, seen through one list and watch a kind."""

from __future__ import annotations

import copy
import hashlib
import json
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError

from ..kubernetes.api import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    WORKLOADS,
    Api,
    ApiError,
    Resource,
    Watches,
)
from . import preflight as checks
from .engine import GRACES
from .types import NONE, Driver, Plan, Problem, Revision, Service, State, Step, Verdict
from .verdict import REVISION, Seen, broken_pods, complete, judge, newest_revision, observed, plain_template

RELEASE = "eazepay.ops/release"
RECORD = "eazepay.ops/rollout"
TOKEN = "eazepay.ops/restart-token"  # noqa: S105
CAUSE = "kubernetes.io/change-cause"

# How a kubelet answers for the log of a container that it has removed meanwhile: with status 200.
NO_LOG = "unable to retrieve container logs"

# All annotations of an object together may have 256 KiB.
LARGEST_RECORD = 150_000
ATTEMPTS = 8

Json = Dict[str, Any]


class Kubernetes(Driver):
    """Services on one cluster, in one namespace."""

    at_once = 4

    def __init__(self, api: Api, max_parallel: int = 0, patient: bool = False) -> None:
        self.api = api
        self.max_parallel = max_parallel
        self.patient = patient
        self.watches = Watches(api)
        self.services: Dict[str, Service] = {}
        self.asked: Dict[Tuple[str, str], str] = {}  # services by kind and workload
        self.uids: Dict[str, str] = {}  # of workloads, to the service's name
        self.uid_of: Dict[str, str] = {}  # and back
        self.objects: Dict[str, Dict[str, Json]] = {}  # by plural, by uid
        self.by_owner: Dict[str, Dict[str, Set[str]]] = {}  # by plural, by the owner's uid
        self.events: Dict[str, List[Json]] = {}  # by the uid of what they are about
        self.event_marks: Dict[str, int] = {}  # how many events about a workload are from before this rollout
        self.applied: Dict[str, str] = {}  # the hash of the template that stands because of us
        self.intended: Dict[str, str] = {}  # the hash of the template that was to stand
        self.returning: Set[str] = set()
        self.stuck: Dict[str, Set[str]] = {}  # the uids of pods that were broken before a StatefulSet was patched
        self.versions: Dict[str, str] = {}  # to watch from, by plural
        self.watching = False

    # Looking.

    def observe(self, services: Iterable[Service]) -> Dict[str, State]:
        self.services = {service.name: service for service in services}
        self.asked = {(service.kind, service.workload): service.name for service in self.services.values()}
        self.versions.clear()
        kinds = sorted({service.kind for service in self.services.values()})
        self._know(*(WORKLOADS[kind] for kind in kinds), *([CONTROLLER_REVISIONS] if kinds != ["Deployment"] else []))
        return {service.name: self._state(service) for service in self.services.values()}

    def _know(self, *resources: Resource) -> None:
        """Lists each kind once, all at the same time; watches go on from there."""
        new = [one for one in resources if one.plural not in self.versions]
        if not new:
            return
        with ThreadPoolExecutor(max_workers=len(new)) as pool:
            answers = list(pool.map(lambda one: self._list(one, self._selector(one)), new))
        for resource, (items, version) in zip(new, answers):
            self._replace(resource, items)
            self.versions[resource.plural] = version

    def _selector(self, resource: Resource) -> str:
        names = [service.workload for service in self.services.values() if service.kind == resource.kind]
        return f"metadata.name={names[0]}" if len(names) == 1 else ""

    def _list(self, resource: Resource, selector: str) -> Tuple[List[Json], str]:
        try:
            return self.api.list(resource, selector)
        except ApiError as error:
            raise self._error("list", resource, error) from None

    def _error(self, verb: str, resource: Resource, error: ApiError, name: str = "") -> OpsError:
        what = f"{resource.kind.lower()}/{name}" if name else resource.plural
        remedy = ""
        if error.status in (401, 403):
            remedy = f"Allow the verb {verb} on {resource.plural} in namespace {self.api.namespace}."
        elif error.status == 0:
            remedy = "Is the API server up, and kubeconfig and context right?"
        return OpsError(verb, f"{what} in namespace {self.api.namespace}", error.message, remedy)

    def watch(self) -> None:
        if self.watching:
            return
        self.watching = True
        kinds = {service.kind for service in self.services.values()}
        resources = [WORKLOADS[kind] for kind in sorted(kinds)]
        if "Deployment" in kinds:
            resources.append(REPLICA_SETS)
        if kinds & {"StatefulSet", "DaemonSet"}:
            resources.append(CONTROLLER_REVISIONS)
        resources += [EVENTS, PODS]
        self._know(*resources)
        for resource in resources:
            self.watches.start(resource, self.versions[resource.plural], self._selector(resource))

    def _workload(self, name: str) -> Optional[Json]:
        uid = self.uid_of.get(name, "")
        return self.objects.get(WORKLOADS[self.services[name].kind].plural, {}).get(uid)

    def _state(self, service: Service) -> State:
        thing = self._workload(service.name)
        if thing is None:
            return State(
                service.name, exists=False, problem=f"there is no such workload in namespace {self.api.namespace}"
            )
        template = thing["spec"]["template"]
        main, images = containers(template)
        record = read_record(thing)
        before = record.get("before") or {}
        open_ = record.get("state") == "open" and record.get("to") == fingerprint(template) and before.get("template")
        dummy, unfinished_images = containers(before.get("template") or {}) if open_ else ((), {})
        return State(
            name=service.name,
            images=images,
            main=main,
            revision=self.revision(service.name),
            release=annotation(thing, RELEASE),
            restart_token=annotation(template, TOKEN) or None,
            replicas=thing["spec"].get("replicas"),
            paused=bool(thing["spec"].get("paused")),
            settled=complete(thing),
            snapshot=snapshot(thing),
            unfinished=before if open_ else None,
            unfinished_images=unfinished_images,
            unfinished_release=before.get("release") or "" if open_ else "",
            problem=checks.immovable(thing),
        )

    def history(self, service: Service) -> List[Revision]:
        thing = self._workload(service.name)
        if thing is None:
            return []
        self._know(REPLICA_SETS if service.kind == "Deployment" else CONTROLLER_REVISIONS)
        now = fingerprint(thing["spec"]["template"])
        found: List[Tuple[int, Revision]] = []
        for one in self._owned(thing):
            template = one["spec"]["template"] if service.kind == "Deployment" else one["data"]["spec"]["template"]
            template = dict(plain_template(template))
            number = int(annotation(one, REVISION) or 0) if service.kind == "Deployment" else int(one["revision"])
            back: Json = {
                "template": template,
                "release": "" if never_proved(one) else annotation(one, RELEASE),
                "cause": annotation(one, CAUSE),
            }
            revision = Revision(
                str(number), containers(template)[1], back["release"], back, fingerprint(template) == now
            )
            found.append((number, revision))
        return [revision for dummy, revision in sorted(found, key=lambda pair: -pair[0])]

    def _owned(self, thing: Json) -> List[Json]:
        plural = (REPLICA_SETS if thing["kind"] == "Deployment" else CONTROLLER_REVISIONS).plural
        return self._children(plural, thing["metadata"]["uid"])

    def _children(self, plural: str, uid: str) -> List[Json]:
        known = self.objects.get(plural, {})
        return [known[one] for one in sorted(self.by_owner.get(plural, {}).get(uid, ())) if one in known]

    def seen(self, name: str) -> Optional[Seen]:
        """Everything that is known of a service's workload."""
        thing = self._workload(name)
        if thing is None:
            return None
        uid = thing["metadata"]["uid"]
        owned = self._owned(thing)
        pods = self._children(PODS.plural, uid)
        if thing["kind"] == "Deployment":
            pods = [pod for one in owned for pod in self._children(PODS.plural, one["metadata"]["uid"])]
        events = {
            one["metadata"]["uid"]: self.events.get(one["metadata"]["uid"], [])[
                self.event_marks.get(one["metadata"]["uid"], 0) :
            ]
            for one in [thing, *owned, *pods]
        }
        return Seen(thing, owned, pods, events)

    # Keeping what is seen.

    def _replace(self, resource: Resource, items: List[Json]) -> Set[str]:
        before = set(self.objects.get(resource.plural, {}))
        touched: Set[str] = set()
        if resource is not EVENTS:
            self.objects.setdefault(resource.plural, {})
            for uid in before - {item["metadata"]["uid"] for item in items}:
                touched |= self._take(resource, "DELETED", self.objects[resource.plural][uid])
        for item in items:
            touched |= self._take(resource, "MODIFIED", item)
        return touched

    def _take(self, resource: Resource, what: str, thing: Json) -> Set[str]:
        """Notes a change; the names of the services that it may matter to."""
        metadata = thing["metadata"]
        uid = metadata["uid"]
        if resource is EVENTS:
            about = (thing.get("involvedObject") or {}).get("uid") or ""
            if what != "DELETED":
                kept = self.events.setdefault(about, [])
                # A repeated event is the same object with a higher count: it moves to the end.
                for index, one in enumerate(kept):
                    if one["metadata"]["uid"] == uid:
                        if one["metadata"].get("resourceVersion") == metadata.get("resourceVersion"):
                            return set()
                        del kept[index]
                        if index < self.event_marks.get(about, 0):
                            self.event_marks[about] -= 1
                        break
                kept.append(thing)
            return self._name_of(about)
        store = self.objects.setdefault(resource.plural, {})
        owner = next((one["uid"] for one in metadata.get("ownerReferences") or () if one.get("controller")), "")
        if what == "DELETED":
            store.pop(uid, None)
            self.by_owner.setdefault(resource.plural, {}).setdefault(owner, set()).discard(uid)
            names = self._name_of(uid) or self._name_of(owner)
            self.events.pop(uid, None)
            return names
        known = store.get(uid)
        if known is not None and older(metadata, known["metadata"]):
            return set()
        if resource is PODS:
            remember_pull(known, thing)
        store[uid] = thing
        if owner:
            self.by_owner.setdefault(resource.plural, {}).setdefault(owner, set()).add(uid)
        elif resource.kind in WORKLOADS:
            name = self.asked.get((resource.kind, metadata["name"]))
            if name is not None:
                self.uids[uid], self.uid_of[name] = name, uid
        return self._name_of(uid)

    def _name_of(self, uid: str) -> Set[str]:
        for dummy in range(4):
            if uid in self.uids:
                return {self.uids[uid]}
            thing = next((kind[uid] for kind in self.objects.values() if uid in kind), None)
            if thing is None:
                return set()
            uid = next(
                (one["uid"] for one in thing["metadata"].get("ownerReferences") or () if one.get("controller")), ""
            )
        return set()

    def changes(self, timeout: float) -> Set[str]:
        names: Set[str] = set()
        wait = timeout
        if not self.watching:
            self.watch()
            # The first lists are news about everybody.
            names, wait = set(self.services), 0
        while True:
            try:
                resource, what, thing = (
                    self.watches.queue.get(timeout=wait) if wait else self.watches.queue.get_nowait()
                )
            except queue.Empty:
                break
            if what == "FAILED":
                raise self._error("watch", resource, thing)
            names |= self._replace(resource, thing) if what == "LIST" else self._take(resource, what, thing)
            # Whatever else has come already belongs to the same look.
            wait = 0
        self._unstick()
        return names

    def judge(self, name: str) -> Verdict:
        seen = self.seen(name)
        if seen is None:
            return Verdict("failed", checks.gone(self.services[name]))
        return judge(seen)

    def revision(self, name: str) -> str:
        thing = self._workload(name)
        if thing is None or not observed(thing):
            return ""
        if thing["kind"] == "Deployment":
            return annotation(thing, REVISION)
        owned = self._owned(thing)
        if thing["kind"] == "StatefulSet":
            current = (thing.get("status") or {}).get("updateRevision")
            return next((str(one["revision"]) for one in owned if one["metadata"]["name"] == current), "")
        return str(max((one["revision"] for one in owned), default=""))

    # Acting.

    def diff(self, step: Step) -> Tuple[Any, Any]:
        before: Json = {"images": dict(step.before.images)}
        after: Json = {"images": dict(step.images)}
        for side, token, release in (
            (before, step.before.restart_token, step.before.release),
            (after, step.restart_token, step.release or step.before.release),
        ):
            if token:
                side["restart_token"] = token
            if release:
                side["release"] = release
        return before, after

    def ready(self) -> None:
        # What may not be watched must not be rolled.
        self.watch()

    def preflight(self, plan: Plan) -> List[Problem]:
        acting = [step for step in plan.steps if step.acts]
        return checks.preflight(
            self.api,
            [(step, self._template(step), self._workload(step.name)) for step in acting],
            # Whoever gives refusals a longer grace lets services wait for each other's room.
            [] if self.patient else checks.together(plan, self.max_parallel),
        )

    def validate(self, step: Step) -> Optional[str]:
        thing = self._workload(step.name)
        if thing is None or not step.acts:
            return None
        operations = self._operations(thing, self._template(step), self._annotations(step, thing))
        try:
            self.api.patch(WORKLOADS[step.service.kind], step.service.workload, operations, dry_run=True)
        except ApiError as error:
            if conflicting(error) or "does not support dry run" in error.message:
                # Its status has moved since it was read, or a webhook only judges in earnest: nothing against it.
                return None
            return self._error("patch", WORKLOADS[step.service.kind], error, step.service.workload).message
        return None

    def _template(self, step: Step) -> Json:
        """The pod template that the step brings about."""
        thing = self._workload(step.name) or {}
        if step.target is not None:
            return copy.deepcopy(dict(step.target["template"]))
        template = copy.deepcopy(thing["spec"]["template"])
        for group in ("initContainers", "containers"):
            for container in template["spec"].get(group) or ():
                container["image"] = step.images.get(container["name"], container["image"])
        if step.restart_token and step.restart_token != annotation(template, TOKEN):
            metadata = template.setdefault("metadata", {})
            metadata["annotations"] = {**(metadata.get("annotations") or {}), TOKEN: step.restart_token}
        return template

    def _annotations(self, step: Step, thing: Json) -> Dict[str, Optional[str]]:
        wanted: Dict[str, Optional[str]] = {
            RECORD: write_record("open", step.release, self._template(step), step.back),
            CAUSE: f"eazepay.ops: {f'release {step.release}, ' if step.release else ''}{step.reason}",
        }
        if step.release:
            wanted[RELEASE] = step.release
        return wanted

    def _operations(self, thing: Json, template: Json, annotations: Mapping[str, Optional[str]]) -> List[Json]:
        """A JSON patch from the object as it was read; it fails when the object has changed since."""
        operations: List[Json] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": thing["metadata"]["resourceVersion"]}
        ]
        now = thing["spec"]["template"]
        if fingerprint(now) != fingerprint(template):
            operations += template_operations(now, template)
        has = thing["metadata"].get("annotations")
        if has is None and any(value is not None for value in annotations.values()):
            operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        for key, value in annotations.items():
            path = f"/metadata/annotations/{pointer(key)}"
            if value is not None and (has or {}).get(key) != value:
                operations.append({"op": "add", "path": path, "value": value})
            elif value is None and key in (has or {}):
                operations.append({"op": "remove", "path": path})
        return operations

    def _write(
        self, step: Step, verb: str, template: Callable[[Json], Json], annotations: Callable[[Json], Mapping[str, Any]]
    ) -> bool:
        """Patches the workload, again when only its status (or an autoscaler's replicas) moved meanwhile.

        Refuses when the template is no longer the one that the decision was made on.
        """
        resource, workload = WORKLOADS[step.service.kind], step.service.workload
        thing = self._workload(step.name)
        if thing is None:
            raise OpsError(verb, step.service.object, "it is gone")
        expected = {
            self.applied.get(step.name) or fingerprint(step.before.snapshot["template"]),
            # A signal may come between a patch and its answer.
            self.intended.get(step.name, ""),
        }
        for attempt in range(ATTEMPTS):
            wanted = template(thing)
            standing = fingerprint(thing["spec"]["template"])
            if standing not in expected and standing != fingerprint(wanted):
                raise OpsError(
                    verb,
                    step.service.object,
                    "somebody else has changed its template since",
                    "Nothing of theirs was overwritten.",
                )
            operations = self._operations(thing, wanted, annotations(thing))
            if len(operations) == 1:
                self.applied[step.name] = standing
                return False
            try:
                answer = self.api.patch(resource, workload, operations)
            except ApiError as error:
                if not conflicting(error) or attempt + 1 == ATTEMPTS:
                    raise self._error("patch", resource, error, workload) from None
                try:
                    thing = self.api.get(resource, workload)
                except ApiError as unread:
                    raise self._error("get", resource, unread, workload) from None
                continue
            self.applied[step.name] = fingerprint(answer["spec"]["template"])
            self._take(resource, "MODIFIED", answer)
            return True
        raise OpsError(verb, step.service.object, "it keeps changing while it is patched")

    def apply(self, step: Step) -> bool:
        self.watch()
        self.returning.discard(step.name)
        self.intended[step.name] = fingerprint(self._template(step))
        self._mark_events(step.name)
        self._note_stuck(step)
        written = self._write(
            step, "roll out", lambda thing: self._template(step), lambda thing: self._annotations(step, thing)
        )
        self._unstick()
        return written

    def adopt(self, step: Step) -> None:
        self.watch()
        # Of somebody else's rollout no pod is deleted.
        if step.back is not None:
            self._note_stuck(step)
            self._unstick()

    def _note_stuck(self, step: Step) -> None:
        seen = self.seen(step.name)
        if seen is not None and step.service.kind == "StatefulSet":
            self.stuck[step.name] = {pod["metadata"]["uid"] for pod in broken_pods(seen, "")}

    def put_back(self, step: Step) -> bool:
        self.watch()
        back = step.back
        self._mark_events(step.name)
        written = self._write(
            step,
            "put back",
            lambda thing: dict(back["template"]),
            lambda thing: {
                RECORD: write_record("put back", step.release, back["template"], None),
                RELEASE: back.get("release") or None,
                CAUSE: back.get("cause") or None,
            },
        )
        if step.service.kind == "StatefulSet":
            self.returning.add(step.name)
            self._unstick()
        return written

    def finish(self, step: Step) -> None:
        def annotations(thing: Json) -> Mapping[str, Any]:
            wanted = {RECORD: write_record("done", step.release, thing["spec"]["template"], None)}
            return {**wanted, RELEASE: step.release} if step.release else wanted

        if step.service.name not in self.applied and step.action == NONE:
            return
        self._write(step, "record the release of", lambda thing: thing["spec"]["template"], annotations)

    def _mark_events(self, name: str) -> None:
        """What was said about the workload itself until now is about the template before."""
        seen = self.seen(name)
        if seen is not None:
            for one in [seen.workload, *seen.owned]:
                uid = one["metadata"]["uid"]
                self.event_marks[uid] = len(self.events.get(uid, ()))

    def _unstick(self) -> None:
        """Deletes the broken pod that keeps a StatefulSet from replacing it (kubernetes#67250).

        On the way forward only a pod that was broken before: one that breaks later may come right again.
        """
        for name in [*self.returning, *(one for one in self.stuck if one not in self.returning)]:
            seen = self.seen(name)
            if seen is None:
                continue
            workload = seen.workload
            revision = (workload.get("status") or {}).get("updateRevision") or ""
            if not observed(workload):
                continue
            for pod in broken_pods(seen, revision):
                if name not in self.returning and pod["metadata"]["uid"] not in self.stuck[name]:
                    continue
                try:
                    self.api.delete(PODS, pod["metadata"]["name"], pod["metadata"]["uid"])
                except ApiError as error:
                    raise self._error("delete", PODS, error, pod["metadata"]["name"]) from None
                pod["metadata"].setdefault("deletionTimestamp", "now")

    # Telling.

    def evidence(self, name: str) -> Dict[str, Any]:
        seen = self.seen(name)
        if seen is None:
            return {"events": [], "logs": []}
        told: List[Tuple[str, str]] = []
        for one in [seen.workload, *seen.owned, *seen.pods]:
            for event in seen.about(one):
                if event.get("type") == "Warning":
                    at = event.get("lastTimestamp") or event.get("eventTime") or ""
                    count = event.get("count") or 1
                    text = f"{one['kind']} {one['metadata']['name']}: {event.get('reason')}: {event.get('message', '')}"
                    told.append((str(at), f"{text}{f' (x{count})' if count > 1 else ''}"))
        events = [text for dummy, text in sorted(told)][-12:]
        return {"events": events, "logs": self._logs(seen)}

    def _logs(self, seen: Seen) -> List[Dict[str, str]]:
        logs: List[Dict[str, str]] = []
        for pod, container, previous in log_sources(seen)[:4]:
            text = self._log(pod, container, previous)
            if previous and text.startswith(NO_LOG):
                # That one is gone already; what came after it has most likely said the same.
                text = self._log(pod, container, False)
            if text.strip():
                which = f"{pod}/{container}{' before its restart' if previous else ''}"
                logs.append({"container": which, "text": text.strip()[-4000:]})
        return logs

    def _log(self, pod: str, container: str, previous: bool) -> str:
        query = {"container": container, "tailLines": 20, "limitBytes": 16384, "previous": str(previous).lower()}
        try:
            return self.api.text("GET", PODS.url(self.api.namespace, pod, "log"), query)
        except ApiError as error:
            return f"(no log: {error.message})"

    def close(self) -> None:
        self.watches.close()


def connect(params: Mapping[str, Any]) -> Kubernetes:
    """The driver for a module's parameters ``kubeconfig``, ``context`` and ``namespace``."""
    return Kubernetes(
        Api(params.get("kubeconfig"), params.get("context"), params.get("namespace")),
        int(params.get("max_parallel") or 0),
        float((params.get("graces") or {}).get("refused", 0)) > (GRACES["refused"] or 0),
    )


def containers(template: Mapping[str, Any]) -> Tuple[Tuple[str, ...], Dict[str, str]]:
    """The names of the containers that are no init containers, and every container's image."""
    spec = template.get("spec") or {}
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return tuple(one["name"] for one in spec.get("containers") or ()), {one["name"]: one["image"] for one in every}


def annotation(thing: Mapping[str, Any], key: str) -> str:
    return ((thing.get("metadata") or {}).get("annotations") or {}).get(key) or ""


def snapshot(thing: Json) -> Json:
    """What is needed to come back to this."""
    return {
        "template": copy.deepcopy(dict(plain_template(thing["spec"]["template"]))),
        "release": annotation(thing, RELEASE),
        "cause": annotation(thing, CAUSE),
    }


def fingerprint(template: Mapping[str, Any]) -> str:
    text = json.dumps(plain_template(template), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def write_record(state: str, release: str, template: Mapping[str, Any], before: Optional[Json]) -> str:
    """The annotation by which the next run takes up where this one stopped."""
    record: Json = {"state": state, "release": release, "to": fingerprint(template)}
    if before is not None:
        record["before"] = before
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    if len(text) > LARGEST_RECORD:
        del record["before"]
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return text


def read_record(thing: Mapping[str, Any]) -> Json:
    try:
        record = json.loads(annotation(thing, RECORD) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def never_proved(revision: Mapping[str, Any]) -> bool:
    """Whether this revision's rollout never ended well, so that it is not what was released under its name.

    Only ReplicaSets can tell: ControllerRevisions keep the annotations of the moment they were made.
    """
    return revision.get("kind") == "ReplicaSet" and read_record(revision).get("state") == "open"


def conflicting(error: ApiError) -> bool:
    """Whether a patch failed for its test of the resourceVersion: the server's words do not say so, a 422 must do."""
    return error.status == 409 or (error.status == 422 and "is invalid" not in error.message)


def pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def template_operations(now: Json, after: Json) -> List[Json]:
    """The smallest patch when only images and the restart token differ, so that nothing else changes its manager."""
    operations: List[Json] = []
    copied = copy.deepcopy(now)
    for group in ("initContainers", "containers"):
        wanted = {one["name"]: one.get("image") for one in (after.get("spec") or {}).get(group) or ()}
        for index, one in enumerate(copied["spec"].get(group) or ()):
            image = wanted.get(one["name"])
            if image is not None and image != one.get("image"):
                one["image"] = image
                operations.append(
                    {"op": "replace", "path": f"/spec/template/spec/{group}/{index}/image", "value": image}
                )
    token = annotation(after, TOKEN)
    if token and token != annotation(now, TOKEN):
        metadata = copied.setdefault("metadata", {})
        if not metadata.get("annotations"):
            operations.append({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), TOKEN: token}
        operations.append(
            {"op": "add", "path": f"/spec/template/metadata/annotations/{pointer(TOKEN)}", "value": token}
        )
    if fingerprint(copied) == fingerprint(after):
        return operations
    return [{"op": "replace", "path": "/spec/template", "value": dict(after)}]


def older(new: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a watch brings what a patch's answer has overtaken."""
    try:
        return int(new.get("resourceVersion") or 0) < int(known.get("resourceVersion") or 0)
    except ValueError:
        return False


def remember_pull(before: Optional[Json], now: Json) -> None:
    """Keeps the first words about an image that cannot be pulled: the back-off that follows has none."""
    first: Dict[str, str] = {}
    for pod in (before, now):
        for key in ("initContainerStatuses", "containerStatuses"):
            for one in ((pod or {}).get("status") or {}).get(key) or ():
                waiting = (one.get("state") or {}).get("waiting") or {}
                if one.get("firstMessage"):
                    first.setdefault(one["name"], one["firstMessage"])
                elif waiting.get("reason") == "ErrImagePull" and waiting.get("message"):
                    first.setdefault(one["name"], waiting["message"])
    for key in ("initContainerStatuses", "containerStatuses"):
        for one in (now.get("status") or {}).get(key) or ():
            if one["name"] in first:
                one["firstMessage"] = first[one["name"]]


def log_sources(seen: Seen) -> List[Tuple[str, str, bool]]:
    """Whose logs to read: (pod, container, whether the one before its restart), the most telling first."""
    sources: List[Tuple[str, str, bool]] = []
    revisions = newest_revision(seen.workload, seen.owned) if seen.workload["kind"] == "DaemonSet" else ""
    pods = sorted(
        seen.pods,
        key=lambda pod: (
            revisions and (pod["metadata"].get("labels") or {}).get("controller-revision-hash") != revisions,
            pod["metadata"].get("creationTimestamp") or "",
        ),
        reverse=not revisions,
    )
    for pod in pods:
        for key in ("initContainerStatuses", "containerStatuses"):
            for one in (pod.get("status") or {}).get(key) or ():
                ended = (one.get("state") or {}).get("terminated") or {}
                if one.get("ready") or (ended and ended.get("exitCode") == 0):
                    continue
                if one.get("restartCount"):
                    sources.append((pod["metadata"]["name"], one["name"], True))
                if "waiting" not in (one.get("state") or {}):
                    sources.append((pod["metadata"]["name"], one["name"], False))
    return sources


__all__ = ["DEPLOYMENTS", "STATEFUL_SETS", "Kubernetes", "connect"]
