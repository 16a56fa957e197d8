"""The role verify, as a playbook calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.gate.servers import serving
from tests.integration.gate.test_prometheus import Fake, success

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.include_role: {name: eazepay.ops.verify, tasks_from: "{{ part | default('main') }}"}
      always:
        - ansible.builtin.copy:
            content: "{{ verify_result | default({}) | to_json }}"
            dest: "{{ result_file }}"
            mode: "0600"
"""


class Anything(dict):
    """Every query has the same answer."""

    def __missing__(self, _query):
        return self.get("all") or success("0.005")


@pytest.fixture
def verify(tmp_path):
    def run(**variables):
        (tmp_path / "play.yml").write_text(PLAYBOOK)
        (tmp_path / "vars.json").write_text(
            json.dumps({**variables, "result_file": f"{tmp_path}/result", "ansible_python_interpreter": sys.executable})
        )
        program = Path(sys.executable).parent / "ansible-playbook"
        done = subprocess.run(
            [program, "-i", "localhost,", tmp_path / "play.yml", "-e", f"@{tmp_path}/vars.json"],
            capture_output=True,
            text=True,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            check=False,
        )
        file = tmp_path / "result"
        assert file.exists(), done.stdout + done.stderr
        return done.returncode, json.loads(file.read_text()), done.stdout

    return run


def test_all_parts(verify):
    with serving() as server, serving(Fake) as prometheus:
        prometheus.answers = Anything()
        code, result, output = verify(
            verify_checks=[{"name": "identity", "http": {"url": f"{server.url}/ok", "timeout": 60}}],
            verify_smoke=[{"name": "smoke", "command": {"argv": ["echo", "1 passed"]}}],
            verify_logs={
                "commands": {"identity": ["printf", "2026-11-28T10:00:00Z ERROR\\n2026-11-28T10:00:00Z fine\\n"]},
                "most": 1,
            },
            verify_prometheus=prometheus.url,
            verify_labels={"target": "compose"},
            verify_services=["identity", "wallet"],
            verify_min_requests=0,
            verify_slos={
                "error_rate": {"warn": 0.001, "fail": 0.01},
                "p95_seconds": {"warn": 0.1, "fail": 0.5},
                "memory_ratio": {"fail": 0.9},
                "own": {"query": "up", "fail": 1, "direction": "above"},
            },
        )
        assert code == 0, output
        assert {one["name"]: one["verdict"] for part in result.values() for one in part} == {
            "identity": "pass",
            "smoke": "pass",
            "logs of identity": "pass",
            **{f"error_rate of {name}": "warn" for name in ("identity", "wallet")},
            **{
                f"{limit} of {name}": "pass"
                for limit in ("p95_seconds", "memory_ratio")
                for name in ("identity", "wallet")
            },
            "own": "pass",
        }
        asked = {one["query"][0] for _path, one in prometheus.seen}
        for name in ("identity", "wallet"):
            selector = f'target="compose",service="{name}"'
            assert (
                f'sum(rate(http_requests_total{{code=~"5..",{selector}}}[300s]))'
                f" / sum(rate(http_requests_total{{{selector}}}[300s]))"
            ) in asked
            assert f"sum(increase(http_requests_total{{{selector}}}[300s]))" in asked


def test_without_services_all_are_judged_together(verify):
    with serving(Fake) as prometheus:
        prometheus.answers = Anything()
        code, result, output = verify(
            verify_prometheus=prometheus.url, verify_min_requests=0, verify_slos={"error_rate": {"fail": 0.01}}
        )
        assert code == 0, output
        assert [one["name"] for one in result["slos"]] == ["error_rate"]
        assert "sum(increase(http_requests_total{}[300s]))" in {one["query"][0] for _path, one in prometheus.seen}


def test_a_breach_fails_and_keeps_what_was_seen(verify):
    with serving(Fake) as prometheus:
        prometheus.answers = Anything({"all": success("0.02")})
        code, result, output = verify(
            verify_prometheus=prometheus.url,
            verify_min_requests=0,
            verify_slos={"error_rate": {"warn": 0.001, "fail": 0.01}},
            verify_deadline=0,
        )
        assert code != 0
        assert "above the alert of 1 %" in output
        assert result["slos"][0]["verdict"] == "fail"


def test_bursts_in_logs_and_logs_that_cannot_be_read(verify):
    for argv, said in ((["printf", "ERROR\\nERROR\\n"], "2 errors within 60 s"), (["false"], "cannot be read")):
        code, result, output = verify(verify_logs={"commands": {"wallet": argv}, "most": 1})
        assert code != 0
        assert said in result["logs"][0]["reason"], output


def test_limits_without_a_prometheus_are_refused(verify):
    code, _result, output = verify(verify_slos={"error_rate": {"fail": 0.01}})
    assert code != 0
    assert "no Prometheus to ask" in " ".join(output.split())


def test_before_a_deployment_each_query_and_each_log_is_tried(verify):
    asked = {"part": "preflight", "verify_min_requests": 0, "verify_deadline": 0}
    slos = {"error_rate": {"fail": 0.01}}
    logs = {"commands": {"wallet": ["printf", "ERROR\\nERROR\\n"]}, "most": 0}
    with serving(Fake) as prometheus:
        # A release may be what mends it: neither a breach nor a burst stops it.
        prometheus.answers = Anything({"all": success("0.5")})
        given = {**asked, "verify_prometheus": prometheus.url, "verify_slos": slos}
        code, _result, output = verify(**given, verify_logs=logs)
        assert code == 0, output
        code, _result, output = verify(**given, verify_logs={"commands": {"wallet": ["/nonexistent/program"]}})
        assert code != 0 and "cannot be run" in output
        prometheus.answers = Anything({"all": success()})
        code, _result, output = verify(**given)
        assert code != 0 and "too little to judge by: nothing was counted" in output
