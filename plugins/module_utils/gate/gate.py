# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Asks many checks at once, until they say yes, and then for as long as they have to stay so."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ..common.errors import MissingLibrary, OpsError
from ..common.progress import Progress
from ..common.redact import Redactor
from .judge import ERROR, FAIL, NO_DATA, PASS, WARN, Holding, Sample, become, breach, good, held, streak, worst
from .options import kind_of, writes
from .probes import probe

KEPT = 500  # samples of a check that a result carries
STARVED = 30.0  # seconds that a check waits for a thread while none moves
LATE = 3.0  # seconds after its own time-out that an attempt counts as lost


@dataclass
class Watched:
    """One check on its way. ``since`` of the attempt that is under way is None while there is none."""

    check: Mapping[str, Any]
    kind: str
    timeout: float
    samples: List[Sample] = field(default_factory=list)
    phase: List[Sample] = field(default_factory=list)  # those of the present phase
    asked: Optional[float] = None
    due: float = 0.0
    done: bool = False
    verdict: str = NO_DATA
    reason: str = "it was never asked"

    @property
    def name(self) -> str:
        return self.check["name"]

    @property
    def no_data(self) -> str:
        return self.check["no_data"]

    @property
    def ok(self) -> bool:
        return good(self.verdict, self.no_data)


class Gate:
    """The checks of one call.

    :param threads: how many attempts are under way at most.
    :param since: seconds since 1970; no window reaches back before it.
    """

    def __init__(
        self,
        checks: Sequence[Mapping[str, Any]],
        *,
        interval: float = 5.0,
        threads: int = 16,
        since: Optional[float] = None,
        progress: Optional[Progress] = None,
        ask: Callable[..., Sample] = probe,
    ) -> None:
        self.watched = []
        for check in checks:
            kind = kind_of(check)
            self.watched.append(Watched(check, kind, float(check[kind]["timeout"])))
        self.interval = interval
        self.since = since
        self.progress = progress or Progress()
        self.ask = ask
        self.redact = Redactor().text
        self.work: queue.Queue = queue.Queue()
        self.answers: queue.Queue = queue.Queue()
        self.free = max(1, min(threads, len(self.watched)))
        for _number in range(self.free):
            # Daemons: an attempt that hangs in the resolver must not keep the module from ending.
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            token = self.work.get()
            if token is None:
                return
            one, asked, options = token
            try:
                sample: Any = self.ask(one.kind, options, self.since)
            except BaseException as error:
                sample = error
            self.answers.put((one, asked, sample))

    def close(self) -> None:
        """Lets the threads end."""
        for _one in self.watched:
            self.work.put(None)

    def become(self, deadline: float, consecutive: int) -> None:
        """Asks until each check was good so often in a row, or the deadline is over; each is asked once at least."""
        begun = time.monotonic()

        def weigh(one: Watched) -> None:
            one.verdict, one.reason = become(one.phase, consecutive, one.no_data)
            over = time.monotonic() - begun >= deadline
            unbroken = streak(one.phase, one.no_data) == len(one.phase)
            one.done = one.ok or (over and not unbroken)

        self._phase(weigh, "waiting for")
        for one in self.watched:
            self.progress.event(f"{one.name}: {one.verdict}: {one.reason}", check=one.name, verdict=one.verdict)

    def hold(self, seconds: float, warm_up: float, rules: Holding) -> None:
        """Asks for so many seconds; the first breach ends it."""
        begun = time.monotonic()
        broken: List[Watched] = []

        def weigh(one: Watched) -> None:
            late = [sample for sample in one.phase if sample.at >= started + warm_up]
            why = breach(late, rules, one.no_data)
            over = time.monotonic() - begun >= max(seconds, warm_up)
            if why:
                broken.append(one)
            if why or over:
                one.verdict, one.reason, final = held(late, rules, one.no_data)
                one.done = bool(late) and (final or bool(why))
            if broken and not one.done:
                one.done = True
                one.verdict, one.reason, _final = held(late, rules, one.no_data)

        started = time.time()
        self._phase(weigh, "holding", broken)
        for one in broken:
            self.progress.event(f"{one.name}: {one.reason}", check=one.name, verdict=one.verdict)

    def _phase(self, weigh: Callable[[Watched], None], what: str, broken: Sequence[Watched] = ()) -> None:
        now = time.monotonic()
        for one in self.watched:
            one.phase, one.done, one.due = [], False, now
        while not all(one.done for one in self.watched) and not broken:
            self._dispatch()
            self._collect(weigh)
            waiting = [one.name for one in self.watched if not one.done]
            self.progress.heartbeat(f"{what} {len(waiting)} checks: {', '.join(waiting[:3])}")
        for one in self.watched:
            if not one.done and one.phase:
                weigh(one)

    def _dispatch(self) -> None:
        now = time.monotonic()
        waiting = [one for one in self.watched if not one.done and one.asked is None and one.due <= now]
        for one in sorted(waiting, key=lambda one: one.due):
            if self.free <= 0:
                return
            self.free -= 1
            one.asked = now
            self.work.put((one, now, one.check[one.kind]))

    def _collect(self, weigh: Callable[[Watched], None]) -> None:
        now = time.monotonic()
        moments = [
            one.due if one.asked is None else one.asked + one.timeout + LATE for one in self.watched if not one.done
        ]
        # Without a free thread nothing that is due can start; only an answer helps.
        wait = min([0.5, *(moment - now for moment in moments if moment > now)])
        try:
            one, asked, sample = self.answers.get(timeout=max(0.01, wait))
            self.free += 1
            if isinstance(sample, MissingLibrary):
                raise sample
            if isinstance(sample, BaseException):
                sample = Sample(ERROR, f"the check itself failed: {type(sample).__name__}: {sample}")
            if one.asked == asked:  # not the late answer of an attempt that was given up
                self._note(one, sample, weigh)
        except queue.Empty:
            pass
        now = time.monotonic()
        for one in self.watched:
            if one.done:
                continue
            if one.asked is not None and now - one.asked > one.timeout + LATE:
                self._note(one, Sample(ERROR, f"no answer within {one.timeout:g} s", seconds=one.timeout), weigh)
            elif one.asked is None and self.free <= 0 and now - one.due > STARVED and not self._alive(now):
                self._note(one, Sample(ERROR, "every thread hangs in another check"), weigh)

    def _alive(self, now: float) -> bool:
        """Whether an attempt is under way that may still answer in time."""
        return any(one.asked is not None and now - one.asked <= one.timeout + LATE for one in self.watched)

    def _note(self, one: Watched, sample: Sample, weigh: Callable[[Watched], None]) -> None:
        sample = replace(sample, reason=self.redact(sample.reason), at=time.time())
        one.asked = None
        one.due = time.monotonic() + self.interval
        one.samples.append(sample)
        one.phase.append(sample)
        if not one.done:
            weigh(one)

    def report(self) -> List[Dict[str, Any]]:
        """Each check as a module returns it."""
        return [shown(one) for one in self.watched]


def shown(one: Watched) -> Dict[str, Any]:
    last = one.samples[-1].details if one.samples else {}
    options = one.check[one.kind]
    limits = {
        "warn": options.get("warn", options.get("warn_seconds")),
        "fail": options.get("fail", options.get("fail_seconds")),
    }
    return {
        "name": one.name,
        "kind": one.kind,
        "verdict": one.verdict,
        "ok": one.ok,
        "reason": one.reason,
        "seconds": round(sum(sample.seconds for sample in one.samples), 3),
        "attempts": len(one.samples),
        "limits": limits,
        "unit": options.get("unit") or ("s" if one.kind == "http" else ""),
        "samples": [
            {
                "at": round(sample.at, 3),
                "verdict": sample.verdict,
                "value": sample.value if one.kind in ("prometheus", "postgres") else sample.seconds,
            }
            for sample in one.samples[-KEPT:]
        ],
        **{key: value for key, value in last.items() if value},
    }


def table(checks: Sequence[Mapping[str, Any]]) -> str:
    """The checks in lines: the bad ones first, the good ones after."""
    if not checks:
        return "no checks"
    width = max(len(one["name"]) for one in checks)
    lines = sorted(checks, key=lambda one: one["ok"])
    return "\n".join(f"  {one['verdict']:<7}  {one['name']:<{width}}  {one['reason']}" for one in lines)


def run(params: Mapping[str, Any], check_mode: bool = False, progress: Optional[Progress] = None) -> Dict[str, Any]:
    """One call of ``health_gate``. :raises OpsError: the gate is closed; the result says why."""
    begun = time.monotonic()
    checks = params["checks"]
    skipped = [one["name"] for one in checks if check_mode and writes(one)]
    asked = [one for one in checks if one["name"] not in skipped]
    gate = Gate(
        asked,
        interval=params["interval"],
        threads=params["threads"],
        since=params["since"],
        progress=progress,
    )
    phase = "become"
    try:
        gate.become(0 if check_mode else params["deadline"], 1 if check_mode else params["consecutive"])
        if params["hold"] > 0 and not check_mode and all(one.ok for one in gate.watched):
            phase = "stay"
            gate.hold(
                params["hold"],
                params["warm_up"],
                Holding(params["hold_failures"], params["hold_window"], params["hold_bad"]),
            )
    finally:
        gate.close()
    report = gate.report()
    bad = [one for one in report if not one["ok"]]
    verdict = (
        worst(
            one["verdict"] if not one["ok"] or one["verdict"] != NO_DATA else check["no_data"]
            for one, check in zip(report, asked)
        )
        if report
        else (NO_DATA if not skipped else PASS)
    )
    result: Dict[str, Any] = {
        "changed": False,
        "verdict": verdict,
        "checks": report,
        "skipped_checks": skipped,
        "seconds": round(time.monotonic() - begun, 2),
    }
    counts = ", ".join(
        f"{sum(one['verdict'] == name for one in report)} {name}"
        for name in (PASS, WARN, FAIL, NO_DATA, ERROR)
        if any(one["verdict"] == name for one in report)
    )
    result["msg"] = f"{verdict}: {counts} in {result['seconds']:g} s\n{table(report)}"
    if bad and not params["report_only"] and not check_mode:
        del result["msg"]
        cause = f"{len(bad)} of {len(report)} checks are bad\n{table(bad)}"
        raise OpsError(phase, "healthy", cause, **result)
    return result


__all__ = ["FAIL", "Gate", "run", "table"]
