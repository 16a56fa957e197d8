# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Replaces the containers of one Compose service, in a thread of its own: new ones first where that can be."""

from __future__ import annotations

import threading
import time
from typing import List, Optional, Sequence

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.process import Finished, tail

from .compose_project import Board, Project
from .compose_verdict import KEPT_UP, SOAK, Container, Target, judge, pick
from .types import HEALTHY, Cause, Verdict

# Seconds in which any container has to have ended; its own stop_grace_period counts before that.
STOPPING = 600.0


class Stopped(Exception):
    """Whoever started the replacement wants it no more."""


class Replacement(threading.Thread):
    """Goes on until the target's containers stand alone and healthy, or it is stopped, or Docker refuses.

    What it does depends on what it finds only, so it may be started at any point of another one that died.

    :param in_place: why the old containers have to go first; empty when new ones can stand beside them.
    """

    def __init__(self, project: Project, board: Board, service: str, target: Target, in_place: str = "") -> None:
        super().__init__(daemon=True)
        self.project = project
        self.board = board
        self.service = service
        self.target = target
        self.in_place = in_place
        self.asked_to_stop = threading.Event()
        self.absences = project.absences
        self.begun = False  # until then, what has ended is what it found, and says nothing of what it does
        self.done = False
        self.cause: Optional[Cause] = None
        self.gap: Optional[float] = None

    def run(self) -> None:
        try:
            if self.in_place or self.target.replicas == 0:
                self._stop_first()
            else:
                self._start_first()
            self.board.refresh()
            self.done = True
        except Stopped:
            pass
        except OpsError as error:
            self.cause = Cause("driver", error.cause)
        except Exception as error:
            # A thread that dies unheard would look like one that is still at work.
            self.cause = Cause("driver", f"{type(error).__name__}: {error}")
        self.board.woken.set()

    def stop(self) -> None:
        """Ends it at its next step, and waits for that."""
        self.asked_to_stop.set()
        self.board.woken.set()
        if self.is_alive():
            self.join(STOPPING)

    def verdict(self) -> Verdict:
        """How the target stands among all containers of the service."""
        found = pick(self.board.containers, self.service)
        return judge(self.target, found, self.board.steady(SOAK))

    def _look(self) -> List[Container]:
        if self.asked_to_stop.is_set():
            raise Stopped
        return pick(self.board.refresh(), self.service)

    def _start_first(self) -> None:
        found = self._look()
        # Compose would start ended containers again, the old ones too.
        self._remove([one for one in found if not one.alive])
        standing = [one for one in found if one.alive]
        missing = self.target.replicas - sum(self.target.matches(one) for one in standing)
        if missing > 0:
            self._up(len(standing) + missing, "--no-recreate")
        self._await()
        found = self._look()
        mine = [one for one in found if self.target.matches(one)]
        self._end([one for one in found if not self.target.matches(one)] + mine[self.target.replicas :])

    def _stop_first(self) -> None:
        found = self._look()
        if self.target.replicas == 0:
            self._end(found)
            return
        if self.verdict().state == HEALTHY:
            return
        began = time.monotonic()
        old = [one for one in found if not self.target.matches(one)]
        if any(one.alive for one in old):
            self._halt([one.id for one in old if one.alive])
        if self.asked_to_stop.is_set():
            raise Stopped
        self._up(self.target.replicas)
        self._await()
        if old and self.target.one_shot is not True:
            self.gap = time.monotonic() - began
        # What Compose replaced is gone; what it did not know as its own is not.
        self._end([one for one in self._look() if not self.target.matches(one)])

    def _up(self, scale: int, *words: str) -> None:
        ended = self.project.up(self.service, scale, *words)
        if ended.rc:
            raise OpsError("start", self.service, tail(ended.stderr, 3) or f"docker compose ended with {ended.rc}")

    def _await(self) -> None:
        version = -1
        self._look()
        self.begun = True
        while self.verdict().ready < self.target.replicas:
            if self.absences != self.project.absences:
                self.absences = self.project.absences
                self._revive()
            version = self.board.wait(version, 1.0)
            if self.asked_to_stop.is_set():
                raise Stopped

    def _revive(self) -> None:
        """An engine that was killed comes back without what it ran."""
        ended = [one for one in self._look() if one.status == "exited" and one.restart_policy in KEPT_UP]
        mine = [one.id for one in ended if self.target.matches(one) or not self.in_place]
        if mine:
            self._checked("start", *mine)

    def _end(self, containers: Sequence[Container]) -> None:
        alive = [one.id for one in containers if one.alive]
        if alive:
            self._halt(alive)
        self._remove(containers)

    def _remove(self, containers: Sequence[Container]) -> None:
        if containers:
            self._checked("rm", "--force", *(one.id for one in containers))

    def _halt(self, ids: List[str]) -> None:
        self._judged(self.project.stop(ids, STOPPING), "stop")

    def _checked(self, *words: str) -> None:
        self._judged(self.project.docker(*words, timeout=STOPPING), words[0])

    def _judged(self, ended: Finished, verb: str) -> None:
        if ended.rc and "No such container" not in ended.stderr and "already in progress" not in ended.stderr:
            raise OpsError(verb, f"containers of {self.service}", tail(ended.stderr, 3))
