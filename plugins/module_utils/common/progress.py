# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Progress of long modules: one JSON object a line in a file that an action plugin follows while the task runs."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import Any, Callable, Optional


class Progress:
    """Says what is going on. Harmless when nobody watches, thread-safe, and it never fails the work.

    :param path: the file to append to; None is silence.
    :param redact: applied to every text before it is written.
    :param heartbeat: seconds between two heartbeats at least.
    """

    def __init__(
        self,
        path: Optional[str] = None,
        redact: Callable[[str], str] = str,
        heartbeat: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.redact = redact
        self.every = heartbeat
        self.clock = clock
        self.lock = threading.Lock()
        self.last = clock()
        self.started = self.last

    def event(self, text: str, **data: Any) -> None:
        """A change of state: always written."""
        self._write("event", text, data)

    def heartbeat(self, text: str, **data: Any) -> None:
        """A sign of life: written at most once every ``heartbeat`` seconds since anything was written."""
        if self.clock() - self.last >= self.every:
            self._write("heartbeat", text, data)

    def _write(self, kind: str, text: str, data: Any) -> None:
        with self.lock:
            self.last = self.clock()
            if not self.path:
                return
            line = (
                json.dumps({"kind": kind, "at": self.last, "text": self.redact(text), "data": data}, default=str) + "\n"
            )
            with contextlib.suppress(OSError):
                handle = os.open(
                    self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600
                )
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(line)
