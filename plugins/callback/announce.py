# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: announce
type: notification
short_description: Tell the team every five minutes how far a run is
version_added: 1.0.0
description:
  - Says which step and task a run is in, and for how long, also while one task takes long. It begins when a task sets
    the fact O(told_fact), and ends with the run, so only runs that are announced at all are reported.
  - With a token the updates are answers in the run's thread, whose first message they keep up to date. A mail is sent
    only where there is no Slack.
  - Tasks with C(no_log) are not named. It never fails a run; what did not arrive is a warning.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.run
requirements:
  - to be named in C(callbacks_enabled)
options:
  interval:
    description: Seconds between two updates.
    type: float
    default: 300
    ini:
      - {section: callback_announce, key: interval}
    env:
      - {name: ANSIBLE_ANNOUNCE_INTERVAL}
  told_fact:
    description: The fact that says what to tell whom, a dictionary of C(subject), C(thread) and C(to). Empty ends it.
    type: str
    default: run_told
    ini:
      - {section: callback_announce, key: told_fact}
  place_fact:
    description:
      - The fact that says where, a dictionary of C(slack) and C(mail) as in the role announce. It holds secrets, so the
        task that sets it has C(no_log), and it is read from the run's variables.
    type: str
    default: run_places
    ini:
      - {section: callback_announce, key: place_fact}
"""

import contextlib
import threading
import time
from typing import Any, Dict

from ansible.plugins.callback import CallbackBase
from ansible_collections.eazepay.ops.plugins.module_utils.announce import mail, slack
from ansible_collections.eazepay.ops.plugins.module_utils.announce.update import Seen, update


class CallbackModule(CallbackBase):
    """Watches the run, and tells from a thread of its own, so that no task waits for Slack."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "eazepay.ops.announce"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None, options: Any = None) -> None:
        super().__init__(display=display, options=options)
        self.told: Dict[str, Any] = {}
        self.places: Dict[str, Any] = {}
        self.play: Any = None
        self.seen = Seen(began=time.time())
        self.over = threading.Event()
        self.teller: Any = None

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.play = play

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        with contextlib.suppress(Exception):
            name = "" if task.no_log else task.get_name().partition(" : ")[2] or task.get_name()
            self.seen = self.seen._replace(task=name, task_began=time.time())

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def v2_runner_on_ok(self, result: Any) -> None:
        with contextlib.suppress(Exception):
            facts = result._result.get("ansible_facts") or {}
            step = facts.get(self.get_option("step_fact"))
            if step and step != self.seen.step:
                done = (*self.seen.done, self.seen.step) if self.seen.step else self.seen.done
                self.seen = self.seen._replace(step=str(step), done=done)
            told = facts.get(self.get_option("told_fact"))
            if isinstance(told, dict):
                known = self.play.get_variable_manager().get_vars(play=self.play, host=result._host)
                self.places, self.told = dict(known.get(self.get_option("place_fact")) or {}), told
                if told and self.teller is None:
                    self.teller = threading.Thread(target=self.tell, daemon=True)
                    self.teller.start()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        with contextlib.suppress(Exception):
            if not ignore_errors:
                self.seen = self.seen._replace(failed=self.seen.task)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self.over.set()

    def tell(self) -> None:
        every = max(1.0, float(self.get_option("interval")))
        while not self.over.wait(every):
            # An empty fact ends it: the run tells its end itself.
            told = dict(self.told)
            if not told:
                continue
            text = update(self.seen, time.time())
            with contextlib.suppress(Exception):
                lost = self.send(told, text)
                if lost:
                    self._display.warning(f"the team was not told how far the run is: {lost}")

    def send(self, told: Dict[str, Any], text: str) -> str:
        """What did not arrive, and why; empty when all did."""
        subject = str(told.get("subject", ""))
        place, server = self.places.get("slack") or {}, self.places.get("mail") or {}
        if place:
            thread = str(told.get("thread") or "")
            sent = slack.send(place, f"*{subject}*\n{text}", thread=thread, attempts=2, limit=30)
            if thread and sent.delivered:
                slack.send(place, f"*{subject}*\n{text}", edit=thread, attempts=1)
            return sent.error
        if server.get("host") and told.get("to"):
            return mail.send(server, list(told["to"]), subject, text)
        return ""
