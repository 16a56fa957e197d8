# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where a migration tool runs: in a checkout on this host, or in a container of the release's image."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

from ..common.process import Finished, run

SKIPPED = {"node_modules", ".git"}


class Local:
    """In a folder of this host."""

    def __init__(self, service: Dict[str, Any], timeout: float) -> None:
        self.folder = service["chdir"]
        self.timeout = timeout

    def problem(self) -> str:
        return "" if os.path.isdir(self.folder or "") else f"there is no folder {self.folder!r}"

    def run(self, argv: List[str], env: Dict[str, str]) -> Finished:
        return run(argv, self.timeout, env=env, cwd=self.folder)

    def sources(self) -> Optional[List[str]]:
        """The text of every file that may hold a migration; None when they cannot be seen from here."""
        found = []
        for place, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name not in SKIPPED]
            for name in names:
                if name.endswith((".js", ".ts", ".cjs", ".mjs")) and "migration" in place.lower():
                    found.append(Path(place, name).read_text(encoding="utf-8", errors="replace"))
        return found


class Docker:
    """In a container of its own, gone afterwards. The environment is named on the command line, and not its values."""

    def __init__(self, service: Dict[str, Any], timeout: float) -> None:
        self.image = service["image"]
        self.folder = service["chdir"]
        self.arguments = service["docker_args"] or []
        self.name = service["name"]
        self.timeout = timeout

    def problem(self) -> str:
        return "" if self.image else "the runner docker needs an image"

    def run(self, argv: List[str], env: Dict[str, str]) -> Finished:
        name = f"ops-migration-{secrets.token_hex(6)}"
        command = ["docker", "run", "--rm", "--init", "--name", name, "--label", f"eazepay.ops.migration={self.name}"]
        for variable in env:
            command += ["--env", variable]
        command += ["--workdir", self.folder] if self.folder else []
        # The first word of the command replaces the image's own entry point.
        command += [*self.arguments, "--entrypoint", argv[0], self.image, *argv[1:]]
        try:
            return run(command, self.timeout, env=env)
        except BaseException:
            # The client's end does not end the container.
            subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True, timeout=60)
            raise

    def sources(self) -> Optional[List[str]]:
        return None


RUNNERS: Dict[str, Any] = {"local": Local, "docker": Docker}
