# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Keeps asking beside other work, and says when an alert condition holds."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ..common.errors import OpsError
from ..common.progress import Progress
from .gate import Gate
from .judge import NO_DATA, Holding, Sample, breach, good
from .options import examine
from .probes import probe


class Monitor:
    """Checks that are made every few seconds in a thread of their own.

    :param checks: with all defaults, as a module's arguments give them.
    :param consecutive: so many bad answers in a row are a breach. After a bad one the next comes sooner, so that all of
        them together take less than two intervals.
    :param since: seconds since 1970; no window reaches back before it.
    """

    def __init__(
        self,
        checks: Sequence[Mapping[str, Any]],
        interval: float = 5.0,
        consecutive: int = 2,
        since: Optional[float] = None,
        threads: int = 8,
        progress: Optional[Progress] = None,
        ask: Callable[..., Sample] = probe,
    ) -> None:
        self.gate = Gate(checks, interval=interval, threads=threads, since=since, progress=progress, ask=ask)
        self.rules = Holding(failures=consecutive, window=max(10, 2 * consecutive), bad=max(4, 2 * consecutive))
        self.said: Optional[str] = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Monitor:
        self.thread.start()
        return self

    def stop(self) -> None:
        """Ends the thread, and the attempts with their own time-outs."""
        self.ending.set()
        self.gate.close()
        self.thread.join(timeout=5)

    def breach(self) -> Optional[str]:
        """The alert condition that holds, in a sentence; once said, it stays. Never waits."""
        if self.said is None and self.thread.ident is not None and not self.thread.is_alive():
            # A watch that died sees nothing, and what nobody sees did not pass.
            self.said = "the monitor itself has ended"
        return self.said

    def report(self) -> List[Dict[str, Any]]:
        """Each check with its samples, for the run's record."""
        return self.gate.report()

    def _weigh(self, one: Any) -> None:
        # What a window cannot tell yet is no alert: the gate after the rollout demands data.
        told = [sample for sample in one.phase if sample.verdict != NO_DATA]
        if one.phase:
            one.verdict, one.reason = one.phase[-1].verdict, one.phase[-1].reason
        why = breach(told, self.rules, one.no_data)
        if told and told[-1] is one.phase[-1] and not good(told[-1].verdict, one.no_data):
            # A first bad answer is soon confirmed or not: an alert comes within two intervals of its cause.
            one.due = time.monotonic() + self.gate.interval / self.rules.failures
        if why and self.said is None:
            one.reason = why
            self.said = f"{one.name}: {why}"
            self.gate.progress.event(f"alert: {self.said}", check=one.name)

    def _run(self) -> None:
        try:
            for one in self.gate.watched:
                one.due = time.monotonic()
            while not self.ending.is_set() and self.said is None:
                self.gate._dispatch()
                self.gate._collect(self._weigh)
        except Exception as error:
            self.said = f"the monitor cannot watch: {type(error).__name__}: {error}"


@contextlib.contextmanager
def watching(
    options: Optional[Mapping[str, Any]], check_mode: bool = False, progress: Optional[Progress] = None
) -> Iterator[Optional[Monitor]]:
    """A monitor for the length of a block; none without checks. An ``OpsError`` that leaves takes its samples along."""
    checks = (options or {}).get("checks") or []
    if not checks:
        yield None
        return
    examine(checks)
    if check_mode:
        yield None
        return
    options = options or {}
    since = options.get("since")
    monitor = Monitor(
        checks,
        options.get("interval") or 5.0,
        options.get("consecutive") or 2,
        time.time() if since is None else since,
        progress=progress,
    ).start()
    try:
        yield monitor
    except OpsError as error:
        error.result.setdefault("monitor", monitor.report())
        raise
    finally:
        monitor.stop()


__all__ = ["Monitor", "watching"]
