# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Why a pod is not ready: the root cause, from its own status and events."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from .types import Cause

Object = Mapping[str, Any]


class Found(NamedTuple):
    """A cause, and whether waiting can change it."""

    cause: Cause
    permanent: bool


PULL_REASONS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
DENIED = re.compile(
    r"unauthori[sz]ed|access denied|denied:|forbidden|authentication required|no basic auth|\b40[13]\b", re.I
)
ABSENT = re.compile(r"not ?found|manifest unknown|name unknown|no such image|does not exist|\b404\b", re.I)
UNREACHABLE = re.compile(
    r"timeout|timed out|connection refused|no such host|temporary failure|too ?many ?requests|\b(?:429|5\d\d)\b",
    re.I,
)
CONFIG = re.compile(
    r"(?:(?:secret|configmap) \"[^\"]*\" not found"
    r"|couldn't find key .+ in (?:secret|configmap) .+"
    r"|references non-existent (?:secret|config) key: .+)",
    re.I,
)
CACHE = re.compile(r"failed to sync (?:secret|configmap) cache|object .+ not registered", re.I)

# The first to be told when several pods or containers are not ready for different reasons.
RANK = [
    "image_name",
    "image_not_found",
    "image_unauthorised",
    "config_missing",
    "config_invalid",
    "refused",
    "oom_killed",
    "start_error",
    "init_failed",
    "crash_loop",
    "image_pull",
    "volume",
    "sandbox",
    "unschedulable",
    "evicted",
    "config_pending",
    "not_ready",
]


def worst(found: Iterable[Optional[Found]]) -> Optional[Found]:
    """The cause to act on: a permanent one first, then by rank."""
    known = [one for one in found if one is not None]
    if not known:
        return None
    return min(known, key=lambda one: (not one.permanent, RANK.index(one.cause.code) if one.cause.code in RANK else 99))


def pod_cause(pod: Object, events: Sequence[Object] = ()) -> Optional[Found]:
    """Why this pod is not ready, or None when there is no reason to be seen (yet).

    :param events: those about the pod, oldest first.
    """
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):
        return Found(
            Cause("evicted", f"pod {name(pod)} failed: {status['reason']}: {status.get('message', '')}"), False
        )
    found: List[Optional[Found]] = []
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            found.append(
                Found(Cause("unschedulable", f"no node takes pod {name(pod)}: {condition.get('message', '')}"), False)
            )
    for key, init in (("initContainerStatuses", True), ("containerStatuses", False)):
        for container in status.get(key) or ():
            found.append(_container_cause(pod, container, init, events))
    if not any(found):
        found.append(_mount_cause(pod, events))
    return worst(found)


def _container_cause(pod: Object, container: Object, init: bool, events: Sequence[Object]) -> Optional[Found]:
    if container.get("ready"):
        return None
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason") or "", waiting.get("message") or ""
    who = f"{'init container' if init else 'container'} {container.get('name')} of pod {name(pod)}"
    if reason == "InvalidImageName":
        return Found(Cause("image_name", f"{container.get('image')} is no image name ({who})"), True)
    if reason in PULL_REASONS:
        return _pull_cause(container, who, message, events)
    if reason == "CreateContainerConfigError":
        return _config_cause(message, who)
    if reason in ("CreateContainerError", "RunContainerError", "PostStartHookError", "PreStartHookError"):
        return Found(Cause("start_error", f"{who} cannot be started: {message or reason}"), False)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if ended and not (init and ended.get("exitCode") == 0 and ended.get("reason") == "Completed"):
        return _crash_cause(container, ended, init, who, events)
    if "running" in state and not init:
        said = probe_message(events)
        text = f"{who} runs, but is not ready" + (f": {said}" if said else "")
        return Found(Cause("not_ready", text, (said,) if said else ()), False)
    return None


def _pull_cause(container: Object, who: str, message: str, events: Sequence[Object]) -> Found:
    image = container.get("image") or ""
    # The back-off says nothing; the first failure stands in the events, or was remembered by whoever watched.
    told = [message, container.get("firstMessage") or ""] + [
        event.get("message") or ""
        for event in reversed(events)
        if event.get("reason") in ("Failed", "InspectFailed", "ErrImageNeverPull")
        and image in (event.get("message") or "")
    ]
    words = next((one for one in told if one and not one.lower().startswith("back-off")), message)
    words = short_words(words.replace("rpc error: code = Unknown desc = ", "").replace("rpc error: ", ""))
    text = f"image {image} cannot be pulled: {words or 'the kubelet does not say why'} ({who})"
    # Busy or unreachable registries come back, whatever else their message holds.
    if UNREACHABLE.search(words.replace(image, "")):
        return Found(Cause("image_pull", text), False)
    if DENIED.search(words.replace(image, "")):
        return Found(Cause("image_unauthorised", text), True)
    if ABSENT.search(words.replace(image, "")) or "ErrImageNeverPull" in words:
        return Found(Cause("image_not_found", text), True)
    return Found(Cause("image_pull", text), False)


def _config_cause(message: str, who: str) -> Found:
    text = f"{who} cannot be configured: {message}"
    if CACHE.search(message):
        return Found(Cause("config_pending", text), False)
    if CONFIG.search(message):
        return Found(Cause("config_missing", text), True)
    return Found(Cause("config_invalid", text), False)


def _crash_cause(container: Object, ended: Object, init: bool, who: str, events: Sequence[Object]) -> Found:
    reason = ended.get("reason") or ""
    restarts = container.get("restartCount") or 0
    times = f", restarted {restarts} times" if restarts > 1 else ""
    said = (ended.get("message") or "").strip()
    if reason in ("ContainerCannotRun", "StartError"):
        return Found(Cause("start_error", f"{who} cannot be started: {said or reason}"), False)
    signal = f" by signal {ended['signal']}" if ended.get("signal") else ""
    text = f"{who} ended with exit code {ended.get('exitCode')}{signal}"
    if reason not in ("", "Error", "Completed"):
        text += f" ({reason})"
    text += times
    probe = probe_message(events)
    if probe and re.match(r"(liveness|startup)", probe, re.I):
        text += f"; {probe}"
    if said:
        text += f": {short_words(said)}"
    code = "oom_killed" if reason == "OOMKilled" else "init_failed" if init else "crash_loop"
    return Found(Cause(code, text), False)


def _mount_cause(pod: Object, events: Sequence[Object]) -> Optional[Found]:
    """A pod whose containers have not come to exist: what its latest event holds against it."""
    for event in reversed(events):
        reason, message = event.get("reason") or "", (event.get("message") or "").strip()
        if reason in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
            text = f"pod {name(pod)}: {short_words(message)}"
            if CACHE.search(message):
                return Found(Cause("config_pending", text), False)
            if CONFIG.search(message):
                return Found(Cause("config_missing", text), True)
            return Found(Cause("volume", text), False)
        if reason == "FailedCreatePodSandBox":
            return Found(Cause("sandbox", f"pod {name(pod)}: {short_words(message)}"), False)
        if reason in ("Pulled", "Created", "Started"):
            return None
    return None


def crashed(pods: Iterable[Object]) -> Optional[Cause]:
    """The latest end of a container in pods that may well be ready again."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("lastState") or {}).get("terminated")
            if ended:
                who = f"container {container.get('name')} of pod {name(pod)}"
                return _crash_cause(container, ended, False, who, ()).cause
    return None


def restarts(pods: Iterable[Object]) -> int:
    """How often containers of these pods were started again, all together."""
    return sum(
        container.get("restartCount") or 0
        for pod in pods
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )


def probe_message(events: Sequence[Object]) -> str:
    """The probe's own words, the latest."""
    for event in reversed(events):
        if event.get("reason") == "Unhealthy":
            return short_words((event.get("message") or "").strip())
    return ""


def short_words(text: str, limit: int = 400) -> str:
    """One line, not longer than a reader's patience."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def name(thing: Object) -> str:
    """The object's name."""
    return str((thing.get("metadata") or {}).get("name") or "?")


def labels(thing: Object) -> Dict[str, str]:
    """The object's labels."""
    return (thing.get("metadata") or {}).get("labels") or {}
