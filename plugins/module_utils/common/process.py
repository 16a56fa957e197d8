# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Runs other programs: by list, never through a shell, always with a time limit, ended with their children."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple


class Finished(NamedTuple):
    """How a program ended. ``rc`` is negative when a signal ended it."""

    rc: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return "\n".join(part for part in (self.stdout.strip(), self.stderr.strip()) if part)


def run(
    argv: List[str],
    timeout: float,
    env: Optional[Dict[str, str]] = None,
    cwd: Optional[str] = None,
    stdin: Optional[str] = None,
    pass_fds: Tuple[int, ...] = (),
) -> Finished:
    """Runs a program to its end.

    :param timeout: in seconds; then the whole process group is killed and ``subprocess.TimeoutExpired`` raised.
    :param env: added to this process's environment.
    :param pass_fds: open files that it inherits.
    :raises FileNotFoundError: the program does not exist.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=dict(os.environ, **(env or {})),
        start_new_session=True,
        pass_fds=pass_fds,
        encoding="utf-8",
        errors="replace",
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except BaseException:
        kill(process)
        raise
    return Finished(process.returncode, stdout, stderr)


class Reading:
    """The lines of a program's output and errors, one after the other, however many they are.

    Iterate to the end; then ``rc`` says how it ended and ``late`` whether its time was over.

    :param timeout: in seconds; then the whole process group is killed.
    :param longest: characters; a longer line comes in parts.
    :raises OSError: the program cannot be started.
    """

    def __init__(
        self,
        argv: List[str],
        timeout: float,
        env: Optional[Dict[str, str]] = None,
        cwd: Optional[str] = None,
        longest: int = 65536,
    ) -> None:
        self.longest = longest
        self.rc: Optional[int] = None
        self.late = False
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(os.environ, **(env or {})),
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self.timer = threading.Timer(timeout, self._end)
        self.timer.daemon = True
        self.timer.start()

    def _end(self) -> None:
        self.late = True
        kill(self.process)

    def __iter__(self) -> Iterator[str]:
        stdout = self.process.stdout
        try:
            while stdout is not None:
                line = stdout.readline(self.longest)
                if not line:
                    break
                yield line
            self.rc = self.process.wait()
        finally:
            self.timer.cancel()
            kill(self.process)


def detach(work: Callable[[], None]) -> None:
    """Does ``work`` in a process of its own, which outlives this one and has nobody to talk to.

    It must load no more of the collection: what Ansible unpacked for the module goes when that ends.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for one in (0, 1, 2):
                os.dup2(null, one)
            work()
    finally:
        os._exit(0)


def kill(process: subprocess.Popen) -> None:
    """Ends a program that was started in a session of its own, with all its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(text: str, lines: int = 20) -> str:
    """The last lines of an output, for an error message."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def distinct(lines: Sequence[str]) -> List[str]:
    """The lines without those that a later one repeats but for its digits, as a program does that is started again."""
    latest = {re.sub(r"\d+", "0", line): number for number, line in enumerate(lines)}
    return [lines[number] for number in sorted(latest.values())]
