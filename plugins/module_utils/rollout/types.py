# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a rollout is made of, whatever it runs on; and what a driver must be able to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError

# What a step does.
NONE = "none"
ROLL = "roll"
RESTART = "restart"
ADOPT = "adopt"

# What a verdict says. FAILING may still come right and has a grace by its cause's code; FAILED is permanent.
PROGRESSING = "progressing"
HEALTHY = "healthy"
FAILING = "failing"
FAILED = "failed"


@dataclass(frozen=True)
class Service:
    """One service as the caller asks for it.

    ``images`` maps containers to images; the key "" stands for the service's only (or equally named) container.
    An empty mapping leaves the images alone. ``workload`` is the Kubernetes object's or the Compose service's name.
    """

    name: str
    workload: str = ""
    kind: str = "Deployment"
    images: Mapping[str, str] = field(default_factory=dict)
    depends_on: Tuple[str, ...] = ()
    restart_token: Optional[str] = None
    to_revision: Optional[int] = None

    @property
    def object(self) -> str:
        """How messages call it."""
        return f"{self.kind.lower()}/{self.workload or self.name}"


@dataclass(frozen=True)
class State:
    """One service as it is found.

    ``images`` maps every container (init containers included) to its image. ``snapshot`` is whatever the driver needs
    to come back to exactly this; nobody else looks into it. ``settled`` says that what is asked of the target has been
    reached and is healthy. ``unfinished`` is the snapshot that a run which never ended left behind: the state before
    *it* began.
    """

    name: str
    exists: bool = True
    images: Mapping[str, str] = field(default_factory=dict)
    main: Tuple[str, ...] = ()  # the containers that are no init containers, in their order
    revision: str = ""
    release: str = ""
    restart_token: Optional[str] = None
    replicas: Optional[int] = None
    paused: bool = False
    settled: bool = True
    snapshot: Any = None
    unfinished: Any = None
    unfinished_images: Mapping[str, str] = field(default_factory=dict)
    unfinished_release: str = ""
    problem: str = ""  # why it cannot be rolled at all, in words; empty when it can


@dataclass(frozen=True)
class Revision:
    """One state that a service was in before."""

    revision: str
    images: Mapping[str, str]
    release: str
    snapshot: Any
    current: bool = False


@dataclass(frozen=True)
class Step:
    """What is to be done to one service.

    ``images`` are all containers' images afterwards. ``target`` is a snapshot to go to in place of images
    (``state: rolled_back``). ``back`` is the snapshot to return to when the rollout fails.
    """

    service: Service
    action: str
    reason: str
    before: State
    images: Mapping[str, str] = field(default_factory=dict)
    restart_token: Optional[str] = None
    target: Any = None
    back: Any = None
    release: str = ""

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def acts(self) -> bool:
        """Whether it writes anything to the target."""
        return self.action in (ROLL, RESTART)


@dataclass(frozen=True)
class Plan:
    """The steps in an order that respects ``depends_on``."""

    steps: Tuple[Step, ...] = ()

    @property
    def changed(self) -> bool:
        return any(step.acts for step in self.steps)


@dataclass(frozen=True)
class Problem:
    """What preflight found. Only a ``fatal`` one stops the rollout before anything is touched."""

    service: str
    code: str
    text: str
    fatal: bool = True


@dataclass(frozen=True)
class Cause:
    """Why a service is not healthy.

    Codes: image_not_found, image_unauthorised, image_name, image_pull, config_missing, crash_loop, oom_killed,
    init_failed, start_error, not_ready, unschedulable, refused (quota, webhook, admission), volume, sandbox, evicted,
    deadline, paused, timeout, monitor, interrupted, driver.
    """

    code: str
    text: str
    evidence: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """How a service stands with respect to what it was last told to be."""

    state: str = PROGRESSING
    cause: Optional[Cause] = None
    ready: int = 0
    wanted: int = 0
    restarts: int = 0  # of the current template's containers, all together
    detail: str = ""  # "2 of 3 updated, 1 available"


@dataclass(frozen=True)
class Options:
    """How a rollout is run. Times in seconds; ``max_parallel`` 0 means as many as the dependencies allow."""

    on_failure: str = "rollback_all"  # rollback_failed, hold
    max_parallel: int = 0
    timeout: float = 600.0
    rollback_timeout: float = 300.0
    soak: float = 0.0
    graces: Mapping[str, float] = field(default_factory=dict)
    monitor_interval: float = 5.0


class Driver:
    """What a target must be able to do. Drivers observe and act; they decide nothing.

    Any method may raise :class:`OpsError`. Methods are called from one thread, but for ``validate`` and ``finish``, of
    which ``at_once`` may run at the same time, each for another step.
    """

    at_once = 1

    def completed(self, services: List[Service]) -> List[Service]:
        """The services with what the target itself says of their dependencies, where the caller says nothing."""
        return services

    def observe(self, services: Iterable[Service]) -> Dict[str, State]:
        """How each service stands; an absent one has ``exists=False``."""
        raise NotImplementedError

    def watch(self) -> None:
        """Looks at all that verdicts are made of, for verdicts on services that nothing is done to."""

    def history(self, service: Service) -> List[Revision]:
        """The states that the service can be put back to, newest first."""
        return []

    def validate(self, step: Step) -> Optional[str]:
        """A dry run of the step: what the target says against it, or None."""
        return None

    def preflight(self, plan: Plan) -> List[Problem]:
        """Read-only checks of the whole plan."""
        return []

    def ready(self) -> None:
        """Called once before the first step that acts, after all checks; the last chance to refuse."""

    def diff(self, step: Step) -> Tuple[Any, Any]:
        """What is and what will be, for diff mode; free of secrets."""
        return {"images": dict(step.before.images)}, {"images": dict(step.images)}

    def apply(self, step: Step) -> bool:
        """Brings the step's target about, without awaiting it; records first what is needed to come back.

        Returns whether anything was written.
        """
        raise NotImplementedError

    def adopt(self, step: Step) -> None:
        """Takes up what is rolling already. Nothing is written to the service."""

    def changes(self, timeout: float) -> Set[str]:
        """Blocks until services may have changed, at most ``timeout`` seconds; their names."""
        raise NotImplementedError

    def judge(self, name: str) -> Verdict:
        """How the service stands now, by what was observed last. Cheap."""
        raise NotImplementedError

    def revision(self, name: str) -> str:
        """The revision that the target has given to what stands now; empty where it has none (yet). Cheap."""
        return ""

    def put_back(self, step: Step) -> bool:
        """Returns to ``step.back``, without awaiting it. Returns whether anything was written."""
        raise NotImplementedError

    def evidence(self, name: str) -> Dict[str, Any]:
        """``events`` (list of str) and ``logs`` (list of {container, text}) of a service that is not healthy."""
        return {"events": [], "logs": []}

    def finish(self, step: Step) -> None:
        """The rollout has ended well: records the release, and that there is nothing left to come back from."""

    def close(self) -> None:
        """Ends watches and connections."""


__all__ = [
    "ADOPT",
    "FAILED",
    "FAILING",
    "HEALTHY",
    "NONE",
    "PROGRESSING",
    "RESTART",
    "ROLL",
    "Cause",
    "Driver",
    "OpsError",
    "Options",
    "Plan",
    "Problem",
    "Revision",
    "Service",
    "State",
    "Step",
    "Verdict",
]
