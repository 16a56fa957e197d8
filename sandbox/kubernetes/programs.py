"""The command lines of the cluster's six processes. Every port is on loopback."""

from __future__ import annotations

from pathlib import Path

from sandbox.kubernetes.network import SERVICES

API, ETCD, ETCD_PEER = 16443, 12379, 12380
CONTROLLER_MANAGER, SCHEDULER = 10257, 10259
KUBELET, KUBELET_HEALTH, KUBELET_READ = 10250, 10248, 10255
PROXY_HEALTH, PROXY_METRICS = 10256, 10249
PODS = 16444
NODE = "localhost"  # as a host name, so that logs and exec reach the kubelet on loopback
PAUSE = "sandbox/pause:1"


def etcd(home: Path) -> list[str]:
    return [
        "etcd",
        f"--data-dir={home}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{ETCD}",
        f"--advertise-client-urls=http://127.0.0.1:{ETCD}",
        f"--listen-peer-urls=http://127.0.0.1:{ETCD_PEER}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{ETCD_PEER}",
        f"--initial-cluster=default=http://127.0.0.1:{ETCD_PEER}",
        "--unsafe-no-fsync",
        # A busy machine is no reason to look for another leader.
        "--heartbeat-interval=500",
        "--election-timeout=5000",
        "--logger=zap",
        "--log-level=warn",
    ]


def apiserver(bin: Path, home: Path) -> list[str]:
    keys = home / "keys"
    return [
        f"{bin}/kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{ETCD}",
        "--bind-address=127.0.0.1",
        f"--secure-port={API}",
        "--insecure-port=0",
        f"--cert-dir={keys}/apiserver",
        f"--token-auth-file={keys}/tokens.csv",
        "--authorization-mode=RBAC",
        f"--service-account-key-file={keys}/accounts.key",
        f"--service-account-signing-key-file={keys}/accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--api-audiences=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={SERVICES}",
        "--endpoint-reconciler-type=none",  # pods cannot reach loopback, so the Service names no address
        "--kubelet-preferred-address-types=Hostname",
        f"--kubelet-client-certificate={keys}/kubelet-client.crt",
        f"--kubelet-client-key={keys}/kubelet-client.key",
        "--allow-privileged=true",
        "--default-watch-cache-size=1000",
        "--profiling=false",
    ]


def controller_manager(bin: Path, home: Path) -> list[str]:
    keys = home / "keys"
    return [
        f"{bin}/kube-controller-manager",
        f"--kubeconfig={home}/kubeconfig",
        "--bind-address=127.0.0.1",
        f"--secure-port={CONTROLLER_MANAGER}",
        "--port=0",
        f"--cert-dir={keys}/controller-manager",
        "--leader-elect=false",
        f"--service-account-private-key-file={keys}/accounts.key",
        f"--root-ca-file={keys}/apiserver/apiserver.crt",
        # A node that is late to report on a busy machine has not died.
        "--node-monitor-grace-period=300s",
        # Its own brake would decide what a rollout of hundreds takes.
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
    ]


def scheduler(bin: Path, home: Path) -> list[str]:
    return [
        f"{bin}/kube-scheduler",
        f"--kubeconfig={home}/kubeconfig",
        "--bind-address=127.0.0.1",
        f"--secure-port={SCHEDULER}",
        "--port=0",
        f"--cert-dir={home}/keys/scheduler",
        "--leader-elect=false",
    ]


def kubelet(bin: Path, home: Path) -> list[str]:
    return [
        f"{bin}/kubelet",
        f"--kubeconfig={home}/kubeconfig",
        f"--root-dir={home}/kubelet",
        f"--experimental-dockershim-root-directory={home}/dockershim",
        f"--cert-dir={home}/keys/kubelet",
        f"--hostname-override={NODE}",
        "--address=127.0.0.1",
        f"--port={KUBELET}",
        f"--read-only-port={KUBELET_READ}",  # cAdvisor's metrics
        "--healthz-bind-address=127.0.0.1",
        f"--healthz-port={KUBELET_HEALTH}",
        "--anonymous-auth=false",
        f"--client-ca-file={home}/keys/kubelet-client.crt",
        "--authentication-token-webhook=true",
        "--authorization-mode=Webhook",
        "--cgroup-driver=cgroupfs",
        "--cgroups-per-qos=false",
        "--enforce-node-allocatable=",
        "--fail-swap-on=false",
        "--oom-score-adj=0",
        f"--pod-infra-container-image={PAUSE}",
        "--max-pods=250",
        # The disk is the machine's: no image is removed and no pod evicted because others fill it.
        "--image-gc-high-threshold=100",
        "--image-gc-low-threshold=99",
        "--eviction-hard=",
        "--serialize-image-pulls=false",
        "--registry-qps=0",
        # Its brakes would keep back the state of twenty pods for a quarter of a minute, and their events for longer.
        # (For events, 0 means 5.)
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--event-qps=200",
        "--event-burst=400",
        "--node-status-update-frequency=20s",
    ]


def proxy(bin: Path, home: Path) -> list[str]:
    return [
        f"{bin}/kube-proxy",
        f"--kubeconfig={home}/kubeconfig",
        f"--hostname-override={NODE}",
        "--proxy-mode=iptables",
        "--nodeport-addresses=127.0.0.0/8",
        "--masquerade-all=true",
        "--iptables-min-sync-period=100ms",
        f"--healthz-bind-address=127.0.0.1:{PROXY_HEALTH}",
        f"--metrics-bind-address=127.0.0.1:{PROXY_METRICS}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--oom-score-adj=0",
    ]
