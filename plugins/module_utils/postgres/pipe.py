# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Programs one behind the other. Unlike a shell's pipe it fails when any of them does, and says which was the cause."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import subprocess
import tempfile
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple

from ..common.errors import OpsError
from ..common.process import kill
from .tools import blame, die_with_parent, inherited

BLOCK = 1 << 20
F_SETPIPE_SZ = 1031
Tick = Callable[[Any], None]
Failed = Callable[[str], OpsError]


class Stage(NamedTuple):
    """A program and its whole environment."""

    argv: List[str]
    env: Dict[str, str]


class Program(NamedTuple):
    name: str
    process: Any
    errors: Any

    def cause(self) -> str:
        """Why it failed; empty when it did not, or only because its neighbour did."""
        rc = self.process.returncode
        self.errors.seek(0)
        said = self.errors.read().decode("utf-8", "replace")
        if rc in (0, -13) or "broken pipe" in said.lower():
            return ""
        return f"{self.name} {f'ended with {rc}' if rc > 0 else f'was killed by {-rc}'}: {blame(said)}"


def filter_stage(argv: List[str]) -> Stage:
    """A program that needs nothing of PostgreSQL's, and so gets none of its secrets."""
    return Stage(argv, {name: value for name, value in os.environ.items() if not name.startswith(("PG", "AWS_"))})


def needed(name: str, verb: str) -> None:
    """:raises OpsError: a program is not installed."""
    if not shutil.which(name):
        raise OpsError(verb, f"with {name}", f"{name} is not installed", f"Install the package {name}.")


@contextlib.contextmanager
def _running(stages: List[Stage], source: Any, sink: Any) -> Iterator[List[Program]]:
    """The programs, each reading what the one before writes. None of them outlives the block."""
    programs: List[Program] = []
    with contextlib.ExitStack() as stack:
        try:
            for number, stage in enumerate(stages):
                errors = stack.enter_context(tempfile.TemporaryFile())
                before = programs[-1].process.stdout if programs else source
                process = subprocess.Popen(
                    stage.argv,
                    stdin=before,
                    stdout=sink if number == len(stages) - 1 else subprocess.PIPE,
                    stderr=errors,
                    env=stage.env,
                    start_new_session=True,
                    pass_fds=inherited(stage.env),
                    preexec_fn=die_with_parent,  # noqa: PLW1509
                )
                if programs:
                    before.close()  # or the one before would never learn that its reader has gone
                programs.append(Program(os.path.basename(stage.argv[0]), process, errors))
                for end in (process.stdin, process.stdout):
                    if end:
                        with contextlib.suppress(OSError):  # a wish, and Linux alone grants it
                            fcntl.fcntl(end, F_SETPIPE_SZ, BLOCK)
            yield programs
        finally:
            for program in programs:
                for end in (program.process.stdin, program.process.stdout):
                    if end:
                        with contextlib.suppress(OSError):
                            end.close()
                if program.process.poll() is None:
                    kill(program.process)


def _ended(programs: List[Program], tick: Tick) -> None:
    for program in programs:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.process.wait(0.5)
                break
            tick(program.errors)


def _judge(programs: List[Program], failed: Failed) -> None:
    """:raises OpsError: the first failure that was not only the consequence of another."""
    if any(program.process.returncode for program in programs):
        causes = [program.cause() for program in programs]
        raise failed(next((cause for cause in causes if cause), f"{programs[-1].name} stopped reading"))


def out_of(stages: List[Stage], put: Callable[[bytes], None], tick: Tick, failed: Failed) -> None:
    """Gives what the last program writes to ``put``, block by block.

    :param tick: called at every block, and every half second without one, with what the first program has said so far.
    :param failed: makes the error from the cause.
    """
    with _running(stages, subprocess.DEVNULL, subprocess.PIPE) as programs:
        end = programs[-1].process.stdout.fileno()
        while True:
            if select.select([end], [], [], 0.5)[0]:
                block = os.read(end, BLOCK)
                if not block:
                    break
                put(block)
            tick(programs[0].errors)
        _ended(programs, tick)
        _judge(programs, failed)


def into(blocks: Iterable[bytes], stages: List[Stage], tick: Tick, failed: Failed, enough: bool = False) -> None:
    """Has the first program read the blocks, and waits for the last one's end.

    :param enough: whether the last program may stop before it has read all.
    """
    with _running(stages, subprocess.PIPE, subprocess.DEVNULL) as programs:
        first = programs[0].process.stdin
        os.set_blocking(first.fileno(), False)
        try:
            for block in blocks:
                rest = memoryview(block)
                while rest:
                    if select.select([], [first], [], 0.5)[1]:
                        rest = rest[os.write(first.fileno(), rest) :]
                    tick(programs[-1].errors)
            first.close()
        except BrokenPipeError:
            first.close()
        _ended(programs, tick)
        if not (enough and programs[-1].process.returncode == 0):
            _judge(programs, failed)
