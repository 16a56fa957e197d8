"""Builds and pushes that the machine fails: on an engine and a registry of the tests' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.engine import Engine, until
from tests.modules import finish_module, run_module, start_module

PORT = 5000  # the engine is alone in its network
CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
ASK = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/v2/', timeout=10)"


def services(folder, megabytes):
    """A service whose image has so much in it that cannot be compressed."""
    (folder / "shop").mkdir()
    (folder / "shop" / "Dockerfile").write_text("FROM scratch\nCOPY large /large\n")
    (folder / "shop" / "large").write_bytes(os.urandom(megabytes << 20))
    return [{"name": "shop", "image": f"localhost:{PORT}/t/shop", "context": str(folder / "shop")}]


@pytest.fixture
def engine():
    engines = []

    def start(*options, **more):
        engines.append(Engine(*options, **more))
        return engines[-1]

    yield start
    for one in engines:
        one.remove()


def test_a_full_disk_is_told_with_what_makes_room(engine, tmp_path):
    own = engine(megabytes=64)
    given = {"services": services(tmp_path, 48), "release": "v1", "push": False, "docker_host": own.host}
    result = run_module("release_images", **given)
    assert result["failed"] and not result["changed"], result
    assert "Failed to build shop" in result["msg"] and "no space left on device" in result["msg"].lower()
    assert "docker system df" in result["msg"] and "docker builder prune" in result["msg"]
    own.grow(512)
    assert run_module("release_images", **given)["changed"]


def test_a_registry_that_dies_under_a_push_is_told_and_the_next_run_pushes(engine, tmp_path):
    own = engine()
    data = own.folder / "registry"
    (own.folder / "registry.yml").write_text(CONFIG.format(data=data, port=PORT))

    def serve():
        own.run("docker-registry", "serve", own.folder / "registry.yml", within=own.within)
        asked = [*own.within, sys.executable, "-c", ASK]
        until(lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0)

    def arriving():
        return sum(one.stat().st_size for one in data.rglob("_uploads/*/data"))

    serve()
    given = {"services": services(tmp_path, 96), "release": "v1", "docker_host": own.host, "within": own.within}
    process = start_module("release_images", **given)
    until(arriving)
    own.end(signal.SIGKILL, "docker-registry")
    # The engine itself tries five times, which takes most of a minute.
    result = finish_module(process)
    assert result["failed"] and "Failed to push shop as localhost:5000/t/shop:v1" in result["msg"], result["msg"]
    assert "connection refused" in result["msg"] or "EOF" in result["msg"] or "reset" in result["msg"]
    assert "shop" not in result["digests"] and "Traceback" not in result["msg"]
    serve()
    again = finish_module(start_module("release_images", **given))
    assert not again["failed"] and again["digests"]["shop"].startswith("localhost:5000/t/shop:v1@sha256:"), again
    assert not finish_module(start_module("release_images", **given))["changed"]
