"""The callback in a real run of ansible-playbook, against a cluster in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.rollout.cluster import Cluster

SECRET = "canary-4f1d-secret"
PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - ansible.builtin.set_fact: {run_step: rollout, run_id: 20261126T120000Z-v2}
    - ansible.builtin.set_fact: {password: %(secret)s}
      no_log: true
    - ansible.builtin.command: "sh -c 'echo password=%(secret)s; exit 1'"
      ignore_errors: true
      changed_when: false
    - ansible.builtin.set_stats:
        data: {run_report: {purpose: deploy v2, environment: shop, portals: [admin]}}
    - eazepay.ops.service_rollout:
        kubeconfig: "%(kubeconfig)s"
        namespace: shop
        release: v2
        graces: {crash_loop: 1}
        services:
          - {name: api, image: "shop/api:good2"}
          - {name: web, image: "shop/web:%(tag)s", depends_on: [api]}
"""


def playbook(folder: Path, text: str, **env: str) -> subprocess.CompletedProcess:
    (folder / "play.yml").write_text(text)
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "play.yml"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "ANSIBLE_CALLBACKS_ENABLED": "eazepay.ops.dossier", **env},
    )


@pytest.mark.parametrize("tag", ["good2", "crash"])
def test_a_run_leaves_a_page(tmp_path, tag):
    with Cluster() as cluster:
        cluster.deployment("api")
        cluster.deployment("web")
        text = PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path), "tag": tag, "secret": SECRET}
        done = playbook(tmp_path, text)
    assert (done.returncode == 0) == (tag == "good2"), done.stdout + done.stderr
    page = tmp_path / "dossiers" / "20261126T120000Z-v2.html"
    assert f"Dossier: {page}" in done.stdout, done.stdout + done.stderr
    found = json.loads(page.with_suffix(".json").read_text())
    states = {one["name"]: one["text"] for one in found["states"]}
    assert found["purpose"] == "deploy v2" and states["admin"] == "not touched"
    for file in page.parent.iterdir():
        assert SECRET not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0
    shown = page.read_text()
    if tag == "good2":
        assert found["outcome"] == "good" and "done" in shown
        assert states["web"].startswith("healthy")
    else:
        assert found["outcome"] == "failed"
        assert "FAILED in step rollout" in shown
        assert [one["name"] for one in found["failure"]["causes"]] == ["web"]
        assert sorted(found["failure"]["put_back"]) == ["api", "web"]


def test_a_step_takes_as_long_as_the_playbook_says_and_what_follows_is_no_part_of_it(tmp_path):
    with Cluster() as cluster:
        cluster.deployment("api")
        cluster.deployment("web")
        text = PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path), "tag": "good2", "secret": SECRET}
        text += "    - ansible.builtin.set_fact: {run_steps: [{name: rollout, outcome: ok, seconds: 123.4}]}\n"
        done = playbook(tmp_path, text + "    - ansible.builtin.fail: {msg: it is enough}\n")
    assert done.returncode != 0
    found = json.loads((tmp_path / "dossiers" / "20261126T120000Z-v2.json").read_text())
    (step,) = found["steps"]
    assert step["name"] == "rollout" and round(step["ended"] - step["began"], 1) == 123.4
    assert found["failure"]["step"] == ""


def test_old_pages_go_and_nothing_else(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    for name in ("20200101T000000Z-v0.html", "20200101T000000Z-v0.json", "notes.html"):
        (folder / name).write_text("x")
    with Cluster() as cluster:
        cluster.deployment("api")
        cluster.deployment("web")
        text = PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path), "tag": "good2", "secret": SECRET}
        done = playbook(tmp_path, text, ANSIBLE_DOSSIER_DIR=str(folder), ANSIBLE_DOSSIER_KEEP="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(one.name for one in folder.iterdir()) == [
        "20261126T120000Z-v2.html",
        "20261126T120000Z-v2.json",
        "notes.html",
    ]


def test_a_folder_that_cannot_be_written_fails_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    with Cluster() as cluster:
        cluster.deployment("api")
        cluster.deployment("web")
        text = PLAYBOOK % {"kubeconfig": cluster.kubeconfig(tmp_path), "tag": "good2", "secret": SECRET}
        done = playbook(tmp_path, text, ANSIBLE_DOSSIER_DIR=str(tmp_path / "file" / "below"))
    assert done.returncode == 0
    assert "no dossier could be written" in done.stdout + done.stderr
