"""A target that exists only in memory, with a clock of its own: the engine's tests run hours in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import Interrupted
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.types import (
    FAILED,
    FAILING,
    HEALTHY,
    PROGRESSING,
    Cause,
    Driver,
    State,
    Verdict,
)


class Endless(BaseException):
    """The engine does not come to an end."""


@dataclass
class Fate:
    """What becomes of a service when it is rolled.

    ``end``: well, failed (permanently), failing (for ever), never (progressing for ever), refused (apply raises),
    relapse (healthy, then a container ends). ``back``: the same for putting it back: well, failed, never, refused.
    """

    takes: float = 3.0
    end: str = "well"
    back: str = "well"


@dataclass
class Simulated(Driver):
    fates: dict[str, Fate]
    interrupt_at: float | None = None
    now: float = 0.0
    log: list[tuple[str, str]] = field(default_factory=list)
    begun: dict[str, tuple[str, float]] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now

    def observe(self, services):
        return {
            service.name: State(service.name, images={"app": "shop/app:1"}, main=("app",), snapshot="old")
            for service in services
        }

    def apply(self, step):
        self.log.append(("apply", step.name))
        if self.fates[step.name].end == "refused":
            raise OpsError("patch", step.name, "denied")
        self.begun[step.name] = (self.fates[step.name].end, self.now)
        self.standing[step.name] = "new"
        return True

    def put_back(self, step):
        self.log.append(("back", step.name))
        if self.fates[step.name].back == "refused":
            raise OpsError("patch", step.name, "denied")
        written = self.standing.get(step.name) == "new"
        self.begun[step.name] = (self.fates[step.name].back, self.now)
        self.standing[step.name] = step.back
        return written

    def changes(self, timeout):
        self.now += timeout
        if self.now > 5000:
            raise Endless(self.log)
        if self.interrupt_at is not None and self.now >= self.interrupt_at:
            self.interrupt_at = None
            raise Interrupted(15)
        return set(self.begun)

    def judge(self, name):
        end, began = self.begun.get(name, ("well", -1e9))
        age, takes = self.now - began, self.fates[name].takes
        if age < takes:
            return Verdict(PROGRESSING, detail=f"{age:.0f} of {takes:.0f}")
        if end == "failed":
            return Verdict(FAILED, Cause("image_not_found", f"no image for {name}"))
        if end == "failing":
            return Verdict(FAILING, Cause("crash_loop", f"{name} ends with exit code 3"))
        if end == "never":
            return Verdict(PROGRESSING, detail="0 of 1 updated")
        if end == "relapse" and age >= takes + 5:
            return Verdict(FAILING, Cause("crash_loop", f"{name} ends with exit code 3"), restarts=1)
        if ("judged healthy", name) not in self.log:
            self.log.append(("judged healthy", name))
        return Verdict(HEALTHY, restarts=0)

    def finish(self, step):
        self.log.append(("finish", step.name))
