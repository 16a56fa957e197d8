# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How a Kubernetes workload stands. Pure: from the objects as the API server gives them, to a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from .cause import Found, Object, crashed, labels, pod_cause, restarts, worst
from .types import FAILED, FAILING, HEALTHY, PROGRESSING, Cause, Verdict

REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Seen:
    """What is known of one workload.

    ``owned`` are its ReplicaSets or ControllerRevisions, ``pods`` all pods that belong to it through them, ``events``
    those about each object by its uid, oldest first, as far as they are from this rollout.
    """

    workload: Object
    owned: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    events: Mapping[str, Sequence[Object]] = ()  # type: ignore[assignment]

    def about(self, thing: Object) -> Sequence[Object]:
        return dict(self.events).get((thing.get("metadata") or {}).get("uid") or "", ())


def judge(seen: Seen) -> Verdict:
    """The verdict on a Deployment, StatefulSet or DaemonSet."""
    if not observed(seen.workload):
        # Whatever the status says, it says it about an older template.
        return Verdict(PROGRESSING, detail="waiting for its controller to see the change")
    kind = seen.workload.get("kind")
    if kind == "Deployment":
        return _deployment(seen)
    if kind == "StatefulSet":
        return _stateful_set(seen)
    if kind == "DaemonSet":
        return _daemon_set(seen)
    return Verdict(FAILED, Cause("driver", f"no verdict is known on a {kind}"))


def observed(workload: Object) -> bool:
    """Whether its controller has seen the workload as it stands."""
    generation = (workload.get("metadata") or {}).get("generation") or 0
    return bool(generation <= ((workload.get("status") or {}).get("observedGeneration") or 0))


def complete(workload: Object) -> bool:
    """Whether the workload's own status says that its template is in place everywhere and available."""
    return judge(Seen(workload)).state == HEALTHY


def _deployment(seen: Seen) -> Verdict:
    spec, status = seen.workload.get("spec") or {}, seen.workload.get("status") or {}
    wanted = _number(spec, "replicas", 1)
    total, updated = _number(status, "replicas"), _number(status, "updatedReplicas")
    available = _number(status, "availableReplicas")
    current = new_replica_set(seen.workload, seen.owned)
    pods = _standing(_owned_by(seen.pods, current))
    numbers = Verdict(
        ready=min(available, updated),
        wanted=wanted,
        restarts=restarts(pods),
        detail=_counts(wanted, updated, available, total),
    )
    if updated >= wanted and total <= updated and available >= updated:
        return _with(numbers, HEALTHY, crashed(pods) if numbers.restarts else None)
    if spec.get("paused"):
        return _with(numbers, FAILED, Cause("paused", "it is paused, so that its controller does nothing"))
    found = worst([pod_cause(pod, seen.about(pod)) for pod in pods])
    refusal = _refusal(current, seen, len(pods)) if found is None or found.cause.code == "not_ready" else None
    if refusal is not None and refusal[0] is not None:
        found = refusal[0]
    if found is not None and found.permanent:
        return _with(numbers, FAILED, found.cause)
    if _overdue(seen.workload, current):
        return _with(numbers, FAILED, _late(found))
    if found is not None:
        return _with(numbers, FAILING, found.cause)
    if refusal is not None and refusal[1]:
        return Verdict(PROGRESSING, None, numbers.ready, wanted, numbers.restarts, refusal[1])
    return numbers


def new_replica_set(workload: Object, owned: Sequence[Object]) -> Optional[Object]:
    """The ReplicaSet of the Deployment's current template: by owner and revision, never by labels."""
    uid = (workload.get("metadata") or {}).get("uid")
    mine = [one for one in owned if _controller(one) == uid]
    revision = _annotation(workload, REVISION)
    by_revision = [one for one in mine if revision and _annotation(one, REVISION) == revision]
    template = plain_template((workload.get("spec") or {}).get("template") or {})
    same = [one for one in mine if plain_template((one.get("spec") or {}).get("template") or {}) == template]
    # The annotation may lag behind by a moment, and defaults of an older API server may differ: both must not mislead.
    for candidates in (
        [one for one in by_revision if one in same],
        same,
        [] if same else by_revision,
    ):
        if candidates:
            return max(candidates, key=lambda one: int(_annotation(one, REVISION) or 0))
    return None


def _refusal(current: Optional[Object], seen: Seen, pods: int) -> Optional[Tuple[Optional[Found], str]]:
    """Why no pods are made: (a cause, or None), (or in words, what it waits for)."""
    if current is None:
        return None
    message = ""
    for condition in (current.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = condition.get("message") or condition.get("reason") or ""
    if not message:
        message = _failed_create(seen.about(current))
        if pods >= _number(current.get("spec") or {}, "replicas", 1):
            message = ""
    if not message:
        return None
    return _refused(message, seen.pods, [pod for pod in _owned_by(seen.pods, current) if not is_ready(pod)])


def _refused(message: str, pods: Sequence[Object], starting: Sequence[Object] = ()) -> Tuple[Optional[Found], str]:
    if "exceeded quota" in message and any((pod.get("metadata") or {}).get("deletionTimestamp") for pod in pods):
        return None, "waiting for ending pods to free the quota"
    if "exceeded quota" in message and starting:
        return None, "the quota has room for some of its pods only: once they are ready, old ones make room"
    return Found(Cause("refused", f"no pod can be made: {message}"), False), ""


def _failed_create(events: Sequence[Object]) -> str:
    """The latest refusal to make a pod, unless one was made since."""
    for event in reversed(events):
        if event.get("reason") == "SuccessfulCreate":
            return ""
        if event.get("reason") == "FailedCreate":
            return event.get("message") or "FailedCreate"
    return ""


def _overdue(workload: Object, current: Optional[Object]) -> bool:
    for condition in (workload.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("status") == "False":
            message = condition.get("message") or ""
            # One of an older template may still be standing there.
            return condition.get("reason") == "ProgressDeadlineExceeded" and (
                current is not None and f'"{(current.get("metadata") or {}).get("name")}"' in message
            )
    return False


def _late(found: Optional[Found]) -> Cause:
    if found is not None:
        return Cause(found.cause.code, f"{found.cause.text} (progressDeadlineSeconds exceeded)", found.cause.evidence)
    return Cause("deadline", "progressDeadlineSeconds exceeded, and no pod says why")


def _stateful_set(seen: Seen) -> Verdict:
    spec, status = seen.workload.get("spec") or {}, seen.workload.get("status") or {}
    wanted = _number(spec, "replicas", 1)
    strategy = spec.get("updateStrategy") or {}
    partition = _number(strategy.get("rollingUpdate") or {}, "partition")
    must = max(wanted - partition, 0)
    revision = status.get("updateRevision") or ""
    updated, ready, total = (_number(status, key) for key in ("updatedReplicas", "readyReplicas", "replicas"))
    if revision and revision == status.get("currentRevision"):
        # Once all are updated the controller may count them under the current revision only.
        updated = max(updated, _number(status, "currentReplicas"))
    return _by_revision(seen, revision, must, (wanted, updated, ready, total))


def _daemon_set(seen: Seen) -> Verdict:
    status = seen.workload.get("status") or {}
    wanted, updated, available, total = (
        _number(status, key)
        for key in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable", "currentNumberScheduled")
    )
    return _by_revision(seen, newest_revision(seen.workload, seen.owned), wanted, (wanted, updated, available, total))


def _by_revision(seen: Seen, revision: str, must: int, counts: Tuple[int, int, int, int]) -> Verdict:
    """StatefulSets and DaemonSets: pods carry the name or hash of their ControllerRevision."""
    wanted, updated, ready, total = counts
    uid = (seen.workload.get("metadata") or {}).get("uid")
    mine = _standing([pod for pod in seen.pods if _controller(pod) == uid])
    pods = [pod for pod in mine if revision and labels(pod).get("controller-revision-hash") == revision]
    numbers = Verdict(
        ready=min(ready, updated), wanted=wanted, restarts=restarts(pods), detail=_counts(wanted, updated, ready, total)
    )
    if updated >= must and ready >= wanted and total <= wanted:
        return _with(numbers, HEALTHY, crashed(pods) if numbers.restarts else None)
    found = worst([pod_cause(pod, seen.about(pod)) for pod in pods])
    if found is None:
        message = _failed_create(seen.about(seen.workload))
        if message and len(mine) < wanted:
            refused, waits = _refused(message, seen.pods)
            if refused is None:
                return Verdict(PROGRESSING, None, numbers.ready, wanted, numbers.restarts, waits)
            found = refused
    if found is None:
        # An old pod that is broken holds an ordered update up.
        old = [pod for pod in mine if pod not in pods]
        found = worst([pod_cause(pod, seen.about(pod)) for pod in old])
        if found is not None:
            found = Found(Cause(found.cause.code, f"{found.cause.text}, of the old template"), False)
    if found is not None:
        return _with(numbers, FAILED if found.permanent else FAILING, found.cause)
    return numbers


def newest_revision(workload: Object, owned: Sequence[Object]) -> str:
    """The hash of a DaemonSet's newest ControllerRevision."""
    uid = (workload.get("metadata") or {}).get("uid")
    mine = [one for one in owned if _controller(one) == uid]
    if not mine:
        return ""
    newest = max(mine, key=lambda one: int(one.get("revision") or 0))
    return labels(newest).get("controller-revision-hash") or ""


def broken_pods(seen: Seen, but_revision: str) -> List[Object]:
    """A StatefulSet's pods of other revisions that are not ready: they hold an ordered update up for ever."""
    uid = (seen.workload.get("metadata") or {}).get("uid")
    return [
        pod
        for pod in _standing(seen.pods)
        if _controller(pod) == uid
        and labels(pod).get("controller-revision-hash") not in (None, but_revision)
        and not is_ready(pod)
    ]


def is_ready(pod: Object) -> bool:
    """Whether the pod's own condition says so."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in (pod.get("status") or {}).get("conditions") or ()
    )


def plain_template(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pod template without what controllers add to it."""
    metadata = dict(template.get("metadata") or {})
    kept = {key: value for key, value in (metadata.get("labels") or {}).items() if key != "pod-template-hash"}
    metadata.pop("creationTimestamp", None)
    metadata.pop("labels", None)
    if kept:
        metadata["labels"] = kept
    return {
        **{key: value for key, value in template.items() if key not in ("metadata", "$patch")},
        **({"metadata": metadata} if metadata else {}),
    }


def _counts(wanted: int, updated: int, available: int, total: int) -> str:
    old = f", {total - updated} old to go" if total > updated else ""
    return f"{updated} of {wanted} updated, {available} available{old}"


def _with(numbers: Verdict, state: str, cause: Optional[Cause]) -> Verdict:
    if state == FAILING and cause is not None and cause.code == "not_ready" and not cause.evidence:
        # No probe has failed yet: it may simply be starting.
        state = PROGRESSING
    return Verdict(state, cause, numbers.ready, numbers.wanted, numbers.restarts, numbers.detail)


def _number(source: Mapping[str, Any], key: str, default: int = 0) -> int:
    value = source.get(key)
    return default if value is None else int(value)


def _annotation(thing: Object, key: str) -> str:
    return ((thing.get("metadata") or {}).get("annotations") or {}).get(key) or ""


def _controller(thing: Object) -> Optional[str]:
    for owner in (thing.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller"):
            return owner.get("uid")
    return None


def _owned_by(pods: Sequence[Object], owner: Optional[Object]) -> List[Object]:
    if owner is None:
        return []
    uid = (owner.get("metadata") or {}).get("uid")
    return [pod for pod in pods if _controller(pod) == uid]


def _standing(pods: Sequence[Object]) -> List[Object]:
    return [pod for pod in pods if not (pod.get("metadata") or {}).get("deletionTimestamp")]
