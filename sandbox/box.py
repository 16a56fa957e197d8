"""What every part shares: folders, secrets, the env file, one-line steps, probes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class SandboxError(Exception):
    """What failed, why and what to do, in one line or a few."""


def say(part: str, text: str) -> None:
    print(f"sandbox: {part}: {text}", flush=True)


@contextlib.contextmanager
def step(part: str, what: str) -> Iterator[None]:
    """Tells a step in one line, with the seconds it took."""
    began = time.monotonic()
    print(f"sandbox: {part}: {what} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(f" failed after {time.monotonic() - began:.1f} s", flush=True)
        raise
    print(f" {time.monotonic() - began:.1f} s", flush=True)


def run(argv: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; SandboxError shows the last lines of what it wrote when it fails."""
    options = {"check": True, "timeout": 600, **options}
    check = options.pop("check")
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **{"stdin": subprocess.DEVNULL, **options} if "input" not in options else options,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"{argv[0]}: {error}") from error
    if check and done.returncode:
        raise SandboxError(f"{shlex.join(map(str, argv))} ended with {done.returncode}:\n{tail(done.stdout)}")
    return done


def tail(text: str, lines: int = 15) -> str:
    return "\n".join(f"  | {line}" for line in text.rstrip().splitlines()[-lines:])


def await_ready(ready: Callable[[], object], seconds: float, what: str) -> None:
    """Polls until `ready` gives something true; an exception counts as "not yet" and is shown at the end."""
    deadline = time.monotonic() + seconds
    why = "it says no"
    while True:
        try:
            if ready():
                return
            why = "it says no"
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise SandboxError(f"{what} is not ready after {seconds:.0f} s: {why}")
        time.sleep(0.2)


def http_ok(url: str, timeout: float = 5) -> bool:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return 200 <= answer.status < 300


def port_open(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Writes a file in one go; says whether that changed it."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.chmod(mode)
    fresh.replace(path)
    return True


class Box:
    """One checkout's sandbox."""

    def __init__(self, root: Path | None = None):
        self.root = (root or Path(__file__).parents[1]).resolve()
        self.dir = self.root / ".sandbox"
        self.log = self.dir / "log"
        self.run = self.dir / "run"
        self.cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eazepay-ops"
        self.id = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    def make(self) -> None:
        for folder in (self.dir, self.log, self.run, self.cache):
            folder.mkdir(parents=True, exist_ok=True)

    def secret(self, name: str) -> str:
        """A random password that stays the same for the life of .sandbox."""
        with self.lock("secrets"):
            file = self.dir / "secrets.json"
            known = json.loads(file.read_text()) if file.exists() else {}
            if name not in known:
                known[name] = secrets.token_urlsafe(18)
                write(file, json.dumps(known, indent=2) + "\n", mode=0o600)
            return str(known[name])

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keeps two runs of this program in one checkout from doing the same thing at once."""
        folder = self.dir / "lock"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / name, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say(name, "waiting for another run of the sandbox in this checkout")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write_env(self, values: Mapping[str, str]) -> None:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        write(self.dir / "env", "\n".join(lines) + "\n", mode=0o600)

    def read_env(self) -> dict[str, str]:
        """What .sandbox/env exports."""
        file = self.dir / "env"
        if not file.exists():
            return {}
        words = [shlex.split(line) for line in file.read_text().splitlines() if line.startswith("export ")]
        return dict(word.split("=", 1) for _export, *rest in words for word in rest)
