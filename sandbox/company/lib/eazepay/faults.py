"""How a release can be broken on purpose: `service.json` names a fault, FAULT in the environment overrides it."""

from __future__ import annotations

import threading
import time
from typing import Any, Mapping

KINDS = (
    "none",
    "crash",
    "unready",
    "errors",
    "slow",
    "missing",
)  # a missing release has no image, so nothing to do here


class Fault:
    """crash: ends at start. unready: health answers 503. errors: a share of the requests fails. slow: all wait.

    Health, liveness, version and metrics are never slow and never fail because of `errors`: only users notice.
    """

    def __init__(self, description: Mapping[str, Any], environment: Mapping[str, str]):
        self.kind = environment.get("FAULT") or description.get("fault", "none")
        self.percent = int(environment.get("FAULT_PERCENT") or description.get("fault_percent", 10))
        self.seconds = float(environment.get("FAULT_SECONDS") or description.get("fault_seconds", 0.8))
        if self.kind not in KINDS:
            raise ValueError(f"fault {self.kind!r} is none of {', '.join(KINDS)}")
        self.lock = threading.Lock()
        self.due = 0

    def strikes(self) -> bool:
        """Waits if the service is slow; whether this request is one of those that fail. Exact, not by chance."""
        if self.kind == "slow":
            time.sleep(self.seconds)
        if self.kind != "errors":
            return False
        with self.lock:
            self.due += self.percent
            if self.due < 100:
                return False
            self.due -= 100
            return True
