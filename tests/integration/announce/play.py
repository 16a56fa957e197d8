"""Runs one role of the collection as a play would, and gives the variable that it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {{name: eazepay.ops.{role}}}
    - ansible.builtin.copy: {{dest: {result}, content: "{{{{ {variable} | to_json }}}}", mode: "0600"}}
      check_mode: false
"""


class Played(NamedTuple):
    rc: int
    output: str
    result: Any


def play(folder: Path, role: str, variable: str, variables: dict[str, Any], *options: str) -> Played:
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    (folder / "play.yml").write_text(PLAY.format(role=role, variable=variable, result=result))
    (folder / "vars.json").write_text(json.dumps(variables))
    ansible = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [
            ansible,
            "-i",
            "localhost,",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            "-e",
            f"@{folder / 'vars.json'}",
            *options,
            folder / "play.yml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    value = json.loads(result.read_text()) if result.exists() else None
    return Played(done.returncode, done.stdout + done.stderr, value)
