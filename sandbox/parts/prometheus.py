"""Debian's Prometheus and Alertmanager: they follow the company's containers and pods, scraping every second."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from sandbox.box import await_ready, http_ok, step, write
from sandbox.daemon import Daemon
from sandbox.parts import Part, Status

PORT, ALERTMANAGER = 19090, 19093
NAME = "eazepay"  # the Compose project and the namespace that are scraped
METRICS_PORT = 8080

RULES = {
    "groups": [
        {
            "name": "services",
            "rules": [
                {
                    "alert": "ServiceDown",
                    "expr": 'up{service!=""} == 0',
                    "for": "10s",
                    "labels": {"severity": "critical"},
                    "annotations": {"summary": "{{ $labels.service }} on {{ $labels.target }} cannot be scraped"},
                }
            ],
        }
    ]
}
# Nobody is woken by the sandbox: its alerts are there to be read and silenced.
ALERTS = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}


def keep(source: str, regex: str) -> dict[str, Any]:
    return {"source_labels": [f"__meta_{source}"], "regex": regex, "action": "keep"}


def label(source: str, name: str, regex: str = "(.+)") -> dict[str, Any]:
    return {"source_labels": [f"__meta_{source}"], "regex": regex, "target_label": name}


def compose_job(docker_host: str) -> dict[str, Any]:
    return {
        "job_name": "compose",
        "honor_labels": True,  # the services name themselves in `service`, too
        "docker_sd_configs": [{"host": docker_host, "port": METRICS_PORT, "refresh_interval": "1s"}],
        "relabel_configs": [
            keep("docker_container_label_com_docker_compose_project", NAME),
            keep("docker_container_label_com_docker_compose_service", ".+-service"),
            label("docker_container_label_com_docker_compose_service", "service"),
            label("docker_container_name", "container", "/(.+)"),
            {"target_label": "target", "replacement": "compose"},
        ],
    }


def kubernetes_job(pods_url: str, cadvisor_url: str) -> list[dict[str, Any]]:
    """Debian builds Prometheus without Kubernetes' discovery; sandbox.servers.pods stands in for it."""
    found: list[dict[str, Any]] = [
        {
            "job_name": "kubernetes",
            "honor_labels": True,
            "http_sd_configs": [{"url": pods_url, "refresh_interval": "1s"}],
        }
    ]
    if cadvisor_url:
        host, _, path = cadvisor_url.removeprefix("http://").partition("/")
        found.append(
            {
                "job_name": "cadvisor",
                "scrape_interval": "5s",
                "scrape_timeout": "5s",
                "honor_timestamps": False,  # the kubelet's are up to ten seconds old
                "metrics_path": f"/{path}",
                "static_configs": [{"targets": [host]}],
            }
        )
    return found


def config(folder: Path, docker_host: str, pods_url: str = "", cadvisor_url: str = "") -> dict[str, Any]:
    """Prometheus's configuration; with the list of a cluster's pods it follows them, too."""
    files = {"files": [f"{folder}/targets/*.json", f"{folder}/targets/*.yml"], "refresh_interval": "2s"}
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ALERTMANAGER}"]}]}]},
        "rule_files": [f"{folder}/rules/*.yml"],
        "scrape_configs": [
            {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{PORT}"]}]},
            {"job_name": "files", "honor_labels": True, "file_sd_configs": [files]},
            compose_job(docker_host),
            *(kubernetes_job(pods_url, cadvisor_url) if pods_url else []),
        ],
    }


class Prometheus(Part):
    name = "prometheus"
    packages = ("prometheus", "prometheus-alertmanager")

    def __init__(self, box):
        super().__init__(box)
        self.daemon = Daemon(box, "prometheus")
        self.alertmanager = Daemon(box, "alertmanager")

    def configure(self) -> bool:
        """Writes the configuration for what is there now; says whether that changed it."""
        for folder in ("targets", "rules", "data", "alerts"):
            (self.dir / folder).mkdir(parents=True, exist_ok=True)
        docker_host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        env = self.box.read_env()
        wanted = {
            "prometheus.yml": config(self.dir, docker_host, env.get("PODS_URL", ""), env.get("CADVISOR_URL", "")),
            "rules/services.yml": RULES,
            "alertmanager.yml": ALERTS,
        }
        changed = [write(self.dir / name, yaml.safe_dump(value, sort_keys=False)) for name, value in wanted.items()]
        return any(changed)

    def up(self) -> None:
        self.configure()
        if self.alertmanager.pid() is None:
            with step(self.name, "starting Alertmanager"):
                self.alertmanager.start(
                    [
                        "prometheus-alertmanager",
                        f"--config.file={self.dir}/alertmanager.yml",
                        f"--storage.path={self.dir}/alerts",
                        f"--web.listen-address=127.0.0.1:{ALERTMANAGER}",
                        "--cluster.listen-address=",
                    ],
                    lambda: http_ok(f"http://127.0.0.1:{ALERTMANAGER}/-/ready"),
                    ports=[ALERTMANAGER],
                )
        if self.daemon.pid() is None:
            with step(self.name, "starting Prometheus"):
                self.daemon.start(
                    [
                        "prometheus",
                        f"--config.file={self.dir}/prometheus.yml",
                        f"--storage.tsdb.path={self.dir}/data",
                        "--storage.tsdb.retention.time=2d",
                        f"--web.listen-address=127.0.0.1:{PORT}",
                        "--web.enable-lifecycle",
                    ],
                    lambda: http_ok(f"http://127.0.0.1:{PORT}/-/ready"),
                    ports=[PORT],
                )

    def settle(self) -> None:
        if self.daemon.pid() is not None and self.configure():
            with step(self.name, "taking up its changed configuration"):
                self.daemon.signal(signal.SIGHUP)
                wanted = "job_name: kubernetes" in (self.dir / "prometheus.yml").read_text()
                await_ready(lambda: self.follows_cluster() == wanted, 30, "Prometheus's new configuration")

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def follows_cluster(self) -> bool:
        return "job_name: kubernetes" in self.ask("status/config")["yaml"]

    def status(self) -> Status:
        pid, alerts = self.daemon.pid(), self.alertmanager.pid()
        if not (pid and alerts):
            return Status(False, f"{'Alertmanager' if pid else 'Prometheus'} is not running")
        http_ok(f"http://127.0.0.1:{ALERTMANAGER}/-/ready")
        targets = self.ask("targets?state=active")["activeTargets"]
        healthy = sum(one["health"] == "up" for one in targets)
        answering = f"{healthy} of {len(targets)} targets answer"
        return Status(True, f"127.0.0.1:{PORT}, pid {pid}, {answering}; Alertmanager's pid {alerts}")

    def down(self) -> None:
        for daemon in (self.daemon, self.alertmanager):
            if daemon.pid() is not None:
                with step(self.name, f"stopping {daemon.name}"):
                    daemon.stop()

    def env(self) -> dict[str, str]:
        return {
            "PROMETHEUS_URL": f"http://127.0.0.1:{PORT}",
            "ALERTMANAGER_URL": f"http://127.0.0.1:{ALERTMANAGER}",
        }
