# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where a migration tool runs: in a checkout on this host, or in a container of the release's image.

A runner is made from a service's options and the module's. Its ``run`` takes a command and variables and gives how it
ended, ``sources`` the text of the files that may hold migrations, where they can be seen, ``left`` says what a failure
left behind for people to look at, and ``busy`` what a command of a killed run is that still works.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from ..common.errors import InputError, OpsError
from ..common.process import Finished, run
from ..rollout.compose_project import Project

SKIPPED = {"node_modules", ".git"}


class Here:
    """A command that is a process of this host."""

    def __init__(self, service: Dict[str, Any], params: Dict[str, Any]) -> None:
        key = f"{params['login_host']} {params['login_port']} {service['database']}"
        name = f"eazepay-ops-migration-{os.getuid()}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        self.mark = os.path.join(tempfile.gettempdir(), name)

    @contextlib.contextmanager
    def marked(self, how: int) -> Iterator[int]:
        """The open file by which a command is known to be at work on the database, locked."""
        try:
            handle = os.open(self.mark, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OpsError(
                "lock", self.mark, error.strerror or str(error), "See whose it is. Nothing was run."
            ) from error
        try:
            fcntl.flock(handle, how)
            yield handle
        finally:
            os.close(handle)

    def begin(self, argv: List[str], timeout: float, env: Dict[str, str], folder: str) -> Finished:
        """Runs a command. It inherits the lock, and keeps it when we are killed."""
        with self.marked(fcntl.LOCK_SH) as handle:
            return run(argv, timeout, env=env, cwd=folder, pass_fds=(handle,))

    def busy(self) -> str:
        try:
            with self.marked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                return ""
        except BlockingIOError:
            return "a command on this host, which a killed run began"


class Local(Here):
    """In a folder of this host."""

    def __init__(self, service: Dict[str, Any], params: Dict[str, Any]) -> None:
        super().__init__(service, params)
        self.folder = service["chdir"]
        self.timeout = params["timeout"]
        self.left = ""
        if not os.path.isdir(self.folder or ""):
            raise InputError("chdir", f"service {service['name']!r}: there is no folder {self.folder!r}")

    def run(self, argv: List[str], env: Dict[str, str]) -> Finished:
        return self.begin(argv, self.timeout, env, self.folder)

    def sources(self) -> Optional[List[str]]:
        """The text of every file that may hold a migration; None when they cannot be seen from here."""
        found = []
        for place, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name not in SKIPPED]
            for name in names:
                if name.endswith((".js", ".ts", ".cjs", ".mjs")) and "migration" in place.lower():
                    found.append(Path(place, name).read_text(encoding="utf-8", errors="replace"))
        return found


class Compose(Here):
    """In a container of its own, beside those of the Compose service: its networks, volumes and environment."""

    def __init__(self, service: Dict[str, Any], params: Dict[str, Any]) -> None:
        super().__init__(service, params)
        given = params["compose"]
        if not given:
            raise InputError(
                "compose", f"service {service['name']!r} runs in a Compose container, and no project is given"
            )
        self.project = Project(
            given["project_src"], given["project_name"], given["files"], given["env_files"], given["profiles"],
            given["docker_host"],
        )  # fmt: skip
        self.service = service["workload"] or service["name"]
        self.label = f"eazepay.ops.migration={service['name']}"
        self.project.read()
        if self.service not in self.project.services:
            raise InputError("workload", f"the Compose project has no service {self.service!r}")
        self.image = service["image"]
        self.folder = service["chdir"]
        self.timeout = params["timeout"]
        self.left = ""

    def run(self, argv: List[str], env: Dict[str, str]) -> Finished:
        name = f"ops-migration-{secrets.token_hex(6)}"
        # Under names of their own: Compose fills the project's files in from the same environment.
        values = {f"OPS_MIGRATION_{key}": value for key, value in env.items()}
        override: Dict[str, Any] = {"environment": {key: f"${{OPS_MIGRATION_{key}}}" for key in env}}
        if self.image:
            override["image"] = self.image
        words = ["run", "--rm", "--no-deps", "-T", "--name", name, "--label", self.label]
        words += ["--workdir", self.folder] if self.folder else []
        # The first word of the command replaces the image's own entry point.
        words += ["--entrypoint", argv[0], self.service, *argv[1:]]
        with tempfile.TemporaryDirectory(prefix="ops-migration-") as scratch:
            file = os.path.join(scratch, "override.json")
            Path(file).write_text(json.dumps({"services": {self.service: override}}))
            command = ["docker", *self.project.argv("--file", file, *words)]
            try:
                return self.begin(command, self.timeout, {**self.project.env, **values}, self.project.folder)
            except BaseException:
                # The client's end does not end the container.
                remove = ["docker", "rm", "--force", name]
                subprocess.run(
                    remove, check=False, capture_output=True, timeout=60, env={**os.environ, **self.project.env}
                )
                raise

    def busy(self) -> str:
        # The client that starts a container may have been killed, and the container goes on.
        argv = ["docker", "ps", "--quiet", "--filter", f"label={self.label}"]
        argv += ["--filter", f"label=com.docker.compose.project={self.project.name}"]
        found = run(argv, 60, env=self.project.env)
        if found.rc:
            return f"one that cannot be told: docker ps ended with {found.rc}"
        return f"container {found.stdout.split()[0]}" if found.stdout.strip() else super().busy()

    def sources(self) -> Optional[List[str]]:
        return None


def runner(service: Dict[str, Any], params: Dict[str, Any]) -> Any:
    """The runner that a service asks for."""
    if service["runner"] == "kubernetes":
        from .kube import Kubernetes

        return Kubernetes(service, params)
    return {"local": Local, "compose": Compose}[service["runner"]](service, params)
