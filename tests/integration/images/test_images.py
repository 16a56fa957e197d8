"""Images of a release on the real engine and registry."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.announce.play import play
from tests.integration.site.server import aws_server, boto
from tests.modules import run_module

DOCKERFILE = "FROM scratch\nARG SECRET\nCOPY . /\n"


@pytest.fixture
def project(sandbox, tmp_path):
    return Project(sandbox["REGISTRY"], tmp_path)


class Project:
    def __init__(self, registry, folder):
        self.registry = registry
        self.folder = folder
        self.prefix = f"t/images-{uuid.uuid4().hex[:8]}"
        self.names = ["one", "two", "three"]
        for name in self.names:
            (folder / name).mkdir()
            (folder / name / "Dockerfile").write_text(DOCKERFILE)
            (folder / name / "file").write_text(name)

    def release(self, release="v1", check=False, names=None, **more):
        services = [
            {"name": name, "image": f"{self.registry}/{self.prefix}/{name}", "context": str(self.folder / name)}
            for name in names or self.names
        ]
        return run_module("release_images", check=check, services=services, release=release, **more)

    def get(self, path):
        request = urllib.request.Request(
            f"http://{self.registry}/v2/{self.prefix}/{path}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer), answer.headers

    def tags(self, name):
        try:
            return self.get(f"{name}/tags/list")[0]["tags"]
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return []

    def labels(self, name, tag):
        digest = self.get(f"{name}/manifests/{tag}")[0]["config"]["digest"]
        return self.get(f"{name}/blobs/{digest}")[0]["config"]["Labels"]


def test_built_once_by_content_and_refused_when_it_differs(project):
    checked = project.release(check=True)
    assert checked["changed"] and project.tags("one") == []

    built = project.release(revision="abc123", source="https://git.example.com/shop", latest=True)
    assert built["changed"] and [one["action"] for one in built["images"]] == ["build"] * 3
    for name in project.names:
        digest = project.get(f"{name}/manifests/v1")[1]["Docker-Content-Digest"]
        assert built["digests"][name] == f"{project.registry}/{project.prefix}/{name}:v1@{digest}"
        assert sorted(project.tags(name)) == ["latest", "v1"]
    labels = project.labels("one", "v1")
    assert labels["org.opencontainers.image.revision"] == "abc123"
    assert labels["org.opencontainers.image.version"] == "v1"
    assert labels["org.opencontainers.image.source"] == "https://git.example.com/shop"
    assert labels["org.opencontainers.image.created"]

    # Another commit with the same files is the same image.
    again = project.release(revision="def456", latest=True)
    assert not again["changed"] and again["digests"] == built["digests"]

    (project.folder / "two" / "file").write_text("another")
    refused = project.release()
    assert refused["failed"] and not refused["changed"]
    assert "two:v1 is taken" in refused["msg"] and "Nothing was built" in refused["msg"]
    assert project.release(check=True)["failed"]

    overwritten = project.release(overwrite=["two"])
    assert [one["name"] for one in overwritten["images"] if one["built"]] == ["two"]
    assert overwritten["digests"]["two"] != built["digests"]["two"]
    # Latest alone is moved without a build.
    moved = project.release(latest=True)
    assert moved["changed"] and not any(one["built"] for one in moved["images"])
    assert project.labels("two", "latest") == project.labels("two", "v1")
    assert not project.release(latest=True)["changed"]


def test_a_bad_dockerfile_is_told_with_step_and_lines(project):
    (project.folder / "two" / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
    result = project.release(names=["one", "two"])
    assert result["failed"] and "Failed to build two" in result["msg"]
    assert "nothing" in result["msg"] and "COPY nothing /" in result["msg"]
    # The other one is done, and the next run finds it.
    assert project.tags("one") == ["v1"] and project.tags("two") == []
    (project.folder / "two" / "Dockerfile").write_text(DOCKERFILE)
    after = project.release(names=["one", "two"])
    assert [one["action"] for one in after["images"]] == ["keep", "build"]


def test_a_registry_that_is_away_is_named(project):
    project.registry = "localhost:1"
    result = project.release(names=["one"])
    assert result["failed"] and "registry localhost:1" in result["msg"] and "does not answer" in result["msg"]


def test_arguments_count_and_stay_off_command_lines(project):
    service = {
        "name": "one",
        "image": f"{project.registry}/{project.prefix}/one",
        "context": str(project.folder / "one"),
    }
    first = run_module("release_images", release="v1", services=[{**service, "args": {"SECRET": "a"}}])
    assert first["changed"]
    assert not run_module("release_images", release="v1", services=[{**service, "args": {"SECRET": "a"}}])["changed"]
    assert run_module("release_images", release="v1", services=[{**service, "args": {"SECRET": "b"}}])["failed"]


def test_without_a_push_the_engine_alone_has_it(project):
    first = project.release(names=["one"], push=False)
    assert first["changed"] and first["digests"] == {} and project.tags("one") == []
    assert not project.release(names=["one"], push=False)["changed"]
    image = f"{project.registry}/{project.prefix}/one:v1"
    subprocess.run(["docker", "image", "rm", image], check=True, capture_output=True)


PASSWORD = "t-horse-battery-staple"
HASHED = "$2b$04$eGXY1XhLg0/QMrsax7os/ueZu7YJaUBBwFUwycbfbbKELbZrkOQXK"  # bcrypt, the only one that the registry takes


@pytest.fixture
def guarded(project, tmp_path):
    """A registry of the test's own, that wants a login."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "htpasswd").write_text(f"robot:{HASHED}\n")
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\nauth: {{htpasswd: {{realm: t, path: {folder}/htpasswd}}}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", folder / "config.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=10)
            except urllib.error.HTTPError as error:
                assert error.code == 401
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        project.registry = f"localhost:{port}"
        yield project
    finally:
        process.terminate()
        process.wait(30)


def test_a_login_is_used_and_gone_afterwards(guarded, tmp_path):
    home = tmp_path / "docker"
    home.mkdir()
    plugins = Path.home() / ".docker" / "cli-plugins"
    if plugins.is_dir():
        (home / "cli-plugins").symlink_to(plugins)
    before = set(Path(tempfile.gettempdir()).glob("release-images-*"))
    env = {"DOCKER_CONFIG": str(home)}
    refused = guarded.release(names=["one"], env=env)
    assert refused["failed"] and guarded.registry in refused["msg"] and "login" in refused["msg"]
    login = {"registry": guarded.registry, "username": "robot", "password": PASSWORD}
    wrong = guarded.release(names=["one"], env=env, login={**login, "password": "t-another-secret"})
    assert wrong["failed"] and guarded.registry in wrong["msg"] and "t-another-secret" not in json.dumps(wrong["msg"])
    lines = watch_command_lines()
    built = guarded.release(names=["one"], env=env, login=login)
    seen = lines()
    assert built["changed"] and built["digests"]["one"].startswith(guarded.registry), built["msg"]
    assert PASSWORD not in seen and PASSWORD not in json.dumps({**built, "invocation": ""})
    assert not guarded.release(names=["one"], env=env, login=login)["changed"]
    assert not (home / "config.json").exists() and set(Path(tempfile.gettempdir()).glob("release-images-*")) == before


def watch_command_lines():
    """Reads all command lines over and over; call what it gives for all that was seen."""
    seen, stop = set(), threading.Event()

    def look():
        while not stop.wait(0.02):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    seen.add(Path("/proc", pid, "cmdline").read_bytes())

    thread = threading.Thread(target=look)
    thread.start()

    def end():
        stop.set()
        thread.join()
        return b"\n".join(seen).decode(errors="replace")

    return end


def test_the_login_comes_from_secrets_manager_and_nothing_is_left_of_it(guarded, tmp_path, monkeypatch):
    """As the playbooks have it: their variables, a secret's name in the inventory, nothing in the environment."""
    home = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    config = home.read_bytes() if home.exists() else b""
    image = f"{guarded.registry}/{guarded.prefix}/one"
    services = [{"name": "one", "image": image, "context": str(guarded.folder / "one")}]
    given = {
        "images_services": services,
        "images_release": "v1",
        "images_source": "",
        "eazepay_registry": guarded.registry,
        "eazepay_registry_secret": "t/registry",
    }
    with aws_server() as aws:
        secret = {"username": "robot", "password": PASSWORD}
        boto("secretsmanager", aws).create_secret(Name="t/registry", SecretString=json.dumps(secret))
        keys = {"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key", "AWS_REGION": "region"}
        for name, option in {**keys, "AWS_ENDPOINT_URL": "endpoint_url"}.items():
            monkeypatch.setenv(name, aws[option])
        for name in ("REGISTRY_USERNAME", "REGISTRY_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        lines = watch_command_lines()
        variables = ["-e", f"@{ROOT / 'playbooks/group_vars/all/main.yml'}", "-e", f"@{tmp_path / 'vars.json'}"]
        done = play(tmp_path, "images", "images_digests", given, "-vv", *variables)
        seen = lines()
    assert done.rc == 0, done.output
    assert done.result["one"].startswith(f"{image}:v1@sha256:")
    assert PASSWORD not in done.output and PASSWORD not in seen
    assert (home.read_bytes() if home.exists() else b"") == config


def test_the_role_takes_its_login_from_the_environment(guarded, tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_USERNAME", "robot")
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    image = f"{guarded.registry}/{guarded.prefix}/one"
    services = [{"name": "one", "image": image, "context": str(guarded.folder / "one")}]
    given = {"images_services": services, "images_release": "v1", "images_registry": guarded.registry}
    done = play(tmp_path, "images", "images_digests", given, "-vv")
    assert done.rc == 0, done.output
    assert done.result["one"].startswith(f"{image}:v1@sha256:") and PASSWORD not in done.output
