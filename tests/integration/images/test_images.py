"""Images of a release on the real engine and registry."""

from __future__ import annotations

import json
import subprocess
import urllib.request
import uuid

import pytest

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
        assert built["digests"][name] == f"{project.registry}/{project.prefix}/{name}@{digest}"
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
