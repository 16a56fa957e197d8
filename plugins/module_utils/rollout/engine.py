# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Carries a plan out on any driver: in order, watched, and put back when it fails."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import Interrupted
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress

from .types import (
    ADOPT,
    FAILED,
    FAILING,
    HEALTHY,
    NONE,
    PROGRESSING,
    Cause,
    Driver,
    Options,
    Plan,
    Step,
    Verdict,
)

# How long a cause that may pass is given, in seconds. None: until the time-out.
GRACES: Mapping[str, Optional[float]] = {
    "crash_loop": 20.0,
    "init_failed": 20.0,
    "oom_killed": 10.0,
    "start_error": 10.0,
    "image_pull": 20.0,
    "unschedulable": 30.0,
    "volume": 30.0,
    "refused": 2.0,
    "config_pending": 60.0,
    "config_invalid": 5.0,
    "sandbox": 60.0,
    "evicted": 60.0,
    "unhealthy": 15.0,
    "not_ready": None,
}

# The phases of one service.
WAITING = "waiting"  # for its dependencies
ROLLING = "rolling"
DONE = "healthy"
BROKEN = "failed"
QUEUED = "queued"  # to be put back
RETURNING = "returning"
RETURNED = "rolled_back"
STUCK = "rollback_failed"
UNCHANGED = "unchanged"

WAKE = 1.0  # graces and heartbeats are looked at this often, though nothing happens


@dataclass
class Track:
    """One service on its way."""

    step: Step
    phase: str
    verdict: Verdict = field(default_factory=Verdict)
    touched: bool = False  # something may have been written
    written: bool = False
    cause: Optional[Cause] = None  # why it failed
    back_cause: Optional[Cause] = None  # why it could not be put back
    since: Dict[str, float] = field(default_factory=dict)  # when each passing cause began
    restarts: int = 0  # when it became healthy
    revision: str = ""  # that its new template got
    began: float = 0.0
    healthy_at: Optional[float] = None
    ended: Optional[float] = None
    back_queued: float = 0.0
    back_began: float = 0.0
    back_ended: Optional[float] = None
    evidence: Dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.step.name

    def outcome(self) -> str:
        if self.phase == DONE and self.step.action == "adopt" and not self.written:
            return "adopted"
        if self.phase == WAITING:
            return "skipped"
        return self.phase


@dataclass
class Report:
    """How it ended. ``cause`` is None when every service is healthy."""

    tracks: List[Track]
    cause: Optional[Cause] = None
    interrupted: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.cause is None

    @property
    def changed(self) -> bool:
        return any(track.written for track in self.tracks)

    @property
    def rolled_back(self) -> List[str]:
        return [track.name for track in self.tracks if track.phase == RETURNED]


class Engine:
    """One rollout.

    :param monitor: asked every ``options.monitor_interval`` seconds; a text that it returns stops the rollout.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        driver: Driver,
        plan: Plan,
        options: Options,
        progress: Optional[Progress] = None,
        *,
        monitor: Optional[Callable[[], Optional[str]]] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.driver = driver
        self.options = options
        self.progress = progress or Progress()
        self.monitor = monitor
        self.clock = clock
        self.tracks: Dict[str, Track] = {
            step.name: Track(step, UNCHANGED if step.action == NONE else WAITING) for step in plan.steps
        }
        self.order: List[str] = []  # in which services were touched
        self.failure: Optional[Cause] = None
        self.failed_by = ""
        self.interrupted = ""
        self.all_healthy_since: Optional[float] = None
        self.monitored = float("-inf")
        self.start = clock()

    def run(self) -> Report:
        """Rolls, soaks, and puts back when it must. Never raises for what the target does."""
        while True:
            try:
                self._loop()
                break
            except Interrupted as signalled:
                self.interrupted = str(signalled)
                self._fail(None, Cause("interrupted", f"the run was interrupted by {signalled}"))
            except OpsError as error:
                self._broken_driver(error.message)
            except Exception as error:
                # A defect must not leave services half rolled.
                self._broken_driver(f"{type(error).__name__}: {error}")
        self._conclude()
        return Report(list(self.tracks.values()), self.failure, self.interrupted, self.clock() - self.start)

    def _loop(self) -> None:
        while True:
            if self.failure is None:
                self._start_ready()
            self._start_returns()
            if self._over():
                return
            watched = {name for name, track in self.tracks.items() if track.phase in (ROLLING, RETURNING, DONE)}
            for name in sorted(self.driver.changes(self._wait()) & watched):
                self._look(self.tracks[name])
            self._weigh()

    def _over(self) -> bool:
        phases = {track.phase for track in self.tracks.values()}
        if phases & {ROLLING, QUEUED, RETURNING}:
            return False
        if self.failure is not None:
            return True
        if WAITING in phases:
            return False
        if DONE not in phases or self.options.soak <= 0:
            return True
        return self.all_healthy_since is not None and self.clock() - self.all_healthy_since >= self.options.soak

    def _wait(self) -> float:
        return WAKE if self.monitor is None else min(WAKE, self.options.monitor_interval)

    # Going forward.

    def _start_ready(self) -> None:
        rolling = sum(track.phase == ROLLING for track in self.tracks.values())
        for track in self.tracks.values():
            if self.options.max_parallel and rolling >= self.options.max_parallel:
                return
            if track.phase != WAITING or not all(
                self.tracks[name].phase in (DONE, UNCHANGED) for name in track.step.service.depends_on
            ):
                continue
            self._start(track)
            if self.failure is not None:
                return
            rolling += track.phase == ROLLING

    def _start(self, track: Track) -> None:
        # Said before it is done: a signal may come between the request and its answer.
        track.touched, track.phase, track.began = True, ROLLING, self.clock()
        self.order.append(track.name)
        self.progress.event(f"{track.name}: {track.step.reason}", service=track.name, state=ROLLING)
        try:
            if track.step.acts:
                track.written = self.driver.apply(track.step)
            else:
                self.driver.adopt(track.step)
        except OpsError as error:
            self._fail(track, Cause("refused", error.cause))
            return
        self._look(track)
        # This one only: among hundreds, that each start weighs all would be most of the work.
        now = self.clock()
        self._weigh_forward(track, now)
        self._ask_monitor(now)

    # Seeing how it goes.

    def _look(self, track: Track) -> None:
        before = track.verdict
        track.verdict = self.driver.judge(track.name)
        if track.phase == ROLLING:
            track.revision = self.driver.revision(track.name) or track.revision
        now = track.verdict
        if (before.state, before.cause and before.cause.code) != (now.state, now.cause and now.cause.code) and (
            now.state in (FAILING, FAILED)
        ):
            text = now.cause.text if now.cause else now.detail
            self.progress.event(f"{track.name}: {now.state}: {text}", service=track.name, state=now.state)
        elif (before.detail != now.detail) and now.state == PROGRESSING and now.detail:
            self.progress.event(f"{track.name}: {now.detail}", service=track.name, state=now.state)

    def _weigh(self) -> None:
        """Turns verdicts, graces and time-outs into phases."""
        now = self.clock()
        for track in list(self.tracks.values()):
            if track.phase in (ROLLING, DONE):
                self._weigh_forward(track, now)
            elif track.phase == RETURNING:
                self._weigh_back(track, now)
        self._ask_monitor(now)
        if self.failure is None and all(
            track.phase == UNCHANGED or (track.phase == DONE and track.verdict.state == HEALTHY)
            for track in self.tracks.values()
        ):
            if self.all_healthy_since is None:
                self.all_healthy_since = now
        else:
            self.all_healthy_since = None
        counts: Dict[str, int] = {}
        for track in self.tracks.values():
            counts[track.phase] = counts.get(track.phase, 0) + 1
        said = ", ".join(f"{count} {phase}" for phase, count in sorted(counts.items()))
        self.progress.heartbeat(f"{said} after {now - self.start:.0f} s", **counts)

    def _weigh_forward(self, track: Track, now: float) -> None:
        verdict = track.verdict
        cause = self._overdue(track, now)
        if cause is not None:
            self._fail(track, cause)
        elif track.phase == ROLLING and verdict.state == HEALTHY:
            track.phase, track.healthy_at, track.restarts = DONE, now, verdict.restarts
            self.progress.event(
                f"{track.name}: healthy after {now - track.began:.0f} s", service=track.name, state=HEALTHY
            )
        elif track.phase == DONE and verdict.restarts > track.restarts and self.failure is None:
            text = verdict.cause.text if verdict.cause else "a container ended and was started again"
            self._fail(track, Cause("crash_loop", f"it was healthy, but then {text}"))
        elif track.phase == ROLLING and now - self.start >= self.options.timeout:
            self._fail(track, self._too_late(verdict, self.options.timeout))
        elif (
            track.phase == DONE
            and verdict.state != HEALTHY
            and now - self.start >= self.options.timeout + self.options.soak
            and self.failure is None
        ):
            self._fail(track, self._too_late(verdict, self.options.timeout + self.options.soak))

    def _overdue(self, track: Track, now: float) -> Optional[Cause]:
        """The cause that makes the service fail now, if one does."""
        verdict = track.verdict
        if verdict.state == FAILED:
            return verdict.cause or Cause("deadline", verdict.detail or "it failed")
        if verdict.state != FAILING or verdict.cause is None:
            track.since.clear()
            return None
        code = verdict.cause.code
        began = track.since.setdefault(code, now)
        grace = self.options.graces.get(code, GRACES.get(code))
        return verdict.cause if grace is not None and now - began >= grace else None

    def _too_late(self, verdict: Verdict, limit: float) -> Cause:
        if verdict.cause is not None:
            return Cause(verdict.cause.code, f"{verdict.cause.text} (after {limit:.0f} s)", verdict.cause.evidence)
        return Cause("timeout", f"not healthy after {limit:.0f} s: {verdict.detail or 'no progress seen'}")

    def _ask_monitor(self, now: float) -> None:
        if self.monitor is None or self.failure is not None or now - self.monitored < self.options.monitor_interval:
            return
        self.monitored = now
        said = self.monitor()
        if said:
            self._fail(None, Cause("monitor", said))

    # Going back.

    def _fail(self, track: Optional[Track], cause: Cause) -> None:
        """Notes a failure (of all that is rolling, when ``track`` is None) and queues what must be put back."""
        now = self.clock()
        failed = [track] if track else [one for one in self.tracks.values() if one.phase == ROLLING]
        for one in failed:
            one.phase, one.cause, one.ended = BROKEN, cause, now
            one.evidence = self._evidence(one.name)
        if self.failure is None:
            self.failure, self.failed_by = cause, track.name if track else ""
        who = track.name if track else "rollout"
        self.progress.event(f"{who}: failed: {cause.text}", service=who, state=FAILED, code=cause.code)
        if self.options.on_failure == "rollback_all":
            self._take_over()
            chosen = [one for one in self.tracks.values() if one.phase in (ROLLING, DONE, BROKEN)]
        elif self.options.on_failure == "rollback_failed":
            chosen = failed
        else:
            chosen = []
        for one in chosen:
            if one.touched:
                one.phase, one.back_queued = QUEUED, now

    def _take_over(self) -> None:
        """What an earlier run touched and this one had not come to goes back with the rest."""
        for track in self.tracks.values():
            if track.phase == WAITING and track.step.action == ADOPT and track.step.back is not None:
                track.touched, track.phase, track.began = True, ROLLING, self.clock()
                self.order.append(track.name)

    def _evidence(self, name: str) -> Dict[str, Any]:
        try:
            return self.driver.evidence(name)
        except Exception as error:
            # Evidence is a help, never a reason not to put back.
            return {"events": [f"no evidence could be gathered: {error}"], "logs": []}

    def _start_returns(self) -> None:
        """Puts back what is queued: the last touched first, and none before those that depend on it stand again.

        A dependent that does not come right holds its dependencies up for a quarter of the time only: it may need
        their old version.
        """
        now = self.clock()
        patience = self.options.rollback_timeout / 4
        for name in reversed(self.order):
            track = self.tracks[name]
            if track.phase != QUEUED:
                continue
            dependents = [one for one in self.tracks.values() if name in one.step.service.depends_on]
            if any(one.phase == QUEUED for one in dependents) or any(
                one.phase == RETURNING and one.verdict.state == PROGRESSING and now - one.back_began < patience
                for one in dependents
            ):
                continue
            self._put_back(track)

    def _put_back(self, track: Track) -> None:
        track.phase, track.back_began = RETURNING, self.clock()
        track.since.clear()
        if track.step.back is None:
            self._stuck(track, Cause("driver", "nothing is known of what it was before"))
            return
        self.progress.event(f"{track.name}: putting back", service=track.name, state=RETURNING)
        try:
            track.written = self.driver.put_back(track.step) or track.written
        except OpsError as error:
            self._stuck(track, Cause("refused", error.cause))
            return
        self._look(track)
        self._weigh_back(track, self.clock())

    def _weigh_back(self, track: Track, now: float) -> None:
        if track.verdict.state == HEALTHY:
            track.phase, track.back_ended = RETURNED, now
            self.progress.event(f"{track.name}: put back and healthy", service=track.name, state=RETURNED)
        elif now - track.back_began >= self.options.rollback_timeout:
            self._stuck(track, self._too_late(track.verdict, self.options.rollback_timeout))
        else:
            cause = self._overdue(track, now)
            if cause is not None:
                self._stuck(track, cause)

    def _stuck(self, track: Track, cause: Cause) -> None:
        track.phase, track.back_cause, track.back_ended = STUCK, cause, self.clock()
        self.progress.event(f"{track.name}: could not be put back: {cause.text}", service=track.name, state=STUCK)

    def _broken_driver(self, text: str) -> None:
        """The driver itself failed: put back what can be; what was being put back is given up."""
        returning = [track for track in self.tracks.values() if track.phase == RETURNING]
        if self.failure is not None:
            for track in returning or [one for one in self.tracks.values() if one.phase in (QUEUED, ROLLING)]:
                self._stuck(track, Cause("driver", text))
        self._fail(None, Cause("driver", text))

    def _conclude(self) -> None:
        if self.failure is not None:
            return
        done = [track for track in self.tracks.values() if track.phase == DONE]

        def finish(track: Track) -> None:
            track.ended = self.clock()
            try:
                self.driver.finish(track.step)
            except OpsError as error:
                # It is healthy; only the record of it is not.
                self.progress.event(f"{track.name}: {error.message}", service=track.name)

        with ThreadPoolExecutor(max_workers=self.driver.at_once) as pool:
            list(pool.map(finish, done))


def touched(tracks: List[Track]) -> Set[str]:
    """The names of the services to which something may have been written."""
    return {track.name for track in tracks if track.touched}
