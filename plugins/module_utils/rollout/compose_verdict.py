# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How a Compose service stands, and how it may be replaced. Pure: from what Docker and Compose say, to values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from .types import FAILED, FAILING, HEALTHY, PROGRESSING, Cause, Verdict

GENERATION = "ops-rollout.generation"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"

# Seconds that a container without a healthcheck has to run before it counts as well.
SOAK = 5.0


@dataclass(frozen=True)
class Container:
    """What matters of one container, as ``docker inspect`` gives it."""

    id: str
    service: str = ""
    image: str = ""
    image_id: str = ""
    generation: str = ""
    created: str = ""
    status: str = "running"
    health: str = ""
    health_output: str = ""
    exit_code: int = 0
    oom: bool = False
    error: str = ""
    restarts: int = 0
    restart_policy: str = ""
    started: str = ""

    @property
    def alive(self) -> bool:
        return self.status in ("running", "restarting", "paused")


@dataclass(frozen=True)
class Target:
    """What a service is to be: the containers of which image and generation, and how many."""

    image: str
    image_id: str
    generation: str = ""
    replicas: int = 1
    one_shot: Optional[bool] = False  # None: it may be one; then both running on and ending with 0 are well

    def matches(self, container: Container) -> bool:
        return container.generation == self.generation and container.image_id == self.image_id


def container(inspected: Mapping[str, Any]) -> Container:
    """One element of the answer of ``docker inspect``."""
    config, state = inspected.get("Config") or {}, inspected.get("State") or {}
    labels = config.get("Labels") or {}
    health = state.get("Health") or {}
    log = health.get("Log") or []
    has_check = (config.get("Healthcheck") or {}).get("Test") not in (None, [], ["NONE"])
    return Container(
        id=inspected.get("Id", ""),
        service=labels.get(SERVICE, ""),
        image=config.get("Image", ""),
        image_id=inspected.get("Image", ""),
        generation=labels.get(GENERATION, ""),
        created=inspected.get("Created", ""),
        status=state.get("Status", ""),
        health=(health.get("Status") or "starting") if has_check else "",
        health_output=str(log[-1].get("Output", "")).strip() if log else "",
        exit_code=int(state.get("ExitCode") or 0),
        oom=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        restarts=int(inspected.get("RestartCount") or 0),
        restart_policy=((inspected.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no",
        started=state.get("StartedAt", ""),
    )


def stop_first(service: Mapping[str, Any]) -> str:
    """Why two containers of the service cannot run side by side, in words; empty when they can."""
    order = ((service.get("deploy") or {}).get("update_config") or {}).get("order")
    if service.get("container_name"):
        return f"its container has a fixed name, {service['container_name']}"
    for port in service.get("ports") or ():
        if port.get("published") not in (None, "", "0", 0) and "-" not in str(port["published"]):
            return f"it publishes the fixed host port {port['published']}"
    if str(service.get("network_mode") or "").startswith(("host", "container:", "service:")):
        return f"its network mode is {service['network_mode']}"
    for name, network in (service.get("networks") or {}).items():
        if (network or {}).get("ipv4_address") or (network or {}).get("ipv6_address"):
            return f"it has a fixed address in network {name}"
    if order == "stop-first":
        return "its update order is stop-first"
    if order != "start-first":
        for volume in service.get("volumes") or ():
            # Two servers on one data folder may ruin it; with a bind mount the user knows what is shared.
            if volume.get("type") == "volume" and not volume.get("read_only"):
                return f"it writes to the volume {volume.get('source') or volume.get('target')}"
    return ""


def one_shot(name: str, services: Mapping[str, Mapping[str, Any]], before: Sequence[Container]) -> Optional[bool]:
    """Whether a service is meant to end with 0; None when that cannot be told."""
    for other in services.values():
        needed = (other.get("depends_on") or {}).get(name) or {}
        if needed.get("condition") == "service_completed_successfully":
            return True
    mine = services.get(name) or {}
    policy = str(mine.get("restart") or "no").split(":", maxsplit=1)[0]
    check = mine.get("healthcheck") or {}
    if policy not in ("no", "on-failure") or (check and not check.get("disable")) or mine.get("ports"):
        return False
    if any(one.alive for one in before):
        return False
    if any(one.status == "exited" and one.exit_code == 0 for one in before):
        return True
    return None


def replicas(service: Mapping[str, Any]) -> int:
    """How many containers the file asks for."""
    deployed = (service.get("deploy") or {}).get("replicas")
    value = service.get("scale") if deployed is None else deployed
    return 1 if value is None else int(value)


# Restart policies of what the engine keeps running, whatever it ends with.
KEPT_UP = ("always", "unless-stopped")


def fault(one: Container, target: Target, steady: bool) -> Tuple[str, Optional[Cause]]:
    """The state of one container, and why.

    :param steady: whether it has run long enough for one without a healthcheck.
    """
    if one.oom and one.status != "running":
        return FAILING if one.restart_policy not in ("no", "") else FAILED, Cause(
            "oom_killed", f"container was killed for want of memory (exit code {one.exit_code})"
        )
    if one.status in ("exited", "dead"):
        if one.error:
            return FAILED, Cause("start_error", f"container could not be started: {one.error}")
        if one.exit_code == 0 and target.one_shot is not False:
            return HEALTHY, None
        # An engine that is being restarted ends its containers and starts them again once it is back.
        state = FAILING if one.restart_policy in KEPT_UP else FAILED
        though = ", though it should keep running" if one.exit_code == 0 else ""
        return state, Cause("crash_loop", f"container ended with code {one.exit_code}{though}")
    if one.status == "created":
        return PROGRESSING, Cause("start_error", one.error) if one.error else None
    if one.status == "restarting" or (one.restarts and one.health != "healthy" and not steady):
        told = one.status == "restarting" or one.exit_code
        ended = f"container ended with code {one.exit_code}" if told else "container ended"
        return FAILING, Cause("crash_loop", f"{ended}, started again {one.restarts} times")
    if one.status == "paused":
        return FAILING, Cause("paused", "container is paused")
    if one.status != "running":
        return PROGRESSING, None
    if one.health == "unhealthy":
        said = f": {one.health_output}" if one.health_output else ", without a word"
        return FAILING, Cause("unhealthy", f"its healthcheck fails{said}")
    if one.health:
        return (HEALTHY if one.health == "healthy" else PROGRESSING), None
    if target.one_shot:
        return PROGRESSING, None
    return (HEALTHY if steady else PROGRESSING), None


SEVERITY = {HEALTHY: 0, PROGRESSING: 1, FAILING: 2, FAILED: 3}


def judge(target: Target, containers: Sequence[Container], steady: Mapping[str, bool]) -> Verdict:
    """The verdict on a service: all containers of the target, none of another."""
    mine = [one for one in containers if target.matches(one)]
    # An old one that has ended says nothing any more.
    old = [one for one in containers if not target.matches(one) and one.alive]
    faults = [fault(one, target, bool(steady.get(one.id))) for one in mine]
    well = sum(fault[0] == HEALTHY for fault in faults)
    restarts = sum(one.restarts for one in mine)
    detail = f"{well} of {target.replicas} healthy" + (f", {len(old)} old to go" if old else "")
    state, cause = max(faults, key=lambda one: SEVERITY[one[0]], default=(PROGRESSING, None))
    if state == HEALTHY and (well < target.replicas or old):
        state = PROGRESSING
    if not mine and target.replicas == 0 and not old:
        state = HEALTHY
    if state == HEALTHY and restarts:
        cause = Cause("crash_loop", "a container ended and was started again")
    return Verdict(state, cause, well, target.replicas, restarts, detail)


def found_image(wanted: str, configured: str, standing: Sequence[Container]) -> str:
    """The image to plan from: the wanted one only where the file and every container agree on it."""
    images = [one.image for one in standing]
    if not images:
        return ""
    if not wanted:
        return configured if configured in images else images[0]
    return next((image for image in images if image != wanted), configured)


def refusal(output: str) -> Cause:
    """Why an image could not be pulled."""
    last = [line for line in output.strip().splitlines() if line.strip()][-1:] or ["no reason given"]
    low, said = output.lower(), last[0].strip()
    if any(word in low for word in ("not found", "manifest unknown", "does not exist")) and "lookup" not in low:
        return Cause("image_not_found", said)
    if any(word in low for word in ("unauthorized", "denied", "authentication required", "no basic auth")):
        return Cause("image_unauthorised", said)
    return Cause("image_pull", said)


def pick(containers: Sequence[Container], service: str) -> List[Container]:
    """The containers of a service, oldest first."""
    return sorted((one for one in containers if one.service == service), key=lambda one: (one.created, one.id))
