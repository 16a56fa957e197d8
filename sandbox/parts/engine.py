"""Docker: the machine's own engine where one answers, otherwise Debian's; Compose v2 and buildx for its CLI."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from sandbox.apt import suite_sources
from sandbox.box import SandboxError, run, say, step, write
from sandbox.daemon import Daemon
from sandbox.parts import Part, Status

CAP_SYS_RESOURCE = 24
PLUGINS = {"compose": "docker-compose", "buildx": "docker-buildx"}  # the CLI's plugin, Debian's package
# Debian 12 has neither in a version that the Docker collections accept; trixie's packages need no more than libc6 2.34.
PLUGIN_SUITE = "trixie"

# Where the machine lacks CAP_SYS_RESOURCE, the kernel refuses a negative oom_score_adj, and with it every pod.
RUNTIME = """\
#!/bin/sh
case " $* " in
  *" create "* | *" run "*) {python} -IS {fix} "$@" ;;
esac
exec {runc} "$@"
"""


def lacks_sys_resource(status: str) -> bool:
    """Whether /proc/self/status says that CAP_SYS_RESOURCE is missing."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return not int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1
    return False


class Engine(Part):
    name = "engine"

    def __init__(self, box):
        super().__init__(box)
        self.daemon = Daemon(box, "dockerd")

    def answers(self) -> str:
        """The engine's version; empty when none answers."""
        if not shutil.which("docker"):
            return ""
        asked = run(["docker", "version", "--format", "{{.Server.Version}}"], check=False, timeout=30)
        return asked.stdout.strip() if asked.returncode == 0 else ""

    def wanted_packages(self) -> tuple[str, ...]:
        # busybox and mmdebstrap make the sample services' base image: none can be counted on to be pulled.
        base = ("busybox-static", "mmdebstrap")
        return base if self.answers() else ("docker.io", "iptables", "iproute2", *base)

    def install(self) -> None:
        missing = [plugin for plugin in PLUGINS if not self.plugin(plugin)]
        if not missing:
            return
        with self.box.lock("packages"), step(self.name, f"Docker's {' and '.join(missing)} from Debian {PLUGIN_SUITE}"):
            folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
            folder.mkdir(parents=True, exist_ok=True)
            for plugin in missing:
                fetch_plugin(self.box.cache, PLUGINS[plugin], folder)
        for plugin in missing:
            if not self.plugin(plugin):
                raise SandboxError(f"docker {plugin} does not run although {folder}/docker-{plugin} was installed")

    def plugin(self, name: str) -> str:
        if not shutil.which("docker"):
            return ""
        asked = run(["docker", name, "version"], check=False, timeout=60)
        # The old command line takes an unknown subcommand for its own help and ends well.
        return asked.stdout.strip() if asked.returncode == 0 and "Usage:" not in asked.stdout else ""

    def up(self) -> None:
        if self.daemon.pid() is None:
            version = self.answers()
            if version:
                say(self.name, f"the Docker engine {version} that runs already is used")
                return
        if os.geteuid() != 0:
            raise SandboxError("No Docker engine answers and only root can start one. Start Docker, or run as root.")
        config: dict[str, object] = {"log-opts": {"max-size": "10m"}, "log-driver": "json-file"}
        if lacks_sys_resource(Path("/proc/self/status").read_text()):
            wrapper = self.dir / "runc"
            # Copied, as a container must be able to start whatever becomes of the checkout's files.
            fix = self.dir / "mend_bundle.py"
            write(fix, (Path(__file__).parents[1] / "mend_bundle.py").read_text())
            runc = shutil.which("runc") or "/usr/sbin/runc"
            words = {"python": os.path.realpath(sys.executable), "fix": str(fix), "runc": runc}
            write(wrapper, RUNTIME.format(**{name: shlex.quote(word) for name, word in words.items()}), mode=0o755)
            config |= {"runtimes": {"sandbox": {"path": str(wrapper)}}, "default-runtime": "sandbox"}
        file = self.dir / "daemon.json"
        write(file, json.dumps(config, indent=2) + "\n")
        if self.daemon.pid() is None:
            Path("/var/run/docker.pid").unlink(missing_ok=True)  # left by an engine that was killed
            with step(self.name, "starting dockerd"):
                self.daemon.start(
                    ["dockerd", "--config-file", file, "--host", "unix:///var/run/docker.sock"], self.answers, 90
                )

    def status(self) -> Status:
        version = self.answers()
        if not version:
            return Status(False, "no engine answers")
        whose = f"dockerd, pid {self.daemon.pid()}" if self.daemon.pid() else "the machine's own"
        missing = [plugin for plugin in PLUGINS if not self.plugin(plugin)]
        return Status(not missing, f"{version}, {whose}" + (f"; without {', '.join(missing)}" if missing else ""))

    def down(self) -> None:
        if self.answers():
            self.remove_containers()
        if self.daemon.pid() is not None:
            with step(self.name, "stopping dockerd"):
                self.daemon.stop(60)

    def remove_containers(self) -> None:
        """Removes the containers and networks of Compose projects that were started from this checkout."""
        label = "com.docker.compose.project"
        asked = run(["docker", "ps", "-aq", "--filter", f"label={label}"])
        ids, projects = [], set()
        for container in json.loads(run(["docker", "inspect", *asked.stdout.split()]).stdout if asked.stdout else "[]"):
            labels = container["Config"]["Labels"]
            home = Path(labels.get(f"{label}.working_dir", "/"))
            if home.is_relative_to(self.box.root):
                ids.append(container["Id"])
                projects.add(labels[label])
        if ids:
            with step(self.name, f"removing {len(ids)} containers of {', '.join(sorted(projects))}"):
                run(["docker", "rm", "--force", "--volumes", *ids])
        for project in sorted(projects):
            networks = run(["docker", "network", "ls", "-q", "--filter", f"label={label}={project}"]).stdout.split()
            for network in networks:
                run(["docker", "network", "rm", network], check=False)

    def env(self) -> dict[str, str]:
        host = os.environ.get("DOCKER_HOST", "")
        return {"DOCKER_HOST": host} if host and not self.daemon.pid() else {}


def fetch_plugin(cache: Path, package: str, folder: Path) -> None:
    """Downloads one Debian package of another suite with apt and takes the CLI plugin out of it."""
    kept = cache / "debs"
    kept.mkdir(parents=True, exist_ok=True)
    found = sorted(kept.glob(f"{package}_*.deb"))
    if not found:
        apt = shutil.which("apt-get")
        if not apt:
            raise SandboxError(f"Cannot fetch {package}: this machine has no apt-get. Install it by hand.")
        with tempfile.TemporaryDirectory(prefix="eazepay-apt-") as scratch:
            options = suite_sources(Path(scratch), PLUGIN_SUITE)
            run([apt, "-q", *options, "update"], timeout=600)
            run([apt, "-q", *options, "download", package], cwd=kept, timeout=600)
        found = sorted(kept.glob(f"{package}_*.deb"))
    with tempfile.TemporaryDirectory(prefix="eazepay-deb-") as scratch:
        run(["dpkg-deb", "--extract", found[-1], scratch])
        plugins = [path for path in Path(scratch).rglob("cli-plugins/docker-*") if path.is_file()]
        if not plugins:
            raise SandboxError(f"{found[-1].name} holds no plugin for Docker's command line")
        for plugin in plugins:
            fresh = folder / f".{plugin.name}"
            shutil.copy2(plugin, fresh)
            fresh.chmod(0o755)
            fresh.replace(folder / plugin.name)
