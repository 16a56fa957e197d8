"""A real Kubernetes with one node, this machine: Debian's source built once, the kubelet on the engine's containers."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import os
import shutil
import ssl
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from sandbox.box import SandboxError, await_ready, http_ok, run, say, step, write
from sandbox.daemon import Daemon
from sandbox.kubernetes import build, network, programs
from sandbox.parts import Part, Status

EDGE_PORT = 30080
NAMESPACE, METRICS_PORT = "eazepay", 8080  # whose pods Prometheus scrapes
# What kubelet and kube-proxy change of the machine; put back at the end.
SETTINGS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
# It ends at once when told to, as the kubelet waits for it.
PAUSE = ["/busybox", "sh", "-c", "trap 'exit 0' TERM INT; while :; do /busybox sleep 3600 & wait $!; done"]
LOGS = (Path("/var/log/containers"), Path("/var/log/pods"))


class Kubernetes(Part):
    name = "kubernetes"
    needs = ("engine",)
    optional = True

    def __init__(self, box):
        super().__init__(box)
        self.bin = build.folder(box.cache)
        self.kubeconfig = self.dir / "kubeconfig"
        self.foreign_mark = self.dir / "foreign"
        self.daemons = {name: Daemon(box, name) for name in ("etcd", *build.PROGRAMS[:5])}
        self.pods = Daemon(box, "pods")

    def foreign(self) -> str:
        """The kubeconfig of a cluster that takes this one's place; empty when there is none."""
        if self.foreign_mark.exists():
            return self.foreign_mark.read_text().strip()
        given = os.environ.get("KUBECONFIG", "")
        # What .sandbox/env exports, of this checkout or of another, is the sandbox's own.
        if not given or "/.sandbox/kubernetes/" in given:
            return ""
        return given

    def wanted_packages(self) -> tuple[str, ...]:
        if self.foreign():
            return ()
        run_with = ("busybox-static", "etcd-server", "iproute2", "iptables", "openssl", "socat")
        return run_with if build.built(self.box.cache) else (*run_with, *build.PACKAGES)

    def install(self) -> None:
        if not self.foreign():
            build.build(self.box.cache)

    def up(self) -> None:
        foreign = self.foreign()
        if foreign:
            self.use_foreign(foreign)
            return
        if os.geteuid() != 0:
            raise SandboxError("Only root can run the cluster. Run as root, or let KUBECONFIG name a local cluster.")
        self.dir.mkdir(parents=True, exist_ok=True)
        self.make_keys()
        self.make_pause_image()
        self.remember_settings()
        network.route()
        if not all(self.daemons[name].pid() for name in self.daemons):
            network.link(self.dir / "path")
        ports = {
            "etcd": (programs.ETCD, programs.ETCD_PEER),
            "kube-apiserver": (programs.API,),
            "kube-controller-manager": (programs.CONTROLLER_MANAGER,),
            "kube-scheduler": (programs.SCHEDULER,),
            "kubelet": (programs.KUBELET, programs.KUBELET_HEALTH, programs.KUBELET_READ),
            "kube-proxy": (programs.PROXY_HEALTH, programs.PROXY_METRICS),
        }
        lines = {
            "etcd": programs.etcd(self.dir),
            "kube-apiserver": programs.apiserver(self.bin, self.dir),
            "kube-controller-manager": programs.controller_manager(self.bin, self.dir),
            "kube-scheduler": programs.scheduler(self.bin, self.dir),
            "kubelet": programs.kubelet(self.bin, self.dir),
            "kube-proxy": programs.proxy(self.bin, self.dir),
        }
        ready = {
            "etcd": lambda: http_ok(f"http://127.0.0.1:{programs.ETCD}/health"),
            "kube-apiserver": self.api_ready,
            "kube-controller-manager": lambda: healthy(programs.CONTROLLER_MANAGER),
            "kube-scheduler": lambda: healthy(programs.SCHEDULER),
            "kubelet": self.node_ready,
            "kube-proxy": lambda: http_ok(f"http://127.0.0.1:{programs.PROXY_HEALTH}/healthz"),
        }
        # The iptables of the folder `path` is the one whose rules work; the kubelet and kube-proxy look for it on PATH.
        env = {"PATH": f"{self.dir}/path:{self.bin}:{os.environ['PATH']}"}
        for name, daemon in self.daemons.items():
            if daemon.pid() is None:
                with step(self.name, f"starting {name}"):
                    daemon.start(lines[name], ready[name], 180, env=env, ports=ports[name])
                if name == "kube-apiserver":
                    self.write_kubeconfig()
        await_ready(self.namespace_ready, 120, "the namespace default")
        self.tell_pods(str(self.kubeconfig))
        self.link_kubectl()

    def tell_pods(self, kubeconfig: str) -> None:
        """Prometheus learns from this server which pods to scrape."""
        if self.pods.pid() is None:
            words = [str(programs.PODS), kubeconfig, NAMESPACE, str(METRICS_PORT)]
            with step(self.name, "starting the list of pods for Prometheus"):
                self.pods.start(
                    [sys.executable, "-m", "sandbox.servers.pods", *words],
                    lambda: http_ok(f"http://127.0.0.1:{programs.PODS}/"),
                    ports=[programs.PODS],
                    cwd=self.box.root,
                )

    def use_foreign(self, kubeconfig: str) -> None:
        """Takes a cluster that the user's KUBECONFIG names, if it is on this machine."""
        server = server_of(kubeconfig)
        if not is_local(server) and os.environ.get("SANDBOX_FOREIGN_CLUSTER") != "yes":
            raise SandboxError(
                f"KUBECONFIG ({kubeconfig}) names a cluster that is not on this machine, {server}, and the sandbox "
                "deploys to it. Unset KUBECONFIG for a cluster of its own, or set SANDBOX_FOREIGN_CLUSTER=yes."
            )
        write(self.foreign_mark, f"{kubeconfig}\n")
        nodes = len(self.ask("/api/v1/nodes")["items"])
        say(self.name, f"the cluster at {server} is used, as KUBECONFIG names it ({nodes} nodes)")
        self.tell_pods(kubeconfig)

    def make_keys(self) -> None:
        """The token that is root's, the key of service accounts, and what the API server shows to the kubelet."""
        keys = self.dir / "keys"
        keys.mkdir(parents=True, exist_ok=True)
        keys.chmod(0o700)
        token = self.box.secret("kubernetes")
        write(keys / "tokens.csv", f'{token},sandbox,sandbox,"system:masters"\n', mode=0o600)
        if not (keys / "accounts.key").exists():
            run(["openssl", "genrsa", "-out", keys / "accounts.key", "2048"])
        if not (keys / "kubelet-client.crt").exists():
            key, certificate = keys / "kubelet-client.key", keys / "kubelet-client.crt"
            made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]
            name = ["-subj", "/O=system:masters/CN=kube-apiserver", "-addext", "extendedKeyUsage=clientAuth"]
            run(["openssl", "req", *made, *name, "-keyout", key, "-out", certificate])

    def write_kubeconfig(self) -> None:
        authority = (self.dir / "keys/apiserver/apiserver.crt").read_bytes()
        cluster = {
            "server": f"https://127.0.0.1:{programs.API}",
            "certificate-authority-data": base64.b64encode(authority).decode(),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "sandbox", "user": {"token": self.box.secret("kubernetes")}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
            "current-context": "sandbox",
        }
        write(self.kubeconfig, yaml.safe_dump(config, sort_keys=False), mode=0o600)

    def make_pause_image(self) -> None:
        """What holds a pod's network: a sleeping busybox. None can be counted on to be pulled."""
        if run(["docker", "image", "inspect", programs.PAUSE], check=False).returncode == 0:
            return
        with step(self.name, "making the pods' pause image"), tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "pause.tar"
            with tarfile.open(archive, "w") as tar:
                tar.add(shutil.which("busybox") or "/bin/busybox", "busybox")
            run(["docker", "import", "--change", f"ENTRYPOINT {json.dumps(PAUSE)}", archive, programs.PAUSE])

    def remember_settings(self) -> None:
        file = self.dir / "settings.json"
        if not file.exists():
            found = {name: Path("/proc/sys", name) for name in SETTINGS}
            values = {name: path.read_text().strip() for name, path in found.items() if path.exists()}
            write(file, json.dumps(values, indent=2) + "\n")

    def restore_settings(self) -> None:
        file = self.dir / "settings.json"
        for name, value in json.loads(file.read_text()).items() if file.exists() else ():
            with contextlib.suppress(OSError):  # a container may not be allowed to
                Path("/proc/sys", name).write_text(value)

    def link_kubectl(self) -> None:
        """.sandbox/bin/kubectl, for hands; nothing here needs it."""
        place = self.box.dir / "bin" / "kubectl"
        place.parent.mkdir(exist_ok=True)
        if not place.is_symlink() or place.resolve() != (self.bin / "kubectl").resolve():
            place.unlink(missing_ok=True)
            place.symlink_to(self.bin / "kubectl")

    def ask(self, path: str) -> Any:
        """The API's answer as JSON (text for what is none)."""
        foreign = self.foreign()
        if foreign:
            return json.loads(run(["kubectl", "--kubeconfig", foreign, "get", "--raw", path], timeout=60).stdout)
        # Until the kubeconfig is written, the server has made its certificate just now.
        trust = ssl.create_default_context(cafile=str(self.dir / "keys/apiserver/apiserver.crt"))
        url = f"https://127.0.0.1:{programs.API}{path}"
        asking = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.box.secret('kubernetes')}"})
        with urllib.request.urlopen(asking, timeout=10, context=trust) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def api_ready(self) -> bool:
        return bool(self.ask("/readyz") == "ok")

    def node_ready(self) -> bool:
        conditions = self.ask(f"/api/v1/nodes/{programs.NODE}")["status"].get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def namespace_ready(self) -> bool:
        """Pods can be made only once their namespace has its service account."""
        return bool(self.ask("/api/v1/namespaces/default/serviceaccounts/default"))

    def status(self) -> Status:
        foreign = self.foreign() if self.foreign_mark.exists() else ""
        if foreign:
            return Status(bool(self.ask("/api/v1/nodes")["items"]), f"the cluster of {foreign}")
        lacking = [name for name, daemon in self.daemons.items() if daemon.pid() is None]
        if len(lacking) == len(self.daemons):
            return Status(False, "not started")
        if lacking:
            return Status(False, f"{', '.join(lacking)} not running")
        version, pods = self.ask("/version")["gitVersion"], self.ask("/api/v1/pods")["items"]
        running = sum(pod["status"].get("phase") == "Running" for pod in pods)
        ready = self.node_ready()
        where = f"https://127.0.0.1:{programs.API}"
        node = "ready" if ready else "NOT ready"
        return Status(ready, f"{version}, {where}, node {node}, {running} of {len(pods)} pods run")

    def down(self) -> None:
        self.pods.stop()
        if self.foreign_mark.exists():
            say(self.name, f"left alone: the cluster of {self.foreign()}")
            self.foreign_mark.unlink()
            return
        if not self.dir.exists():
            return
        running = [daemon for daemon in self.daemons.values() if daemon.pid() is not None]
        if running:
            with step(self.name, f"stopping {', '.join(daemon.name for daemon in reversed(running))}"):
                for daemon in reversed(running):
                    daemon.stop(30)
        self.remove_pods()
        with step(self.name, "removing rules, route, mounts and files"):
            network.clean()
            network.unroute()
            self.restore_settings()
            unmount(self.dir)
            shutil.rmtree(self.dir)
            remove_dangling(LOGS)

    def remove_pods(self) -> None:
        if not shutil.which("docker"):
            return
        label = "label=io.kubernetes.pod.uid"
        asked = run(["docker", "ps", "-aq", "--filter", label], check=False, timeout=60)
        ids = asked.stdout.split() if asked.returncode == 0 else []
        if ids:
            with step(self.name, f"removing {len(ids)} containers of pods"):
                run(["docker", "rm", "--force", "--volumes", *ids], check=False)
                left = run(["docker", "ps", "-aq", "--filter", label]).stdout.split()
            if left:
                raise SandboxError(f"containers of pods that cannot be removed: {' '.join(left)}")

    def env(self) -> dict[str, str]:
        if self.foreign_mark.exists():
            host = urllib.parse.urlsplit(server_of(self.foreign())).hostname
            return {
                "PODS_URL": f"http://127.0.0.1:{programs.PODS}/",
                "KUBECONFIG": self.foreign(),
                "KUBERNETES_EDGE_URL": f"http://{host}:{EDGE_PORT}",
            }
        if self.daemons["kube-apiserver"].pid() is None or not self.kubeconfig.exists():
            return {}
        return {
            "PODS_URL": f"http://127.0.0.1:{programs.PODS}/",
            "KUBECONFIG": str(self.kubeconfig),
            "KUBERNETES_EDGE_URL": f"http://127.0.0.1:{EDGE_PORT}",
            "CADVISOR_URL": f"http://127.0.0.1:{programs.KUBELET_READ}/metrics/cadvisor",
        }


def healthy(port: int) -> bool:
    """Of a program that made its own certificate."""
    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=5, context=blind) as answer:
        return bool(answer.status == 200)


def server_of(kubeconfig: str) -> str:
    """The address of the current context's cluster; SandboxError when the file does not say."""
    try:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        contexts = {one["name"]: one["context"] for one in config["contexts"]}
        clusters = {one["name"]: one["cluster"] for one in config["clusters"]}
        return str(clusters[contexts[config["current-context"]]["cluster"]]["server"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise SandboxError(f"KUBECONFIG ({kubeconfig}) names no cluster: {type(error).__name__}: {error}") from error


def is_local(server: str) -> bool:
    host = urllib.parse.urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def unmount(folder: Path) -> None:
    """The pods' secrets and tokens are mounts of their own below the kubelet's folder."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{folder}/")), reverse=True):
        run(["umount", "--lazy", mount.replace("\\040", " ")], check=False)


def remove_dangling(folders: tuple[Path, ...]) -> None:
    """The kubelet's links to logs of containers that are gone, and the folders that held them."""
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_symlink() and not path.exists():
                path.unlink()
            elif path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
