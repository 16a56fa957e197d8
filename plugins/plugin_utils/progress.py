# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the task's name and shows its progress while it works.

The module appends lines to a file on the target; this plugin follows the file and displays what is new. It serves every
module that takes ``progress_file``, through an action plugin of the module's name.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import threading
import uuid
from typing import Any, Dict, List, Optional

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

LOCAL_PAUSE = 0.3
REMOTE_PAUSE = 2.0

# In AWX every line is a stored event: more than this many in one task are not worth it.
MOST_LINES = 500


class ActionModule(ActionBase):
    """The task's module, with its progress shown."""

    TRANSFERS_FILES = False
    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        quiet = bool(self._task.no_log) or bool(self._task.async_val)
        follower = None
        if not quiet and not arguments.get("progress_file"):
            local = self._connection.transport == "local"
            folder = tempfile.gettempdir() if local else "/tmp"  # noqa: S108
            # Nobody can guess the name, and the module opens the file without following links.
            arguments["progress_file"] = f"{folder}/.eazepay-progress-{uuid.uuid4().hex}"
            follower = Follower(
                self, arguments["progress_file"], local, (task_vars or {}).get("inventory_hostname", "")
            )
        if follower is None:
            result.update(self._module(arguments, task_vars))
            return result
        follower.start()
        try:
            result.update(self._module(arguments, task_vars))
        finally:
            follower.stop()
        invocation = (result.get("invocation") or {}).get("module_args")
        if invocation:
            invocation.pop("progress_file", None)
        return result

    def _module(self, arguments: Dict[str, Any], task_vars: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        return self._execute_module(
            module_name=self._task.action,
            module_args=arguments,
            task_vars=task_vars,
            wrap_async=bool(self._task.async_val),
        )


class Follower(threading.Thread):
    """Shows what a module appends to its progress file. It never fails the task."""

    def __init__(self, action: ActionModule, path: str, local: bool, host: str) -> None:
        super().__init__(daemon=True)
        self.action = action
        self.path = path
        self.local = local
        self.host = host
        self.offset = 0
        self.rest = ""
        self.lines = 0
        self.done = threading.Event()
        self.connection: Any = None if local else self._second_connection()

    def _second_connection(self) -> Any:
        """A connection of the follower's own: the task's is busy with the module."""
        try:
            from ansible.plugins.loader import connection_loader

            first = self.action._connection
            other = connection_loader.get(first._load_name, self.action._play_context, None)
            other.set_options(direct=dict(getattr(first, "_options", {})))
            return other
        except Exception:
            # No progress is better than no rollout.
            return None

    def run(self) -> None:
        pause = LOCAL_PAUSE if self.local else REMOTE_PAUSE
        while not self.done.wait(pause):
            self._look()

    def stop(self) -> None:
        """Shows the last lines and removes the file."""
        self.done.set()
        self.join(timeout=10)
        if not self.is_alive():
            self._look()
        try:
            if self.local:
                os.unlink(self.path)
            elif self.connection is not None:
                self.connection.exec_command(f"rm -f {shlex.quote(self.path)}", sudoable=False)
        except Exception:
            display.vvv(f"the progress file {self.path} stays behind")

    def _look(self) -> None:
        try:
            text = self._more()
        except Exception:
            return
        *whole, self.rest = (self.rest + text).split("\n")
        for line in shown(whole):
            self.lines += 1
            if self.lines <= MOST_LINES:
                display.display(f"  [{self.host}] {line}", color="bright blue")

    def _more(self) -> str:
        if self.local:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
        elif self.connection is None:
            return ""
        else:
            code, data, dummy = self.connection.exec_command(
                f"tail -c +{self.offset + 1} {shlex.quote(self.path)} 2>/dev/null", sudoable=False
            )
            if code:
                return ""
        self.offset += len(data)
        return data.decode("utf-8", "replace")


def shown(lines: List[str]) -> List[str]:
    """The texts of progress lines; what is no progress line is left out."""
    texts = []
    for line in lines:
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            continue
        texts.append(" ".join(str(text).split()))
    return texts
