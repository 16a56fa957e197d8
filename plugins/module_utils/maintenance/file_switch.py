# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A switch that is a file: a proxy answers 503 while it exists. The file holds the lease.

Whom the proxy lets in all the same stands beside it: the folder ``<file>.allow`` has an empty file for each address, so
that a proxy looks for them as it looks for the switch.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Dict, Iterator, List, Optional

from ..common.errors import InputError, OpsError
from ..ledger import judge
from ..ledger.ledger import TIMES, seconds_of, text_of
from ..ledger.stores import replace

# Runs on its own once the module has ended, so it stands on the standard library alone. It serves whatever lease is in
# the file, and ends when the file is gone; a second one finds the first and ends.
WATCHDOG = r"""
import datetime, fcntl, json, os, shutil, sys, time

path = sys.argv[1]
folder = os.path.dirname(path)
mine = os.open(os.path.join(folder, ".watchdog"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
for _ in range(100):
    try:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        time.sleep(0.1)
else:
    sys.exit()
guard = os.open(os.path.join(folder, ".guard"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
while True:
    fcntl.flock(guard, fcntl.LOCK_EX)
    try:
        with open(path, encoding="utf-8") as file:
            lease = json.load(file)
        left = datetime.datetime.fromisoformat(lease["expires"]).timestamp() - time.time()
        if left <= 0:
            os.unlink(path)
            shutil.rmtree(path + ".allow", ignore_errors=True)
            sys.exit()
    except (OSError, ValueError, KeyError):
        sys.exit()
    finally:
        fcntl.flock(guard, fcntl.LOCK_UN)
    time.sleep(min(left, 1))
"""


class Unknown(Exception):
    """Something is switched on that holds no lease that can be read."""


class FileSwitch:
    """The file ``path``; its folder must exist, for the proxy watches it."""

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path) or not os.path.isdir(os.path.dirname(path)):
            raise InputError("switch", f"{path!r} is no absolute path in a folder that exists")
        self.path = path
        self.where = path

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps others, the watchdog included, from changing the switch meanwhile. Ends with this process."""
        try:
            handle = os.open(
                os.path.join(os.path.dirname(self.path), ".guard"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640
            )
        except OSError as error:
            raise self.failure(error) from error
        deadline = time.monotonic() + 30
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise self.failure(error) from error
                    time.sleep(0.01)
            yield
        finally:
            os.close(handle)

    def read(self) -> Optional[Dict[str, Any]]:
        """The lease; None when maintenance is off.

        :raises Unknown: it is on, and not by us.
        """
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failure(error) from error
        try:
            lease = judge.decode(data)
            return {key: seconds_of(value) if key in TIMES else value for key, value in lease.items()}
        except (judge.Unreadable, ValueError, TypeError) as error:
            raise Unknown(str(error)) from error

    def on(self, lease: Dict[str, Any]) -> None:
        body = {key: text_of(value) if key in TIMES else value for key, value in lease.items()}
        try:
            self.let_in(lease.get("allow") or [])
            replace(self.path, judge.encode(body))
            os.chmod(self.path, 0o644)  # the proxy is somebody else
        except OSError as error:
            raise self.failure(error) from error
        start([sys.executable, "-I", "-c", WATCHDOG, self.path])

    def let_in(self, addresses: List[str]) -> None:
        """Lets in these, and nobody else."""
        folder = self.path + ".allow"
        shutil.rmtree(folder, ignore_errors=True)
        if not addresses:
            return
        os.mkdir(folder)
        os.chmod(folder, 0o755)  # noqa: S103 - the proxy is somebody else
        for address in addresses:
            with open(os.path.join(folder, address), "x"):
                pass

    def off(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.failure(error) from error
        shutil.rmtree(self.path + ".allow", ignore_errors=True)

    def failure(self, error: OSError) -> OpsError:
        return OpsError("switch", self.where, error.strerror or str(error), "Check the folder and its owner.")


def start(argv: Any) -> None:
    """Starts a program that outlives this one."""
    subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
        cwd="/",
    )
