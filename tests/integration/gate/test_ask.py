"""Where the inventory has a person decide on a breach: what keys and silence mean."""

import json
import os
import pty
import re
import select
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

PLAY = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "run_failure": {"step": "bake", "msg": "the error rate is 2 %"},
            "run_purpose": "deploy v1.2.0",
            "eazepay_on_breach": "ask",
        },
        "tasks": [
            {
                "block": [{"ansible.builtin.fail": {"msg": "a breach"}}],
                "rescue": [
                    {"ansible.builtin.include_tasks": str(ROOT / "playbooks" / "tasks" / "put_back.yml")},
                    {"ansible.builtin.debug": {"msg": "holding is {{ run_holding }}"}},
                ],
            }
        ],
    }
]


def answer(folder: Path, keys: str, seconds: int) -> str:
    """What is decided when these keys are pressed at a terminal."""
    (folder / "play.yml").write_text(json.dumps(PLAY))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    argv = [program, "-i", "localhost,", str(folder / "play.yml"), "-e", f"eazepay_ask_seconds={seconds}"]
    child, terminal = pty.fork()
    if child == 0:
        os.execve(program, argv, {**os.environ, "ANSIBLE_NOCOLOR": "1"})
    shown, deadline = "", time.monotonic() + 60
    # Each key once its question stands there.
    waiting = list(zip(("Ctrl+C, then A: leave the new release in place", "Press 'C' to continue"), keys))
    try:
        while time.monotonic() < deadline:
            try:
                if select.select([terminal], [], [], 0.1)[0]:
                    shown += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # how a terminal says that nobody is there any more
                break
            # It asks before it listens for keys, which it does without waiting for the end of a line.
            if waiting and waiting[0][0] in shown and not termios.tcgetattr(terminal)[3] & termios.ICANON:
                os.write(terminal, waiting.pop(0)[1].encode())
    finally:
        os.close(terminal)  # which ends who is still there
        os.waitpid(child, 0)
    assert "the error rate is 2 %" in shown, shown
    found = re.search(r"holding is (True|False)", shown)
    assert found, shown
    return found[1]


@pytest.mark.parametrize(
    ("keys", "seconds", "holding"), [("\x03a", 600, "True"), ("\x03c", 600, "False"), ("", 1, "False")]
)
def test_what_a_person_says(tmp_path, keys, seconds, holding):
    assert answer(tmp_path, keys, seconds) == holding
