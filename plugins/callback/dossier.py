# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dossier
type: notification
short_description: Write one page about each deployment, rollback and maintenance
version_added: 1.0.0
description:
  - Writes one HTML file, and the same as JSON, for each run that deployed, rolled back, restored, or switched
    maintenance.
  - The page says how the run ended, why, and in which state everything is; then when what happened, what changed from
    what to what, the graphs of the gates, backups, migrations, portals, notices and commits. It needs no network and no
    JavaScript, prints, and reads well on a phone.
  - Tasks with C(no_log) are left out, and what looks like a secret is masked.
  - It never fails a run.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.run
requirements:
  - to be named in C(callbacks_enabled)
options:
  dossier_dir:
    description: Folder for the files, on the machine that runs Ansible. It is made when it is missing.
    type: path
    default: ./dossiers
    ini:
      - {section: callback_dossier, key: dossier_dir}
    env:
      - {name: ANSIBLE_DOSSIER_DIR}
  dossier_keep:
    description: So many dossiers stay, the newest; 0 keeps all.
    type: int
    default: 100
    ini:
      - {section: callback_dossier, key: dossier_keep}
    env:
      - {name: ANSIBLE_DOSSIER_KEEP}
  steps_fact:
    description:
      - The fact that lists the steps that ended, each with C(name) and C(seconds). Whoever sets it at a step's end sees
        the same times in the page; what follows is no part of the step.
    type: str
    default: run_steps
    ini:
      - {section: callback_dossier, key: steps_fact}
  name_fact:
    description: The fact that names the run, and with it the file. The time and the playbook's name do without it.
    type: str
    default: run_id
    ini:
      - {section: callback_dossier, key: name_fact}
  stat:
    description:
      - What M(ansible.builtin.set_stats) calls the run. Its C(purpose), C(environment), C(target), C(release),
        C(put_back) and C(portals), all that there are, are shown.
    type: str
    default: run_report
    ini:
      - {section: callback_dossier, key: stat}
"""

import contextlib
import json
import os
import re
import time
from typing import Any, Dict, List

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor
from ansible_collections.eazepay.ops.plugins.plugin_utils.dossier import model, render

FILE = re.compile(r"\d{8}T\d{6}Z-[\w.+-]+\.(?:html|json)")


class CallbackModule(CallbackBase):
    """Collects what the collection's modules return; the page is made of it when the run ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "eazepay.ops.dossier"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None, options: Any = None) -> None:
        super().__init__(display=display, options=options)
        self.events: List[Dict[str, Any]] = []
        self.began: Dict[str, float] = {}
        self.run: Dict[str, Any] = {"began": time.time(), "step": "", "name": "", "steps": []}
        self.stopped = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        with contextlib.suppress(Exception):
            self.run["playbook"] = os.path.splitext(os.path.basename(playbook._file_name))[0]
            self.run["check"] = bool(context.CLIARGS.get("check"))
            sources = [str(one).rstrip("/") for one in context.CLIARGS.get("inventory") or ()]
            first = os.path.basename(sources[0]) if sources and "," not in sources[0] else ""
            self.run["environment"] = os.path.basename(os.path.dirname(sources[0])) if first == "hosts" else first

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.began[task._uuid] = time.time()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.began[task._uuid] = time.time()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._note(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._note(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._note(result, "failed")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        with contextlib.suppress(Exception):
            self.run["failed"] = bool(stats.failures or stats.dark)
        self._write()

    def _note(self, result: Any, outcome: str) -> None:
        # A page that lacks a line is better than a run that ends because of it.
        with contextlib.suppress(Exception):
            task, data = result._task, result._result
            if task.no_log or "censored" in data:
                data = {}
            action = str(task.resolved_action or task.action)
            facts = data.get("ansible_facts") if action.endswith("set_fact") else None
            if isinstance(facts, dict):
                self._stepped(facts)
                self.run["name"] = str(facts.get(self.get_option("name_fact"), self.run["name"]))
                self._announced(facts.get("announce_result"))
            said = (data.get("ansible_stats") or {}).get("data") if action.endswith("set_stats") else None
            if isinstance(said, dict) and isinstance(said.get(self.get_option("stat")), dict):
                self.run["stat"] = said[self.get_option("stat")]
            host = result._host.get_name()
            for one in data.get("results") or [data] if "results" in data else [data]:
                event = model.event(
                    task=task.get_name(),
                    action=action,
                    host=host,
                    step=self.run["step"],
                    began=self.began.get(task._uuid, time.time()),
                    ended=time.time(),
                    outcome="failed" if outcome == "ok" and isinstance(one, dict) and one.get("failed") else outcome,
                    result=one if isinstance(one, dict) else {},
                )
                if event is not None:
                    self.events.append(event)

    def _stepped(self, facts: Dict[str, Any]) -> None:
        """A step begins, or ends with the time that the playbook took."""
        begun, ended = facts.get(self.get_option("step_fact")), facts.get(self.get_option("steps_fact"))
        if begun is not None:
            self.run["step"], self.run["step_began"] = str(begun), time.time()
        elif ended and ended[-1]["name"] == self.run["step"]:
            step = {"name": self.run["step"], "began": self.run["step_began"], "seconds": float(ended[-1]["seconds"])}
            self.run["steps"].append(step)
            self.run["step"] = ""

    def _announced(self, told: Any) -> None:
        """Slack's address is a secret, so its task is not seen; the role says how it went."""
        for one in told[-1:] if isinstance(told, list) else []:
            if isinstance(one, dict) and one.get("channel") == "slack":
                at = time.time()
                outcome = "ok" if one.get("delivered") else "failed"
                found = model.event("Slack", "community.general.slack", "", self.run["step"], at, at, outcome, {})
                if found is not None:
                    found["result"] = {"to": "slack", "subject": ""}
                    self.events.append({**found, "outcome": "ignored" if outcome == "failed" else "ok"})

    def _write(self) -> None:
        try:
            document = model.document({**self.run, "ended": time.time()}, self.events)
            if document is None:
                return
            document = Redactor().value(document)
            folder = self.get_option("dossier_dir")
            os.makedirs(folder, mode=0o700, exist_ok=True)
            stem = model.stem(document)
            page = os.path.join(folder, stem + ".html")
            put(
                os.path.join(folder, stem + ".json"), json.dumps(document, indent=1, sort_keys=True, default=str) + "\n"
            )
            put(page, render.page(document))
            prune(folder, int(self.get_option("dossier_keep")))
            self._display.display(f"Dossier: {page}")
        except Exception as error:
            self._display.warning(f"no dossier could be written: {type(error).__name__}: {error}")


def put(path: str, text: str) -> None:
    """Writes a file as a whole; only its owner may read it."""
    beside = f"{path}.{os.getpid()}"
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def prune(folder: str, keep: int) -> None:
    """Leaves the newest dossiers; touches nothing that is not called like one."""
    if keep <= 0:
        return
    stems: List[str] = []
    for name in sorted((one for one in os.listdir(folder) if FILE.fullmatch(one)), reverse=True):
        stem = name.rsplit(".", 1)[0]
        if stem not in stems:
            stems.append(stem)
        if stems.index(stem) >= keep:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
