# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The Kubernetes driver: Deployments, StatefulSets and DaemonSets, seen through one list and watch a kind."""

from __future__ import annotations

import copy
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError

from ..kubernetes.api import (
    CONTROLLER_REVISIONS,
    EVENTS,
    NO_LOG,
    PODS,
    REPLICA_SETS,
    WORKLOADS,
    Api,
    ApiError,
    Resource,
    Watches,
)
from . import preflight as checks
from .engine import GRACES
from .kube_known import Known, log_sources
from .kube_patch import (
    CAUSE,
    RECORD,
    RELEASE,
    TOKEN,
    annotation,
    conflicting,
    containers,
    fingerprint,
    never_proved,
    operations,
    read_record,
    snapshot,
    write_record,
)
from .types import NONE, Driver, Plan, Problem, Revision, Service, State, Step, Verdict
from .verdict import REVISION, Seen, broken_pods, complete, judge, observed, plain_template

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
        self.known = Known()
        self.applied: Dict[str, str] = {}  # the hash of the template that stands because of us
        self.intended: Dict[str, str] = {}  # the hash of the template that was to stand
        self.returning: Set[str] = set()
        self.stuck: Dict[str, Set[str]] = {}  # the uids of pods that were broken before a StatefulSet was patched
        self.versions: Dict[str, str] = {}  # to watch from, by plural
        self.watching = False

    # Looking.

    def observe(self, services: Iterable[Service]) -> Dict[str, State]:
        self.known.expect(services)
        self.versions.clear()
        kinds = sorted({service.kind for service in self.known.services.values()})
        self._know(*(WORKLOADS[kind] for kind in kinds), *([CONTROLLER_REVISIONS] if kinds != ["Deployment"] else []))
        return {service.name: self._state(service) for service in self.known.services.values()}

    def _know(self, *resources: Resource) -> None:
        """Lists each kind once, all at the same time; watches go on from there."""
        new = [one for one in resources if one.plural not in self.versions]
        if not new:
            return
        with ThreadPoolExecutor(max_workers=len(new)) as pool:
            answers = list(pool.map(lambda one: self._list(one, self._selector(one)), new))
        for resource, (items, version) in zip(new, answers):
            self.known.replace(resource, items)
            self.versions[resource.plural] = version

    def _selector(self, resource: Resource) -> str:
        names = [service.workload for service in self.known.services.values() if service.kind == resource.kind]
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
        kinds = {service.kind for service in self.known.services.values()}
        resources = [WORKLOADS[kind] for kind in sorted(kinds)]
        if "Deployment" in kinds:
            resources.append(REPLICA_SETS)
        if kinds & {"StatefulSet", "DaemonSet"}:
            resources.append(CONTROLLER_REVISIONS)
        resources += [EVENTS, PODS]
        self._know(*resources)
        for resource in resources:
            self.watches.start(resource, self.versions[resource.plural], self._selector(resource))

    def _state(self, service: Service) -> State:
        thing = self.known.workload(service.name)
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
        thing = self.known.workload(service.name)
        if thing is None:
            return []
        self._know(REPLICA_SETS if service.kind == "Deployment" else CONTROLLER_REVISIONS)
        now = fingerprint(thing["spec"]["template"])
        found: List[Tuple[int, Revision]] = []
        for one in self.known.owned(thing):
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

    # Keeping what is seen.

    def changes(self, timeout: float) -> Set[str]:
        names: Set[str] = set()
        wait = timeout
        if not self.watching:
            self.watch()
            # The first lists are news about everybody.
            names, wait = set(self.known.services), 0
        while True:
            try:
                resource, what, thing = (
                    self.watches.queue.get(timeout=wait) if wait else self.watches.queue.get_nowait()
                )
            except queue.Empty:
                break
            if what == "FAILED":
                raise self._error("watch", resource, thing)
            names |= self.known.replace(resource, thing) if what == "LIST" else self.known.take(resource, what, thing)
            # Whatever else has come already belongs to the same look.
            wait = 0
        self._unstick()
        return names

    def judge(self, name: str) -> Verdict:
        seen = self.known.seen(name)
        if seen is None:
            return Verdict("failed", checks.gone(self.known.services[name]))
        return judge(seen)

    def revision(self, name: str) -> str:
        thing = self.known.workload(name)
        if thing is None or not observed(thing):
            return ""
        if thing["kind"] == "Deployment":
            return annotation(thing, REVISION)
        owned = self.known.owned(thing)
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
            [(step, self._template(step), self.known.workload(step.name)) for step in acting],
            # Whoever gives refusals a longer grace lets services wait for each other's room.
            [] if self.patient else checks.together(plan, self.max_parallel),
        )

    def validate(self, step: Step) -> Optional[str]:
        thing = self.known.workload(step.name)
        if thing is None or not step.acts:
            return None
        patch = operations(thing, self._template(step), self._annotations(step, thing))
        try:
            self.api.patch(WORKLOADS[step.service.kind], step.service.workload, patch, dry_run=True)
        except ApiError as error:
            if conflicting(error) or "does not support dry run" in error.message:
                # Its status has moved since it was read, or a webhook only judges in earnest: nothing against it.
                return None
            return self._error("patch", WORKLOADS[step.service.kind], error, step.service.workload).message
        return None

    def _template(self, step: Step) -> Json:
        """The pod template that the step brings about."""
        thing = self.known.workload(step.name) or {}
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

    def _write(
        self, step: Step, verb: str, template: Callable[[Json], Json], annotations: Callable[[Json], Mapping[str, Any]]
    ) -> bool:
        """Patches the workload, again when only its status (or an autoscaler's replicas) moved meanwhile.

        Refuses when the template is no longer the one that the decision was made on.
        """
        resource, workload = WORKLOADS[step.service.kind], step.service.workload
        thing = self.known.workload(step.name)
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
            patch = operations(thing, wanted, annotations(thing))
            if len(patch) == 1:
                self.applied[step.name] = standing
                return False
            try:
                answer = self.api.patch(resource, workload, patch)
            except ApiError as error:
                if not conflicting(error) or attempt + 1 == ATTEMPTS:
                    raise self._error("patch", resource, error, workload) from None
                try:
                    thing = self.api.get(resource, workload)
                except ApiError as unread:
                    raise self._error("get", resource, unread, workload) from None
                continue
            self.applied[step.name] = fingerprint(answer["spec"]["template"])
            self.known.take(resource, "MODIFIED", answer)
            return True
        raise OpsError(verb, step.service.object, "it keeps changing while it is patched")

    def apply(self, step: Step) -> bool:
        self.watch()
        self.returning.discard(step.name)
        self.intended[step.name] = fingerprint(self._template(step))
        self.known.mark_events(step.name)
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
        seen = self.known.seen(step.name)
        if seen is not None and step.service.kind == "StatefulSet":
            self.stuck[step.name] = {pod["metadata"]["uid"] for pod in broken_pods(seen, "")}

    def put_back(self, step: Step) -> bool:
        self.watch()
        back = step.back
        self.known.mark_events(step.name)
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

    def _unstick(self) -> None:
        """Deletes the broken pod that keeps a StatefulSet from replacing it (kubernetes#67250).

        On the way forward only a pod that was broken before: one that breaks later may come right again.
        """
        for name in [*self.returning, *(one for one in self.stuck if one not in self.returning)]:
            seen = self.known.seen(name)
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
        seen = self.known.seen(name)
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
