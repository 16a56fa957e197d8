# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is known of workloads and all that belongs to them, kept current from lists, watches and answers."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ..kubernetes.api import CONTROLLER_REVISIONS, EVENTS, PODS, REPLICA_SETS, WORKLOADS, Resource
from .types import Service
from .verdict import Seen, newest_revision

Json = Dict[str, Any]


class Known:
    """The objects of one namespace that matter to some services."""

    def __init__(self) -> None:
        self.services: Dict[str, Service] = {}
        self.asked: Dict[Tuple[str, str], str] = {}  # services by kind and workload
        self.uids: Dict[str, str] = {}  # of workloads, to the service's name
        self.uid_of: Dict[str, str] = {}  # and back
        self.objects: Dict[str, Dict[str, Json]] = {}  # by plural, by uid
        self.by_owner: Dict[str, Dict[str, Set[str]]] = {}  # by plural, by the owner's uid
        self.events: Dict[str, List[Json]] = {}  # by the uid of what they are about
        self.event_marks: Dict[str, int] = {}  # how many events about a workload are from before this rollout

    def expect(self, services: Iterable[Service]) -> None:
        self.services = {service.name: service for service in services}
        self.asked = {(service.kind, service.workload): service.name for service in self.services.values()}

    # Asking.

    def workload(self, name: str) -> Optional[Json]:
        uid = self.uid_of.get(name, "")
        return self.objects.get(WORKLOADS[self.services[name].kind].plural, {}).get(uid)

    def owned(self, thing: Json) -> List[Json]:
        plural = (REPLICA_SETS if thing["kind"] == "Deployment" else CONTROLLER_REVISIONS).plural
        return self.children(plural, thing["metadata"]["uid"])

    def children(self, plural: str, uid: str) -> List[Json]:
        known = self.objects.get(plural, {})
        return [known[one] for one in sorted(self.by_owner.get(plural, {}).get(uid, ())) if one in known]

    def seen(self, name: str) -> Optional[Seen]:
        """Everything that is known of a service's workload."""
        thing = self.workload(name)
        if thing is None:
            return None
        uid = thing["metadata"]["uid"]
        owned = self.owned(thing)
        pods = self.children(PODS.plural, uid)
        if thing["kind"] == "Deployment":
            pods = [pod for one in owned for pod in self.children(PODS.plural, one["metadata"]["uid"])]
        events = {
            one["metadata"]["uid"]: self.events.get(one["metadata"]["uid"], [])[
                self.event_marks.get(one["metadata"]["uid"], 0) :
            ]
            for one in [thing, *owned, *pods]
        }
        return Seen(thing, owned, pods, events)

    # Keeping.

    def replace(self, resource: Resource, items: List[Json]) -> Set[str]:
        before = set(self.objects.get(resource.plural, {}))
        touched: Set[str] = set()
        if resource is not EVENTS:
            self.objects.setdefault(resource.plural, {})
            for uid in before - {item["metadata"]["uid"] for item in items}:
                touched |= self.take(resource, "DELETED", self.objects[resource.plural][uid])
        for item in items:
            touched |= self.take(resource, "MODIFIED", item)
        return touched

    def take(self, resource: Resource, what: str, thing: Json) -> Set[str]:
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
            return self.name_of(about)
        store = self.objects.setdefault(resource.plural, {})
        owner = next((one["uid"] for one in metadata.get("ownerReferences") or () if one.get("controller")), "")
        if what == "DELETED":
            store.pop(uid, None)
            self.by_owner.setdefault(resource.plural, {}).setdefault(owner, set()).discard(uid)
            names = self.name_of(uid) or self.name_of(owner)
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
        return self.name_of(uid)

    def name_of(self, uid: str) -> Set[str]:
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

    def mark_events(self, name: str) -> None:
        """What was said about the workload itself until now is about the template before."""
        seen = self.seen(name)
        if seen is not None:
            for one in [seen.workload, *seen.owned]:
                uid = one["metadata"]["uid"]
                self.event_marks[uid] = len(self.events.get(uid, ()))


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
