"""One of two processes that work on the same ledger, over and over, until there is a file `stop`.

`lock` takes the lock; a file lock witnesses that nobody else is inside at the same time. `record` adds to one record,
and writes down what the ledger said it kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from itertools import count

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.ledger import holder, ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import open_store


class Worker:
    def __init__(self, store: str, scratch: str, options: str, name: str) -> None:
        self.scratch, self.owner = scratch, f"{name}-{os.getpid()}"
        started = holder.stat(os.getpid())
        assert started
        me = {"host": socket.gethostname(), "pid": os.getpid(), "started": started[1], "place": holder.place()}
        ledger.current_run = lambda: me
        self.book = ledger.Ledger(open_store(store, json.loads(options)))
        self.log = os.open(f"{scratch}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.witness = os.open(f"{scratch}/witness", os.O_RDWR | os.O_CREAT)

    def say(self, text: str) -> None:
        os.write(self.log, f"{text}\n".encode())

    def lock(self) -> None:
        try:
            got = self.book.lock(self.owner, "race", 600)
        except OpsError as error:
            if "holds it" not in error.message and "same time" not in error.message:
                self.say(f"error {error.message}")
            time.sleep(0.002)
            return
        try:
            fcntl.flock(self.witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.say("violation")
            os._exit(1)
        self.say(f"took {got['lock']['generation']} {got['taken_from'].get('why', 'free')} {self.owner}")
        time.sleep(0.005)
        fcntl.flock(self.witness, fcntl.LOCK_UN)
        self.book.unlock(self.owner)
        time.sleep(0.002)

    def record(self, number: int) -> None:
        key = f"{self.owner}-{number}"
        try:
            self.book.record("20261126T113000Z-v1", {"release": "v1", "steps": {key: number}})
            self.say(f"kept {key}")
        except OpsError as error:
            self.say(f"error {error.message}")


def main(what: str, *where: str) -> None:
    worker = Worker(*where)
    for number in count():
        if os.path.exists(f"{worker.scratch}/stop"):
            return
        if what == "lock":
            worker.lock()
        else:
            worker.record(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
