from __future__ import annotations

import json
import os
import socket
import sys

import pytest

from sandbox import daemon as daemons
from sandbox.box import Box, SandboxError
from sandbox.daemon import Daemon, guard_port, port_holder, start_time

SLEEP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    made.make()
    return made


def test_a_daemon_starts_once_and_ends_with_its_session(box):
    daemon = Daemon(box, "sleeper")
    try:
        assert daemon.start(SLEEP, lambda: "begun" in daemon.log.read_text())
        pid = daemon.pid()
        assert pid and os.getsid(pid) == pid
        assert not daemon.start(SLEEP, lambda: True)
        assert daemon.pid() == pid
    finally:
        assert daemon.stop()
    assert daemon.pid() is None and start_time(pid) is None
    assert not daemon.stop()


def test_a_pid_that_names_another_process_now_is_not_ours(box):
    daemon = Daemon(box, "old")
    daemon.file.write_text(json.dumps({"pid": os.getpid(), "start": "1"}))
    assert daemon.pid() is None
    assert not daemon.stop()  # and so this test's own process lives on


def test_one_that_dies_shows_its_last_lines(box):
    daemon = Daemon(box, "broken")
    with pytest.raises(SandboxError, match=r"(?s)broken ended right after its start.*no such option"):
        daemon.start([sys.executable, "-c", "import sys; sys.exit('no such option')"], lambda: False)


def test_one_that_is_never_ready_says_why(box):
    daemon = Daemon(box, "mute")

    def ready():
        raise ConnectionRefusedError("nobody there")

    try:
        with pytest.raises(SandboxError, match="mute is not ready after 1 s: ConnectionRefusedError: nobody there"):
            daemon.start(SLEEP, ready, seconds=1)
    finally:
        daemon.stop()


def test_who_holds_a_port(box):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert port_holder(port) is None
        guard_port(box, port, "mail")
        server.listen()
        holder = port_holder(port)
        assert holder
        pid, _command, owner = holder
        assert pid == os.getpid() and owner is None
        with pytest.raises(SandboxError, match=f"port {port}, which mail needs, is held by pid {pid}"):
            guard_port(box, port, "mail")


def test_another_checkout_is_named(box, monkeypatch):
    monkeypatch.setattr(daemons, "port_holder", lambda _port: (7, "moto", "/home/ann/ops"))
    with pytest.raises(SandboxError, match="sandbox of another checkout, /home/ann/ops"):
        guard_port(box, 15566, "aws")
