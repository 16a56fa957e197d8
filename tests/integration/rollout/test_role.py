"""The role and the progress lines, as ansible-playbook shows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ansible_runner
import pytest

from tests.unit.rollout.cluster import Cluster

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - ansible.builtin.include_role:
        name: eazepay.ops.rollout
      vars:
        rollout_kubeconfig: "%(kubeconfig)s"
        rollout_release: v2
        rollout_services:
          - {name: api, image: shop/api, health_url: "http://ignored", depends_on: [not-in-this-run]}
          - {name: web, workload: web, depends_on: [api]}
        rollout_images: {api: "shop/api:good2", web: "shop/web:good2"}
    - ansible.builtin.assert:
        that: rollout_result.services | map(attribute='outcome') | unique == ['healthy']
"""


def test_what_goes_on_is_events_under_ansible_runner(tmp_path):
    """AWX shows events, while the task that they belong to still runs."""
    with Cluster() as cluster:
        for name in ("api", "web"):
            cluster.deployment(name)
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "play.yml").write_text(PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path)})
        done = ansible_runner.run(
            private_data_dir=str(tmp_path),
            playbook="play.yml",
            envvars={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
            quiet=True,
        )
        assert done.rc == 0, done.stdout.read()
        events = sorted(done.events, key=lambda event: event["counter"])
    told = [event["counter"] for event in events if "[localhost] web: healthy after" in event["stdout"]]
    ended = next(
        event["counter"]
        for event in events
        if event["event"] == "runner_on_ok" and event["event_data"]["task_action"] == "eazepay.ops.service_rollout"
    )
    assert told and told[0] < ended, (told, ended)


@pytest.mark.parametrize("silent", [False, True])
def test_the_role_shows_what_goes_on(tmp_path, silent):
    with Cluster() as cluster:
        cluster.deployment("api")
        cluster.deployment("web")
        text = PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path)}
        if silent:
            text = text.replace("- hosts: localhost", "- hosts: localhost\n  no_log: true")
        (tmp_path / "play.yml").write_text(text)
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "play.yml"],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert cluster.image("web") == "shop/web:good2"
        if silent:
            assert "good2" not in done.stdout
        else:
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("[localhost]")]
            assert "[localhost] api: good1 -> good2" in lines
            assert any("web: healthy after" in line for line in lines), lines
        assert json.loads(cluster.annotations("api")["eazepay.ops/rollout"])["state"] == "done"
