"""What people read when a release is in place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.template: {src: "{{ given_template }}", dest: "{{ given_out }}"}
"""


def notes(folder, **given):
    (folder / "play.yml").write_text(PLAY)
    out = folder / "out.txt"
    given = {"given_out": str(out), "given_template": str(ROOT / "playbooks/templates/notes.txt.j2"), **given}
    argv = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local"]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}", "-e", json.dumps(given), folder / "play.yml"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out.read_text()


def test_notes_tell_what_is_new_and_what_is_known(tmp_path):
    (tmp_path / "KNOWN_ISSUES.md").write_text("- agents see yesterday's balance for a minute (#12)\n")
    text = notes(
        tmp_path,
        release="v1.1.0",
        release_folder=str(tmp_path),
        source_previous="v1.0.0",
        source_changes=["d329eb0 wallet: a currency for each wallet"],
    )
    assert "New in v1.1.0 since v1.0.0:\n- wallet: a currency for each wallet (d329eb0)" in text
    assert text.rstrip().endswith("Known issues:\n- agents see yesterday's balance for a minute (#12)")


def test_nothing_new_and_nothing_known(tmp_path):
    text = notes(tmp_path, release="v1.1.0", release_folder=str(tmp_path))
    assert "New in v1.1.0:\n- nothing" in text and "- none are known" in text
