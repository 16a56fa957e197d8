"""Debian packages: only what is missing, in one call, without starting the services that they bring."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from sandbox.box import SandboxError, run, step, tail

POLICY = Path("/usr/sbin/policy-rc.d")


def missing(packages: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    wanted = sorted(set(packages))
    if not wanted:
        return []
    asked = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted]
    known = subprocess.run(asked, check=False, capture_output=True, text=True).stdout
    installed = {line.split()[0] for line in known.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """Keeps Debian's own PostgreSQL, Prometheus and Docker from starting while their packages are installed."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def apt(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}
    argv = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3", *words]
    deadline = time.monotonic() + 600
    while True:  # the lock on the lists has no such option
        done = run(argv, check=False, env=environment, timeout=1800)
        if done.returncode == 0 or "Could not get lock" not in done.stdout or time.monotonic() > deadline:
            return done
        time.sleep(2)


def install(packages: Iterable[str], part: str = "packages") -> None:
    """Installs what is missing of the packages; SandboxError says why it cannot."""
    wanted = missing(packages)
    if not wanted:
        return
    names = " ".join(wanted)
    if not shutil.which("apt-get"):
        raise SandboxError(f"Cannot install {names}: this is no Debian machine (no apt-get). Install them by hand.")
    if os.geteuid() != 0:
        raise SandboxError(f"Cannot install {names}: that needs root. Run `sudo apt-get install {names}`.")
    with step(part, f"installing {names}"), no_services():
        done = apt("install", "--no-install-recommends", *wanted)
        if done.returncode:  # the lists are missing or old
            fetched = apt("update")
            done = apt("install", "--no-install-recommends", *wanted)
            if done.returncode:
                why = "the network or the apt sources do not answer" if fetched.returncode else "apt refused"
                raise SandboxError(f"Cannot install {names}: {why}.\n{tail(done.stdout)}")
