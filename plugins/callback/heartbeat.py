# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: heartbeat
type: notification
short_description: Keep a run's deployment lock while the run lives, and no longer
version_added: 1.0.0
description:
  - Renews the lock that M(eazepay.ops.release_ledger) took, also while one task takes long. It begins when a task sets
    the fact O(locked_fact), and ends with the run, however that ends.
  - From its first heartbeat on the lock expires after O(ttl), so that one whose run has died is soon another's, on any
    machine. The clocks of the machines must not be minutes apart.
  - It never fails a run. A heartbeat that cannot be written, and a lock that somebody else took, is a warning; the run
    itself stops at its next record when it has lost the lock.
  - Without this plugin, and where the ledger is a folder of another machine than the one Ansible runs on, the lock
    expires after the time it was taken for.
author:
  - The eazepay.ops authors (@eazepay)
requirements:
  - to be named in C(callbacks_enabled)
options:
  interval:
    description: Seconds between two heartbeats.
    type: float
    default: 60
    ini:
      - {section: callback_heartbeat, key: interval}
    env:
      - {name: ANSIBLE_HEARTBEAT_INTERVAL}
  ttl:
    description: Seconds after which the lock expires without another heartbeat; two intervals at least.
    type: float
    default: 300
    ini:
      - {section: callback_heartbeat, key: ttl}
    env:
      - {name: ANSIBLE_HEARTBEAT_TTL}
  locked_fact:
    description: The fact that is true once the run holds its lock.
    type: str
    default: run_locked
    ini:
      - {section: callback_heartbeat, key: locked_fact}
  lock_fact:
    description:
      - The fact that says which lock it is, a dictionary of C(store), C(owner), and further C(options) of
        M(eazepay.ops.release_ledger). They may hold secrets, so the task that sets it has C(no_log), and it is read
        from the run's variables.
    type: str
    default: run_lock
    ini:
      - {section: callback_heartbeat, key: lock_fact}
"""

import contextlib
import os
import signal
import time
from typing import Any, Dict

from ansible.plugins.callback import CallbackBase
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import secrets
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import MissingLibrary
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import open_store

# Seconds within which the process that renews sees that the run has ended.
LOOK = 0.5


class CallbackModule(CallbackBase):
    """Renews from a process of its own, which ends with the run.

    A thread would not do: each task is a fork of this process, and one that is made during a write would keep the
    ledger's file lock for as long as it lives, which is longer than a run that was killed.
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "eazepay.ops.heartbeat"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None, options: Any = None) -> None:
        super().__init__(display=display, options=options)
        self.play: Any = None
        self.beating = 0  # the process

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.play = play

    def v2_runner_on_ok(self, result: Any) -> None:
        with contextlib.suppress(Exception):
            facts = result._result.get("ansible_facts") or {}
            if facts.get(self.get_option("locked_fact")):
                known = self.play.get_variable_manager().get_vars(play=self.play, host=result._host)
                lock = known.get(self.get_option("lock_fact"))
                if lock:
                    self.end()
                    self.begin(dict(lock))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self.end()

    def begin(self, lock: Dict[str, Any]) -> None:
        options = dict(lock.get("options") or {})
        redactor = Redactor(secrets(options))
        try:
            ledger = Ledger(open_store(str(lock["store"]), options))
        except Exception as error:
            why = f"the Python library {error} is missing" if isinstance(error, MissingLibrary) else str(error)
            self._display.warning(redactor.text(f"the deployment lock has no heartbeat: {why}"))
            return
        run = os.getpid()
        self.beating = os.fork()
        if self.beating == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # with which a person answers a question of the run's
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self.beat(ledger, str(lock["owner"]), redactor, run)
            finally:
                os._exit(0)

    def end(self) -> None:
        if self.beating:
            with contextlib.suppress(OSError):
                os.kill(self.beating, signal.SIGTERM)
                os.waitpid(self.beating, 0)
            self.beating = 0

    def beat(self, ledger: Ledger, owner: str, redactor: Redactor, run: int) -> None:
        interval = max(LOOK, float(self.get_option("interval")))
        ttl = max(2 * interval, float(self.get_option("ttl")))
        held, told = False, ""
        while True:
            lost = ""
            try:
                decision = ledger.beat(owner, ttl)
                if not decision.granted:
                    if held and decision.holder.get("owner"):
                        warn(f"the deployment lock was taken by {decision.holder['owner']}")
                    return  # when it is free, the run gave it back
                held = True
            except Exception as error:
                lost = redactor.text(str(error))
                if lost != told:
                    warn(f"the deployment lock's heartbeat could not be written: {lost}")
            told = lost
            until = time.monotonic() + interval
            while time.monotonic() < until:
                time.sleep(LOOK)
                if os.getppid() != run:
                    return


def warn(text: str) -> None:
    """As Ansible's display does; a lock of its, which this process got when it was forked, may never be freed."""
    with contextlib.suppress(OSError):
        os.write(2, f"[WARNING]: {text}\n".encode())
