# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A Compose project on one engine: its files, its override, its containers. By the ``docker`` command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.process import Finished, kill, run, tail

from .compose_verdict import Container, container

Json = Dict[str, Any]

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
OURS = os.path.join(".rollout", "compose.override.json")
STATE = "x-rollout"

# Seconds that an engine which is being restarted is waited for.
PATIENCE = 60.0
# What docker says to `docker compose --project-directory ...` when it does not know compose.
NO_COMPOSE = re.compile(
    r"unknown flag: --project-directory|'compose' is not a docker command|unknown command: docker comp"
)
AWAY = re.compile(r"cannot connect to the docker daemon|error during connect|docker\.sock.*(?:EOF|refused|reset)", re.I)


class Project:
    """One Compose project.

    :param files: relative to ``folder``; empty for those that Compose itself would take.
    :raises OpsError: there is no such folder or file, or no Compose.
    """

    def __init__(
        self,
        folder: str,
        name: Optional[str] = None,
        files: Iterable[str] = (),
        env_files: Iterable[str] = (),
        profiles: Iterable[str] = (),
        docker_host: Optional[str] = None,
    ) -> None:
        self.folder = os.path.abspath(folder)
        if not os.path.isdir(self.folder):
            raise self._cannot_read("there is no such folder", "Check compose.project_src.")
        self.env = {"DOCKER_HOST": docker_host} if docker_host else {}
        self.env_files = [os.path.join(self.folder, one) for one in env_files]
        self.override = os.path.join(self.folder, OURS)
        named = [os.path.join(self.folder, one) for one in files] or self._own_files()
        # Whoever runs Compose by hand names the override in COMPOSE_FILE; here it is added when it is there.
        self.files = [one for one in named if os.path.normpath(one) != self.override]
        self.profiles = list(profiles)
        self.given_name = name
        self.lock = threading.RLock()
        self.networks = threading.Lock()
        self.networks_stand = False
        self.networks_there: Set[str] = set()
        self.leaving: Set[str] = set()  # ids of containers that are being stopped
        self.last: Dict[str, Container] = {}
        self.services: Dict[str, Json] = {}
        self.name = name or ""
        self.absences = 0  # how often a command found no engine
        self.away_since: Optional[float] = None  # since when none has; no time while one answers

    def _own_files(self) -> List[str]:
        named = os.environ.get("COMPOSE_FILE") or self._dotenv().get("COMPOSE_FILE")
        if named:
            separator = os.environ.get("COMPOSE_PATH_SEPARATOR") or self._dotenv().get("COMPOSE_PATH_SEPARATOR") or ":"
            return [os.path.join(self.folder, one) for one in named.split(separator)]
        found = []
        for names in (FILES, OVERRIDES):
            found += [path for path in (os.path.join(self.folder, one) for one in names) if os.path.exists(path)][:1]
        if not found or os.path.basename(found[0]) not in FILES:
            raise self._cannot_read("it has no Compose file", "Name the files in compose.files.")
        return found

    def _dotenv(self) -> Dict[str, str]:
        values: Dict[str, str] = {}
        for file in self.env_files or [os.path.join(self.folder, ".env")]:
            with contextlib.suppress(OSError), open(file, encoding="utf-8") as lines:
                for line in lines:
                    name, equals, value = line.strip().partition("=")
                    if equals and not name.startswith("#"):
                        values[name.strip()] = value.strip().strip("'\"")
        return values

    def _cannot_read(self, cause: str, remedy: str = "Nothing was touched.") -> OpsError:
        return OpsError("read", f"the Compose project in {self.folder}", cause, remedy)

    # Commands.

    def docker(self, *words: str, timeout: float = 120.0) -> Finished:
        """Runs ``docker``; an engine that does not answer is asked again for a while, which all commands share.

        :raises OpsError: there is no docker command, it did not end in time, or there is no engine.
        """
        while True:
            try:
                ended = run(["docker", *words], timeout, env=self.env, cwd=self.folder)
            except FileNotFoundError:
                raise OpsError("run", "docker", "there is no such command on this host", "Install Docker.") from None
            except subprocess.TimeoutExpired:
                raise OpsError("run", f"docker {words[0]}", f"it did not end within {timeout:.0f} s") from None
            if ended.rc == 0 or not AWAY.search(ended.stderr):
                self.away_since = None
                return ended
            self.absences += 1
            now = time.monotonic()
            self.away_since = since = self.away_since or now
            if now - since >= PATIENCE:
                cause = (
                    f"the Docker engine does not answer ({tail(ended.stderr, 1)}): start it, then run the same again"
                )
                raise OpsError("reach", "the Docker engine", cause)
            time.sleep(1)

    def argv(self, *words: str) -> List[str]:
        """``docker compose`` with this project's files, the override last."""
        given = ["compose", "--project-directory", self.folder]
        if self.given_name:
            given += ["--project-name", self.given_name]
        for file in [*self.files, *([self.override] if os.path.exists(self.override) else [])]:
            given += ["--file", file]
        for file in self.env_files:
            given += ["--env-file", file]
        for profile in self.profiles:
            given += ["--profile", profile]
        return [*given, *words]

    def compose(self, *words: str, timeout: float = 300.0) -> Finished:
        return self.docker(*self.argv(*words), timeout=timeout)

    # The files.

    def read(self) -> None:
        """Reads services and name as Compose understands them, override included."""
        self.networks_there = set(self.docker("network", "ls", "--format", "{{.Name}}").stdout.split())
        argv = self.argv("config", "--format", "json")
        # Services of other profiles may be named all the same.
        at = argv.index("config")
        ended = self.docker(*argv[:at], "--profile", "*", *argv[at:])
        if ended.rc and NO_COMPOSE.search(ended.stderr):
            raise OpsError(
                "run", "docker compose", "the docker command of this host has no Compose plugin",
                "Install it (docker-compose-plugin, Compose 2) on the host that runs this module. Nothing was touched.",
            )  # fmt: skip
        if ended.rc:
            raise self._cannot_read(tail(ended.stderr, 5) or f"docker compose ended with {ended.rc}")
        found = json.loads(ended.stdout)
        self.services, self.name = found.get("services") or {}, found["name"]
        self.networks_stand = {one["name"] for one in (found.get("networks") or {}).values()} <= self.networks_there

    def content(self) -> Json:
        """The override: what Compose reads of it, and under ``x-rollout`` what is remembered of each service."""
        with self.lock:
            try:
                with open(self.override, encoding="utf-8") as file:
                    content = json.load(file)
            except FileNotFoundError:
                content = {}
            except ValueError as error:
                raise OpsError("read", self.override, f"it is no JSON: {error}", "Mend or remove it.") from None
        content.setdefault("services", {})
        content.setdefault(STATE, {})
        return content

    def write(self, content: Json) -> None:
        """Replaces the override as a whole: a reader sees the old one or the new one."""
        folder = os.path.dirname(self.override)
        with self.lock:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            handle, path = tempfile.mkstemp(dir=folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=2, sort_keys=True)
                    file.write("\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(path, self.override)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                raise

    # Containers and images.

    def containers(self) -> List[Container]:
        """All containers of the project, ended ones too."""
        listed = self.docker(
            "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.name}",
            "--filter", "label=com.docker.compose.oneoff=False", timeout=60,
        )  # fmt: skip
        if listed.rc:
            raise OpsError("list", f"the containers of {self.name}", tail(listed.stderr, 3))
        ids = listed.stdout.split()
        if not ids:
            return []
        # The engine tells nothing of one that it is stopping until it has stopped; what was seen last holds that long.
        going = [self.last[one] for one in ids if one in self.leaving and one in self.last]
        known = {one.id for one in going}
        # One may go between the two commands: what is left is printed all the same.
        asked = [one for one in ids if one not in known]
        inspected = self.docker("container", "inspect", *asked, timeout=60).stdout if asked else ""
        found = [*(container(one) for one in json.loads(inspected or "[]")), *going]
        self.last = {one.id: one for one in found}
        return found

    def stop(self, ids: List[str], timeout: float) -> Finished:
        """Stops containers, each by its own signal and with its own stop_grace_period."""
        self.leaving.update(ids)
        try:
            return self.docker("stop", *ids, timeout=timeout)
        finally:
            self.leaving.difference_update(ids)

    def image_id(self, image: str) -> str:
        """The id that this engine knows an image under; empty when it has none."""
        ended = self.docker("image", "inspect", "--format", "{{.Id}}", image, timeout=60)
        return ended.stdout.strip() if ended.rc == 0 else ""

    def up(self, service: str, scale: int, *words: str) -> Finished:
        """``docker compose up`` of one service and nothing else."""
        argv = ["up", "--detach", "--no-deps", "--no-build", "--pull", "never", *words, "--scale", f"{service}={scale}"]
        # Two that make the same network at once make it twice.
        with self.networks:
            if not self.networks_stand:
                ended = self.compose(*argv, service)
                self.networks_stand = ended.rc == 0
                return ended
        return self.compose(*argv, service)

    def logs(self, one: Container, lines: int = 20) -> str:
        ended = self.docker("logs", "--tail", str(lines), one.id, timeout=30)
        return tail(ended.output, lines)


class Board:
    """The project's containers, kept fresh by Docker's events; whoever waits on it is woken by each change."""

    INTERVAL = 1.0
    PAUSE = 0.2  # a container that starts is a handful of events

    def __init__(self, project: Project) -> None:
        self.project = project
        self.changed = threading.Condition()
        self.containers: List[Container] = []
        self.version = 0
        self.error = ""
        self.steady_since: Dict[str, Any] = {}
        self.refreshing = threading.Lock()
        self.looks = 0
        self.codes: Dict[str, int] = {}  # what containers ended with the last time, also of those that run again
        self.woken = threading.Event()
        self.ended = threading.Event()
        self.touched: Set[str] = set()
        self.events: Optional[subprocess.Popen] = None
        self.threads: List[threading.Thread] = []

    def start(self) -> None:
        """Starts to follow events; from then on it is never more than a second behind."""
        if self.threads:
            return
        for work in (self._listen, self._keep):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self.threads.append(thread)

    def refresh(self) -> List[Container]:
        """Looks now; whoever waited while another began to look takes what that one saw."""
        looks = self.looks
        with self.refreshing:
            if self.looks > looks:
                return self.containers
            self.looks += 1
            try:
                found = self.project.containers()
            except BaseException:
                self.looks -= 1  # nobody has seen anything
                raise
            now = time.monotonic()
            running = {one.id: one.started for one in found if one.status == "running"}
            with self.changed:
                kept = self.steady_since
                self.steady_since = {
                    key: kept[key] if key in kept and kept[key][0] == began else (began, now)
                    for key, began in running.items()
                }
                found = [
                    replace(one, exit_code=self.codes.get(one.id, 0)) if one.status == "running" else one
                    for one in found
                ]
                self.containers, self.error = found, ""
                self.version += 1
                self.changed.notify_all()
            return found

    def steady(self, seconds: float) -> Mapping[str, bool]:
        """Which containers have run for so long without being started again."""
        now = time.monotonic()
        return {key: now - since >= seconds for key, (dummy, since) in dict(self.steady_since).items()}

    def wait(self, version: int, timeout: float) -> int:
        """Blocks until something newer than ``version`` was seen."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != version or self.ended.is_set(), timeout)
            return self.version

    def _keep(self) -> None:
        while not self.ended.is_set():
            self.woken.wait(self.INTERVAL)
            self.woken.clear()
            if self.ended.is_set():
                return
            try:
                self.refresh()
                self.ended.wait(self.PAUSE)
            except Exception as error:
                with self.changed:
                    self.error = str(error)
                    self.version += 1
                    self.changed.notify_all()
                self.ended.wait(1)

    def _listen(self) -> None:
        told = '{{.Action}}\t{{.Actor.ID}}\t{{index .Actor.Attributes "exitCode"}}'
        argv = ["docker", "events", "--format", told, "--filter", "type=container"]
        argv += ["--filter", f"label=com.docker.compose.project={self.project.name}"]
        while not self.ended.is_set():
            self.events = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(os.environ, **self.project.env),
                start_new_session=True,
                text=True,
            )
            if self.ended.is_set():
                kill(self.events)
            for line in self.events.stdout or ():
                action, _tab, rest = line.strip().partition("\t")
                one, _tab, code = rest.partition("\t")
                if action == "die" and code.isdigit():
                    self.codes[one] = int(code)
                # Healthchecks that run each second are no news; their outcome is.
                if not line.startswith("exec_"):
                    self.woken.set()
            self.events.wait()
            self.ended.wait(1)

    def close(self) -> None:
        self.ended.set()
        self.woken.set()
        with self.changed:
            self.changed.notify_all()
        if self.events is not None and self.events.poll() is None:
            kill(self.events)
        for thread in self.threads:
            thread.join(10)
