# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""PostgreSQL's own programs: found at the right major version, run without a secret on their command line."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ..common.errors import OpsError
from ..common.process import kill, run, tail
from .server import OPEN_FILES

FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian
    "/usr/pgsql-*/bin",  # Red Hat
    "/usr/local/pgsql*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if os.name == "posix" else None


class Tool(NamedTuple):
    """A program with its version."""

    path: str
    version: str
    major: int


def version_of(path: str) -> Optional[Tool]:
    try:
        finished = run([path, "--version"], timeout=20, env={"LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) ((\d+)[\w.]*)", finished.stdout)
    return Tool(path, match.group(1), int(match.group(2))) if match and finished.rc == 0 else None


def find(name: str, major: int, folder: Optional[str], verb: str) -> Tool:
    """The program of exactly this major version: a newer pg_dump writes what an older server cannot take back.

    :raises OpsError: with what was found instead.
    """
    places = [folder] if folder else [*sorted(glob.glob(FOLDERS[0])), *(f for p in FOLDERS[1:] for f in glob.glob(p))]
    candidates = [os.path.join(place, name) for place in places]
    if not folder:
        candidates.sort(key=lambda path: f"/{major}/" not in path and f"-{major}/" not in path)
        on_path = shutil.which(name)
        candidates += [on_path] if on_path else []
    found = []
    for candidate in candidates:
        tool = version_of(candidate) if os.access(candidate, os.X_OK) else None
        if tool and tool.major == major:
            return tool
        if tool:
            found.append(f"{tool.path} ({tool.version})")
    raise OpsError(
        verb,
        f"a PostgreSQL {major} server",
        f"{name} of version {major} is missing; found: {', '.join(found) or 'none'}",
        f"Install postgresql-client-{major}, or name its folder in bin_dir.",
    )


def compression(dump: Tool, wanted: str) -> str:
    """What to give to ``--compress``: cheap compression where this pg_dump can, none where it could only be gzip.

    gzip makes a dump four times slower; the disk is rarely that much slower.
    """
    if wanted != "auto":
        return wanted
    if dump.major < 16:
        return "0"
    for method in ("zstd:1", "lz4"):
        # It looks at the option before it looks for a server.
        finished = run(
            [dump.path, "-Fc", f"--compress={method}", "-h", "/nonexistent", "-d", "x", "-f", os.devnull],
            timeout=20,
            env={"LC_ALL": "C"},
        )
        if "compress" not in finished.stderr:
            return method
    return "0"


def die_with_parent() -> None:
    """In the child: a run that is killed leaves no pg_dump behind that goes on writing."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def inherited(env: Dict[str, str]) -> Tuple[int, ...]:
    """The open file in which a child finds the password, if that is where it is."""
    folder, _slash, number = env.get("PGPASSFILE", "").rpartition("/")
    return (int(number),) if folder == OPEN_FILES and number.isdigit() else ()


def blame(said: str) -> str:
    """Why one of PostgreSQL's programs failed, out of all that it said; with ``--verbose`` that is a lot."""
    lines = said.splitlines()
    first = next((number for number, line in enumerate(lines) if re.search(r": (error|fatal): ", line)), None)
    return "\n".join(lines[first : first + 6]) if first is not None else tail(said, 6) or "it said nothing"


def work(
    argv: List[str],
    env: Dict[str, str],
    tick: Callable[[Any], None] = lambda said: None,
    failed: Callable[[str], OpsError] = lambda cause: OpsError("run", "a program", cause),
    stdin: Any = subprocess.DEVNULL,
) -> str:
    """Runs a program to its end, however long it takes, and gives what it said on stderr.

    :param env: the whole environment.
    :param tick: called every half second with the file of what it has said so far; only to be read by position.
    :param failed: makes the error from the cause.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=env,
            start_new_session=True,
            pass_fds=inherited(env),
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                    break
                tick(errors)
        except BaseException:
            kill(process)
            raise
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace")
    if process.returncode:
        how = f"ended with {process.returncode}" if process.returncode > 0 else f"was killed by {-process.returncode}"
        raise failed(f"{os.path.basename(argv[0])} {how}: {blame(text)}")
    return text
