"""Runs a module of the collection as Ansible would: a process of its own, its arguments by standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

RUNNER = """
import json, sys, runpy
from ansible.module_utils import basic
arguments = sys.stdin.buffer.read()
basic._ANSIBLE_ARGS = arguments
if hasattr(basic, "_ANSIBLE_PROFILE"):
    basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.eazepay.ops.plugins.modules." + sys.argv[1], run_name="__main__", alter_sys=True)
"""


def start_module(
    name: str,
    check: bool = False,
    diff: bool = False,
    env: dict[str, str] | None = None,
    within: Sequence[str] = (),
    **arguments: Any,
) -> subprocess.Popen:
    """Starts a module; for tests that kill it or watch it work. ``within`` are words before its command."""
    given = {
        **arguments,
        "_ansible_check_mode": check,
        "_ansible_diff": diff,
        "_ansible_remote_tmp": "/tmp",
        "_ansible_keep_remote_files": False,
    }
    process = subprocess.Popen(
        [*within, sys.executable, "-c", RUNNER, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    process.stdin.close()
    process.stdin = None
    return process


def finish_module(process: subprocess.Popen, timeout: float = 300) -> dict[str, Any]:
    """The result of a module; ``failed`` is always there."""
    stdout, stderr = process.communicate(timeout=timeout)
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    assert lines, f"the module printed no result (rc {process.returncode}): {stdout}\n{stderr}"
    assert "Traceback" not in stderr, stderr
    return {"failed": False, **json.loads(lines[-1])}


def run_module(
    name: str,
    check: bool = False,
    diff: bool = False,
    env: dict[str, str] | None = None,
    timeout: float = 300,
    **arguments: Any,
) -> dict[str, Any]:
    """Runs a module to its end and gives its result."""
    return finish_module(start_module(name, check, diff, env, **arguments), timeout)
