"""A target that is reached by SSH shows what goes on there, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.sshd import sshd
from tests.unit.rollout.cluster import Cluster

PLAYBOOK = """
- hosts: afar
  gather_facts: false
  tasks:
    - eazepay.ops.service_rollout:
        kubeconfig: "%(kubeconfig)s"
        services: [{name: api, image: "shop/api:slow"}]
        graces: {not_ready: 8}
        timeout: 60
"""


def test_what_goes_on_is_shown_while_it_goes_on(tmp_path):
    with sshd(tmp_path) as reached, Cluster() as cluster:
        cluster.deployment("api")
        afar = {**reached, "ansible_python_interpreter": sys.executable}
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"afar": afar}}}))
        (tmp_path / "play.yml").write_text(PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path)})
        play = subprocess.Popen(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts.json", "play.yml"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"},
        )
        assert play.stdout
        seen = {}
        for line in play.stdout:
            seen.setdefault(line.strip(), time.monotonic())
        assert play.wait(240) == 2, seen
    began = next(at for line, at in seen.items() if line == "[afar] api: good1 -> slow")
    ended = next(at for line, at in seen.items() if line.startswith("PLAY RECAP"))
    # The service fails 8 s after it began: its beginning was not kept back until then.
    assert ended - began > 4, seen
    assert any(line.startswith("[afar] api: put back and healthy") for line in seen), seen
