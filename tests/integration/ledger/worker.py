"""Takes a ledger's lock over and over; a file lock witnesses that nobody else is inside at the same time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.ledger import holder, ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import open_store


def main(store: str, scratch: str, name: str, options: str) -> None:
    owner = f"{name}-{os.getpid()}"
    started = holder.stat(os.getpid())
    assert started
    me = {"host": socket.gethostname(), "pid": os.getpid(), "started": started[1], "place": holder.place()}
    ledger.current_run = lambda: me
    book = ledger.Ledger(open_store(store, json.loads(options)))
    log = os.open(f"{scratch}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    witness = os.open(f"{scratch}/witness", os.O_RDWR | os.O_CREAT)
    while not os.path.exists(f"{scratch}/stop"):
        try:
            got = book.lock(owner, "race", 600)
        except OpsError as error:
            if "holds it" not in error.message and "same time" not in error.message:
                os.write(log, f"error {error.message}\n".encode())
            time.sleep(0.002)
            continue
        try:
            fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.write(log, b"violation\n")
            os._exit(1)
        os.write(log, f"took {got['lock']['generation']} {got['taken_from'].get('why', 'free')}\n".encode())
        time.sleep(0.003)
        fcntl.flock(witness, fcntl.LOCK_UN)
        book.unlock(owner)
        time.sleep(0.002)


if __name__ == "__main__":
    main(*sys.argv[1:5])
