# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The process that holds a lock, so that its death can be seen before the lock expires."""

from __future__ import annotations

import os
import socket
from typing import Any, Dict, Optional, Tuple


def stat(pid: int) -> Optional[Tuple[int, str]]:
    """The parent and the start time of a process; None if it has ended. Linux only."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[1]), fields[19]) if fields[0] not in ("Z", "X") else None


def place() -> str:
    """Where process ids mean something: this boot of this machine, or of this container."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def current_run() -> Dict[str, Any]:
    """What is known of the run that this module belongs to; ``pid`` only where Ansible runs on the same machine."""
    found: Dict[str, Any] = {"host": socket.gethostname()}
    pid, run = os.getppid(), 0
    while pid > 1:
        known = stat(pid)
        if known is None:
            break
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = [os.path.basename(word) for word in file.read().split(b"\0")[:3]]
        except OSError:
            break
        if b"ansible-playbook" in words:
            # The outermost is the run itself, the inner ones are its workers.
            run = pid
        pid = known[0]
    started = stat(run) if run else None
    if started and place():
        found.update(pid=run, started=started[1], place=place())
    return found


def ended(holder: Dict[str, Any]) -> bool:
    """Whether the holder's process has certainly ended. What cannot be known from here counts as alive."""
    if not holder.get("pid") or holder.get("host") != socket.gethostname():
        return False
    here = place()
    if not here or holder.get("place", "").rpartition("/")[2] != here.rpartition("/")[2]:
        return False
    if holder["place"] != here:
        return True  # the machine was started anew since
    found = stat(int(holder["pid"]))
    return found is None or found[1] != holder.get("started")
