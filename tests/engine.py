"""A Docker engine of a test's own, for what nobody may do to the one that all share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CONTAINERD = """\
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/containerd.sock"
"""


class Engine:
    """A Docker engine on a socket of its own, with a containerd beside it, as hosts have it.

    It lives in a network namespace of its own: an engine takes the bridges, routes and rules that it finds for its own,
    and one without a bridge deletes the machine's ``docker0``. ``within`` are the words that run a command there.

    :param options: more words for dockerd.
    :param megabytes: the size of its disk; 0 is the machine's own.
    """

    def __init__(self, *options: str, megabytes: int = 0):
        # A socket's path is short.
        self.folder = folder = Path(tempfile.mkdtemp(prefix="t-engine-"))
        self.options = options
        self.host = f"unix://{folder}/docker.sock"
        self.running: dict[str, subprocess.Popen] = {}
        self.run("unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity")
        self.within = ["nsenter", f"--net=/proc/{self.running['unshare'].pid}/ns/net"]
        (folder / "data").mkdir()
        if megabytes:
            argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "t-engine", folder / "data"]
            subprocess.run(argv, check=True)
        (folder / "daemon.json").write_text("{}")
        (folder / "containerd.toml").write_text(CONTAINERD.format(folder=folder))
        try:
            until(self.apart)
            self.run("containerd", "--config", folder / "containerd.toml")
            self.start()
        except BaseException:
            self.remove()
            raise

    def apart(self) -> bool:
        """Whether the namespace is there, and is not the machine's."""
        mine, there = (os.stat(f"/proc/{pid}/ns/net").st_ino for pid in ("self", self.running["unshare"].pid))
        up = subprocess.run([*self.within, "ip", "-brief", "link"], capture_output=True, text=True, check=False).stdout
        return mine != there and "eth0" not in up and "LOWER_UP" in up

    def run(self, *argv: object, within: Sequence[str] = ()) -> None:
        with open(self.folder / f"{argv[0]}.log", "ab") as log:
            words = [*within, *(str(word) for word in argv)]
            self.running[str(argv[0])] = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def docker(self, *words: str, check: bool = True) -> str:
        ended = subprocess.run(["docker", "--host", self.host, *words], check=False, capture_output=True, text=True)
        assert ended.returncode == 0 or not check, ended.stderr
        return ended.stdout.strip()

    def start(self) -> None:
        (self.folder / "pid").unlink(missing_ok=True)
        self.run(
            "dockerd", "--host", self.host, "--containerd", self.folder / "containerd.sock", "--pidfile",
            self.folder / "pid", "--config-file", self.folder / "daemon.json", "--data-root", self.folder / "data",
            "--exec-root", self.folder / "exec", "--bridge", "none", "--iptables=false", "--ip-forward=false",
            *self.options, within=self.within,
        )  # fmt: skip
        until(lambda: self.docker("version", "--format", "{{.Server.Version}}", check=False), 90)

    def grow(self, megabytes: int) -> None:
        """Gives its disk more room."""
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.folder / "data"], check=True)

    def end(self, how: signal.Signals = signal.SIGTERM, what: str = "dockerd") -> None:
        self.running[what].send_signal(how)
        self.running[what].wait(90)

    def remove(self) -> None:
        if "dockerd" in self.running and self.running["dockerd"].poll() is None:
            self.clear()
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.terminate()
                process.wait(90)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder)

    def clear(self) -> None:
        for container in self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", container, check=False)
        self.docker("network", "prune", "--force", check=False)


def until(what: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
