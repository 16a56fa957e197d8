"""Builds with real commands, and what the cache keeps of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BUILD = ["sh", "-c", "echo run >> ../runs; mkdir -p dist; sed s/x/$RELEASE/ src/page > dist/index.html"]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "portal"
    (folder / "src").mkdir(parents=True)
    (folder / "src/page").write_text("this is x\n")
    return folder


@pytest.fixture
def build(module, tmp_path, source):
    def run(check=False, **own):
        site = {"name": "admin", "source": str(source), "build": BUILD, "env": {"RELEASE": "v1"}, **own}
        result = module("site_build", check=check, cache=str(tmp_path / "cache"), sites=[site])
        return result, (result["sites"][0] if result.get("sites") else {})

    return run


def runs(source):
    file = source.parent / "runs"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_the_same_inputs_are_built_once_wherever_they_lie(build, source, tmp_path):
    checked, planned = build(check=True)
    assert checked["changed"] and planned["built"] and not runs(source) and not (tmp_path / "cache").exists()
    first, site = build()
    assert first["changed"] and Path(site["dist"]).is_dir() and site["dist"] == planned["dist"]
    assert Path(site["dist"], "index.html").read_text() == "this is v1\n"
    # What a build writes or gets is no input, and what becomes of it in the source does not matter.
    (source / "dist/index.html").write_text("spoiled")
    (source / "node_modules").mkdir()
    (source / "node_modules/x").write_text("x")
    again, same = build()
    assert not again["changed"] and same["dist"] == site["dist"] and runs(source) == 1
    assert Path(site["dist"], "index.html").read_text() == "this is v1\n"
    moved = tmp_path / "releases" / "v9"
    shutil.copytree(source, moved, ignore=shutil.ignore_patterns("dist"))
    assert not build(source=str(moved))[0]["changed"]


@pytest.mark.parametrize("change", ["content", "name", "mode", "env", "command"])
def test_any_other_input_is_another_build(build, source, change):
    build()
    own = {}
    if change == "content":
        (source / "src/page").write_text("now x\n")
    elif change == "name":
        (source / "src/more").write_text("")
    elif change == "mode":
        (source / "src/page").chmod(0o755)
    elif change == "env":
        own = {"env": {"RELEASE": "v2"}}
    else:
        own = {"build": [*BUILD, "really"]}
    assert build(**own)[0]["changed"] and runs(source) == 2
    assert not build(**own)[0]["changed"]


def test_what_was_built_before_is_found_again(build, source):
    build()
    build(env={"RELEASE": "v2"})
    back, site = build()
    assert not back["changed"] and Path(site["dist"], "index.html").read_text() == "this is v1\n"


def test_old_builds_go(build, tmp_path):
    for number in range(8):
        build(env={"RELEASE": f"v{number}"})
    assert len(os.listdir(tmp_path / "cache" / "admin")) == 5
    assert not build(env={"RELEASE": "v7"})[0]["changed"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"build": ["sh", "-c", "echo no left-pad >&2; exit 3"]}, "ended with 3:\n    no left-pad"),
        ({"install": ["sh", "-c", "exit 1"]}, "Failed to get the dependencies of admin"),
        ({"build": ["there-is-no-such-command"]}, "cannot be run"),
        ({"build": ["true"]}, "left nothing in"),
        ({"source": "/nonexistent"}, "there is no folder /nonexistent"),
        ({"dist": "../elsewhere"}, "no folder within its source"),
    ],
)  # fmt: skip
def test_a_build_that_fails_is_told_and_keeps_nothing(build, tmp_path, own, said):
    result, _site = build(**own)
    assert result["failed"] and said in result["msg"], result["msg"]
    assert "admin" in result["msg"] and not list((tmp_path / "cache").glob("admin/*"))


def test_many_are_built_and_each_failure_is_named(module, tmp_path, source):
    good = {"name": "good", "source": str(source), "build": BUILD, "env": {"RELEASE": "v1"}}
    bad = {"source": str(source), "build": ["sh", "-c", "exit 4"]}
    plain = {"name": "plain", "source": str(source), "dist": "src"}
    sites = [{**bad, "name": "one"}, good, {**bad, "name": "two", "env": {"A": "1"}}, plain]
    result = module("site_build", cache=str(tmp_path / "cache"), sites=sites)
    assert result["failed"] and result["changed"] and "2 of 4 sites" in result["msg"]
    assert "one: Failed to build one" in result["msg"] and "two: Failed to build two" in result["msg"]
    by_name = {one["name"]: one for one in result["sites"]}
    assert by_name["good"]["built"] and by_name["plain"]["dist"] == str(source / "src")
    assert "is there twice" in module("site_build", cache=str(tmp_path / "cache"), sites=[good, good])["msg"]
