"""The company's own service, in a release that needs too much memory, on both targets: put back by itself."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.integration.gate.servers import until
from tests.integration.gate.test_prometheus import start_prometheus
from tests.integration.rollout.test_compose import Project, outcomes
from tests.modules import run_module

MEBIBYTE = 1 << 20
LIMIT = 160 * MEBIBYTE
# With what the service itself needs, nearly 93 % of the limit.
BLOATED = """\
FROM {image}
CMD ["python3", "-u", "-c", "held = b'x' * ({held}); import runpy; \
runpy.run_path('/srv/service/transaction.py', run_name='__main__')"]
"""
MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [
                    {
                        "name": "shop",
                        "imagePullPolicy": "IfNotPresent",
                        "readinessProbe": {
                            "httpGet": {"path": "/actuator/health", "port": 8080},
                            "periodSeconds": 1,
                            "timeoutSeconds": 5,
                        },
                        "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": str(LIMIT)}},
                    }
                ],
            },
        },
    },
}


def query(name: str, **words: str) -> str:
    """What the role verify asks for a limit."""
    text = yaml.safe_load((ROOT / "roles" / "verify" / "vars" / "main.yml").read_text())["verify_catalogue"][name][
        "query"
    ]
    for word, meant in words.items():
        text = text.replace(f"${word}", meant)
    return text


@pytest.fixture(scope="module")
def images(sandbox, tmp_path_factory):
    """A release of the company, and the same with 135 MiB more."""
    good = f"{sandbox['REGISTRY']}/eazepay/transaction-service:v1.0.0"
    bad = f"{sandbox['REGISTRY']}/t/bloated:{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("bloated")
    (folder / "Dockerfile").write_text(BLOATED.format(image=good, held=135 * MEBIBYTE))
    subprocess.run(["docker", "build", "--quiet", "--tag", bad, str(folder)], check=True, capture_output=True)
    subprocess.run(["docker", "push", "--quiet", bad], check=True, capture_output=True)
    yield good, bad
    subprocess.run(["docker", "rmi", "--force", bad], check=False, capture_output=True)


@pytest.fixture
def project(sandbox, tmp_path):
    made = Project(tmp_path)
    yield made
    made.end()


def put_back(result: dict, name: str, limit: float) -> None:
    assert result["failed"]
    assert outcomes(result) == {"shop": "rolled_back"}, result
    assert f"{name}: 2 bad answers in a row: the value is" in result["msg"]
    [check] = result["monitor"]
    assert check["query"]
    assert [one["verdict"] for one in check["samples"][-2:]] == ["fail", "fail"]
    assert check["samples"][-1]["value"] > limit


def test_memory_on_compose(project, images, tmp_path_factory):
    good, bad = images
    health = '{test: [CMD, busybox, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/actuator/health"], interval: 1s}'
    project.write(f"services:\n  shop:\n    image: {good}\n    stop_grace_period: 5s\n    healthcheck: {health}\n")
    project.up()
    label = "__meta_docker_container_label_com_docker_compose_project"
    job = {
        "job_name": "it",
        "docker_sd_configs": [{"host": "unix:///var/run/docker.sock", "port": 8080, "refresh_interval": "1s"}],
        "relabel_configs": [{"source_labels": [label], "regex": project.name, "action": "keep"}],
    }
    process, url = start_prometheus(tmp_path_factory.mktemp("prometheus"), job)
    try:
        asked = {"url": url, "query": query("process_memory_bytes", selector=""), "fail": 100 * MEBIBYTE}
        monitor = {"checks": [{"name": "memory", "prometheus": asked}], "interval": 0.5, "bake": 300}
        # Prometheus may be slower to start than the rollout: what it cannot be asked is an alert.
        until(lambda: seen(url))
        result = project.roll({"shop": bad}, monitor=monitor)
    finally:
        process.terminate()
        process.wait()
    put_back(result, "memory", 100 * MEBIBYTE)
    assert project.images("shop") == [good]


def seen(url: str) -> bool:
    check = {"name": "up", "prometheus": {"url": url, "query": "sum(up)", "warn": 1}}
    return run_module("health_gate", checks=[check], deadline=0, report_only=True)["verdict"] == "pass"


@pytest.mark.kubernetes
def test_memory_on_kubernetes(sandbox, images, tmp_path):
    good, bad = images
    namespace = f"t-gate-{uuid.uuid4().hex[:8]}"
    manifest = json.loads(json.dumps(MANIFEST))
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = good
    kubectl("create", "namespace", namespace)
    try:
        file = Path(tmp_path, "shop.json")
        file.write_text(json.dumps(manifest))
        kubectl("-n", namespace, "apply", "-f", str(file))
        kubectl("-n", namespace, "rollout", "status", "deployment/shop", "--timeout=180s")
        asked = {
            "url": sandbox["PROMETHEUS_URL"],
            "query": query("memory_ratio", container=f'namespace="{namespace}",container="shop"'),
            "fail": 0.9,
            "unit": "ratio",
        }
        check = {"name": "memory", "prometheus": asked}
        workload = {"name": "shop", "kubernetes": {"workload": "shop", "namespace": namespace}}
        known = run_module("health_gate", checks=[check, workload], deadline=180, interval=1)
        assert known["verdict"] == "pass", known
        result = run_module(
            "service_rollout",
            namespace=namespace,
            services=[{"name": "shop", "image": bad}],
            timeout=180,
            monitor={"checks": [check], "interval": 1, "bake": 300},
        )
        put_back(result, "memory", 0.9)
        container = "jsonpath={.spec.template.spec.containers[0].image}"
        assert kubectl("-n", namespace, "get", "deployment", "shop", "-o", container) == good
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def kubectl(*words: str) -> str:
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
