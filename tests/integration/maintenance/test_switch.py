from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.modules import maintenance_mode

from tests.integration.site.server import in_process
from tests.modules import start_module


@pytest.fixture
def turn(folder):
    def run(state="status", **options):
        given = {"target": "compose", "switch": str(folder / "on"), "state": state, **options}
        return in_process(maintenance_mode, maintenance_mode.maintenance_mode, **given)

    return run


def gone(path, seconds=60):
    deadline = time.monotonic() + seconds
    while path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def nginx(folder, sandbox):
    """The sandbox's own proxy, in a container of the test's own."""
    name = f"t-maintenance-{uuid.uuid4().hex[:8]}"
    conf = Path(__file__).parents[3] / "sandbox" / "company" / "proxy" / "nginx.conf"
    volumes = ["-v", f"{folder}:/etc/nginx/maintenance", "-v", f"{conf}:/tmp/nginx.conf:ro"]
    image = f"{sandbox['REGISTRY']}/sandbox/base:1"
    argv = ["docker", "run", "-d", "--rm", "--name", name, "-p", "127.0.0.1::8080", *volumes, image]
    subprocess.run([*argv, "nginx", "-c", "/tmp/nginx.conf"], check=True, capture_output=True)
    try:
        port = subprocess.run(["docker", "port", name, "8080"], check=True, capture_output=True, text=True).stdout
        url = f"http://127.0.0.1:{port.strip().rpartition(':')[2]}/"
        deadline = time.monotonic() + 60
        while True:
            try:
                status(url)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        subprocess.run(["docker", "kill", name], check=False, capture_output=True)


def status(url, data=None):
    try:
        with urllib.request.urlopen(url, data, timeout=10) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"]


def test_on_and_off_and_only_by_its_owner(turn, proxy):
    assert status(proxy) == (200, None)
    assert turn("enabled", owner="a", reason="upgrade", check=True)["changed"] and status(proxy)[0] == 200
    first = turn("enabled", owner="a", reason="upgrade", duration=600)
    assert first["changed"] and first["lease"]["owner"] == "a" and status(proxy) == (503, "120")
    assert not turn("enabled", owner="a", reason="upgrade", duration=900)["changed"]
    refused = turn("enabled", owner="b", reason="mine")
    assert refused["failed"] and "a has it on" in refused["msg"] and "'upgrade'" in refused["msg"]
    assert turn("disabled", owner="b")["failed"] and status(proxy)[0] == 503
    assert turn("disabled", owner="b", force=True)["failed"], "force needs a reason"
    assert turn("disabled", owner="a")["changed"] and status(proxy)[0] == 200
    assert not turn("disabled", owner="a")["changed"]
    assert turn()["enabled"] is False


def test_the_sandboxs_proxy_obeys_the_switch(turn, nginx):
    assert status(nginx) == (404, None), "nothing is behind it"
    turn("enabled", owner="a", reason="upgrade", duration=600)
    assert status(nginx) == (503, "120")
    # A payment is told the same as a page.
    assert status(nginx, b"amount=1") == (503, "120")
    turn("disabled", owner="a")
    assert status(nginx) == (404, None)


def test_who_is_on_the_list_is_let_in(turn, nginx, folder):
    # Whom Docker's own proxy asks for.
    asked = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    me = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    one = {"owner": "a", "reason": "upgrade", "duration": 600}
    assert turn("enabled", **one, allow=["10.9.9.9", "2001:DB8::1"])["lease"]["allow"] == ["10.9.9.9", "2001:db8::1"]
    assert status(nginx) == (503, "120")
    assert turn("enabled", **one, allow=[me])["changed"] and status(nginx) == (404, None)
    assert not turn("enabled", **one, allow=[me])["changed"]
    assert turn("enabled", **one)["changed"] and status(nginx) == (503, "120")
    turn("enabled", **one, allow=[me])
    turn("disabled", owner="a")
    assert not (folder / "on.allow").exists()


def test_whom_it_let_in_is_forgotten_when_it_lifts_itself(turn, folder):
    turn("enabled", owner="a", reason="upgrade", duration=1, allow=["10.9.9.9"])
    assert gone(folder / "on") and gone(folder / "on.allow")


def test_it_lifts_itself_when_its_time_is_over(turn, folder):
    turn("enabled", owner="a", reason="upgrade", duration=1)
    assert gone(folder / "on")


def test_a_renewal_moves_the_end(turn, folder):
    turn("enabled", owner="a", reason="upgrade", duration=2)
    turn("enabled", owner="a", reason="upgrade", duration=600)
    time.sleep(3.5)
    assert (folder / "on").exists()
    turn("enabled", owner="a", reason="upgrade", duration=1)
    assert gone(folder / "on")


def test_it_lifts_itself_after_the_run_was_killed(folder):
    started = start_module(
        "maintenance_mode",
        target="compose",
        switch=str(folder / "on"),
        state="enabled",
        owner="a",
        reason="upgrade",
        duration=3,
    )
    # The module's output ends although the watchdog lives on.
    started.communicate(timeout=60)
    assert started.returncode == 0
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    assert gone(folder / "on")


def test_off_and_on_again_at_once_is_watched_too(turn, folder):
    for _ in range(3):
        turn("enabled", owner="a", reason="upgrade", duration=600)
        turn("disabled", owner="a")
    turn("enabled", owner="a", reason="upgrade", duration=1)
    assert gone(folder / "on")


def test_a_switch_turned_by_hand_is_left_until_somebody_has_a_reason(turn, folder):
    (folder / "on").touch()
    assert "not by this module" in turn()["msg"]
    assert turn("disabled", owner="a")["failed"]
    assert turn("disabled", owner="a", force=True, reason="asked around")["changed"] and not turn()["enabled"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"state": "enabled", "owner": "a"}, "need one"),
        ({"switch": "/nonexistent/on"}, "folder that exists"),
        ({"state": "enabled", "owner": "a", "reason": "x", "duration": 0}, "at least"),
        ({"state": "enabled", "owner": "a", "reason": "x", "allow": ["10.0.0.0/8"]}, "no IP address"),
        ({"state": "enabled", "owner": "a", "reason": "x", "allow": ["../on"]}, "no IP address"),
        ({"target": "kubernetes", "namespace": "n", "services": ["s"], "allow": ["10.1.2.3"]}, "for target compose"),
    ],
)
def test_what_cannot_be_is_said(turn, options, said):
    state = options.pop("state", "status")
    result = turn(state, **options)
    assert result["failed"] and said in result["msg"]
