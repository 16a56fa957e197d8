"""Starts, awaits and ends background processes: a pid file with the start time, a log file each, a session each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.box import Box, SandboxError, tail, write

OWNER = "EAZEPAY_SANDBOX"  # in every daemon's environment, so that another checkout can say whose it is


def start_time(pid: int) -> str | None:
    """When a process began, in clock ticks since boot. With the pid it names a process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


class Daemon:
    """A background process of one sandbox. `name` is its log's and its pid file's name."""

    def __init__(self, box: Box, name: str):
        self.box = box
        self.name = name
        self.file = box.run / f"{name}.json"
        self.log = box.log / f"{name}.log"

    def pid(self) -> int | None:
        """The process's id while it runs; a pid that now names another process does not count."""
        try:
            known = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return None
        return known["pid"] if start_time(known["pid"]) == known["start"] else None

    def start(
        self,
        argv: Sequence[str | Path],
        ready: Callable[[], object],
        seconds: float = 60,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ports: Sequence[int] = (),
    ) -> bool:
        """Starts the process unless it runs, and awaits `ready` in either case; says whether it was started.

        `ports` are the loopback ports that it will hold: SandboxError names who holds one already.
        """
        fresh = self.pid() is None
        if fresh:
            for port in ports:
                guard_port(self.box, port, self.name)
            self.box.make()
            with open(self.log, "ab") as log:
                process = subprocess.Popen(
                    [str(word) for word in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=cwd or self.box.dir,
                    env={**os.environ, **(env or {}), OWNER: str(self.box.root)},
                    start_new_session=True,
                )
            known = {"pid": process.pid, "start": start_time(process.pid), "argv": argv}
            write(self.file, json.dumps(known, default=str))
        deadline = time.monotonic() + seconds
        why = "it says no"
        while True:
            if fresh:
                process.poll()  # reaps it, so that pid() sees that it ended
            if self.pid() is None:
                raise SandboxError(f"{self.name} ended right after its start ({self.log}):\n{self.last_lines()}")
            try:
                if ready():
                    return fresh
                why = "it says no"
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"{self.name} is not ready after {seconds:.0f} s: {why} ({self.log}):\n{self.last_lines()}"
                )
            time.sleep(0.1)

    def stop(self, seconds: float = 30, sign: signal.Signals = signal.SIGTERM) -> bool:
        """Ends the process and whatever stayed in its session; says whether there was one."""
        pid = self.pid()
        if pid is None:
            self.file.unlink(missing_ok=True)
            return False
        members = session(pid)
        os.kill(pid, sign)
        deadline = time.monotonic() + seconds
        while self.pid() is not None and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.05)
        for member, began in members.items():
            if start_time(member) == began:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
        self.file.unlink(missing_ok=True)
        return True

    def signal(self, sign: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, sign)

    def last_lines(self, lines: int = 15) -> str:
        return tail(self.log.read_text(errors="replace"), lines) if self.log.exists() else "  | (no log)"


def session(leader: int) -> dict[int, str | None]:
    """The processes of a session, each with its start time."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader:
                    found[int(entry.name)] = start_time(int(entry.name))
            except OSError:
                continue
    return found


def port_holder(port: int) -> tuple[int, str, str | None] | None:
    """Who listens on a TCP port: pid, command line, and the checkout whose sandbox it belongs to, if any."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in inodes for link in (entry / "fd").iterdir()):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                environ = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                owner = next((item.partition("=")[2] for item in environ if item.startswith(f"{OWNER}=")), None)
                return int(entry.name), " ".join(words).strip(), owner
    return 0, "a process that this user cannot see", None


def guard_port(box: Box, port: int, what: str) -> None:
    """Refuses, naming the holder, when a port is taken already."""
    holder = port_holder(port)
    if holder is None:
        return
    pid, command, owner = holder
    if owner and owner != str(box.root):
        raise SandboxError(
            f"port {port}, which {what} needs, is held by the sandbox of another checkout, {owner}. "
            f"Run `make down` there first: one machine carries one sandbox."
        )
    raise SandboxError(f"port {port}, which {what} needs, is held by pid {pid} ({command[:120]}). End it first.")
