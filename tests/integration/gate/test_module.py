"""health_gate as a task calls it."""

import json

import pytest

from tests.integration.gate.servers import serving


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


def http(server, path, name=None, **options):
    return {"name": name or path, "http": {"url": f"{server.url}/{path}", "timeout": 60, **options}}


def test_all_is_well(module, server):
    result = module("health_gate", checks=[http(server, "ok"), {"name": "true", "command": {"argv": ["true"]}}])
    assert not result["failed"], result
    assert not result["changed"]
    assert result["verdict"] == "pass"
    assert [one["name"] for one in result["checks"]] == ["ok", "true"]
    assert all(one["ok"] and one["samples"] for one in result["checks"])
    assert "2 pass" in result["msg"]


def test_it_waits_until_a_service_is_well(module, server):
    result = module("health_gate", checks=[http(server, "later?a")], deadline=120, interval=0.05, consecutive=3)
    assert result["verdict"] == "pass", result
    verdicts = [sample["verdict"] for sample in result["checks"][0]["samples"]]
    assert verdicts == ["fail", "fail", "pass", "pass", "pass"]


def test_a_failure_names_the_check_and_the_reason_first(module, server):
    result = module("health_gate", checks=[http(server, "ok"), http(server, "down")], deadline=0)
    assert result["failed"]
    assert result["verdict"] == "fail"
    lines = result["msg"].splitlines()
    assert lines[0] == "Failed to become healthy: 1 of 2 checks are bad"
    assert "down  status 503, not 200" in lines[1]
    assert {one["name"]: one["ok"] for one in result["checks"]} == {"ok": True, "down": False}


def test_report_only_does_not_fail(module, server):
    result = module("health_gate", checks=[http(server, "down")], deadline=0, report_only=True)
    assert not result["failed"]
    assert result["verdict"] == "fail"


def test_check_mode_asks_once_and_changes_nothing(module, server, tmp_path):
    mark = tmp_path / "mark"
    checks = [
        http(server, "later?check"),
        {"name": "touch", "command": {"argv": ["touch", str(mark)]}},
        http(server, "wallets", method="POST", body_json={"owner": "nobody"}),
    ]
    before = len(server.wallets)
    result = module("health_gate", check=True, checks=checks, deadline=300, hold=300)
    assert not result["failed"], result
    assert result["verdict"] == "fail"
    assert result["skipped_checks"] == ["touch", "wallets"]
    assert result["checks"][0]["attempts"] == 1
    assert not mark.exists()
    assert len(server.wallets) == before


def test_a_watch_that_is_broken(module, server):
    # It is well twice, then never again: the hold must see it.
    argv = ["sh", "-c", 'echo x >> "$0"; test $(wc -l < "$0") -le 2', f"{server.port}.count"]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        check = {"name": "fading", "command": {"argv": argv, "chdir": folder}}
        result = module("health_gate", checks=[check], interval=0.05, hold=300, hold_failures=3)
    assert result["failed"]
    assert result["msg"].startswith("Failed to stay healthy")
    assert "bad answers in a row" in result["checks"][0]["reason"]


def test_a_watch_that_holds(module, server):
    result = module("health_gate", checks=[http(server, "ok")], interval=0.1, hold=1)
    assert result["verdict"] == "pass", result
    assert result["checks"][0]["attempts"] >= 2


@pytest.mark.parametrize(
    "argv, options, verdict",
    [
        (["true"], {}, "pass"),
        (["false"], {}, "fail"),
        (["false"], {"rc": [0, 1]}, "pass"),
        (["echo", "12 passed"], {"stdout_matches": r"^\d+ passed$"}, "pass"),
        (["echo", "12 failed"], {"stdout_matches": r"^\d+ passed$"}, "fail"),
        (["sh", "-c", "echo 12 passed >&2"], {"stdout_matches": r"^\d+ passed$"}, "pass"),
        (["sleep", "300"], {"timeout": 1}, "fail"),
        (["yes"], {}, "fail"),
        (["/nonexistent/program"], {}, "error"),
    ],
)
def test_commands(module, argv, options, verdict):
    check = {"name": "it", "command": {"argv": argv, **options}}
    assert module("health_gate", checks=[check], deadline=0, report_only=True)["verdict"] == verdict


def test_secrets_never_show(module, server):
    secret = "canary-3f9a-secret"
    check = http(server, "html", bearer_token=secret, json={"a": 1})
    talking = {"name": "talks", "command": {"argv": ["sh", "-c", f"echo password={secret}; exit 1"]}}
    result = module("health_gate", checks=[check], deadline=0)
    assert secret not in json.dumps(result)
    result = module("health_gate", checks=[talking], deadline=0)
    assert secret not in json.dumps([result["checks"], result["msg"]])


def test_many_checks_one_of_them_slow(module, server):
    checks = [http(server, "ok", name=f"ok {number}") for number in range(60)]
    checks.append(http(server, "drip", timeout=1.5))
    result = module("health_gate", checks=checks, deadline=0, threads=8)
    assert result["failed"]
    assert [one["name"] for one in result["checks"] if not one["ok"]] == ["drip"]


def test_input_that_cannot_be_right(module, server):
    result = module("health_gate", checks=[http(server, "ok"), http(server, "ok")])
    assert result["failed"]
    assert "comes twice" in result["msg"]
    result = module("health_gate", checks=[{"name": "x", "prometheus": {"url": server.url, "query": "up"}}])
    assert "pass whatever comes" in result["msg"]


def test_containers(module, sandbox):
    import subprocess
    import uuid

    from tests.images import tiny

    name = f"t_gate_{uuid.uuid4().hex[:8]}"
    subprocess.run(
        ["docker", "run", "--detach", "--name", name, tiny(sandbox["REGISTRY"], "v1")], check=True, capture_output=True
    )
    try:

        def verdict(**docker):
            result = module("health_gate", checks=[{"name": "it", "docker": docker}], deadline=0, report_only=True)
            return result["verdict"]

        assert verdict(container=name) == "pass"
        subprocess.run(["docker", "kill", name], check=True, capture_output=True)
        subprocess.run(["docker", "wait", name], check=True, capture_output=True)
        assert verdict(container=name) == "fail"
        assert verdict(container="t_gate_none") == "fail"
        assert verdict(project="t_gate_none", service="none") == "fail"
        assert verdict(container=name, docker_host="unix:///nonexistent.sock") == "error"
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def test_a_cluster_that_does_not_answer_is_an_error(module, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: [{name: x, user: {}}]\n"
    )
    check = {"name": "shop", "kubernetes": {"workload": "shop", "kubeconfig": str(config), "timeout": 3}}
    result = module("health_gate", checks=[check], deadline=0, report_only=True)
    assert result["verdict"] == "error", result
