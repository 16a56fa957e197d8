"""Tags and exported files, with real git repositories."""

from __future__ import annotations

import subprocess

import pytest

from tests.modules import run_module


def git(folder, *words):
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    ended = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return ended.stdout.strip()


@pytest.fixture
def work(tmp_path):
    """An origin with two commits on main, and a clone."""
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", origin], check=True)
    subprocess.run(["git", "clone", "-q", origin, clone], check=True, capture_output=True)
    git(clone, "checkout", "-q", "-b", "main")
    for text in ("first", "second"):
        (clone / "file").write_text(text)
        (clone / "run").write_text("#!/bin/sh\n")
        (clone / "run").chmod(0o755)
        git(clone, "add", ".")
        git(clone, "commit", "-q", "-m", text)
        git(clone, "push", "-q", "origin", "main")
    git(clone, "tag", "-a", "v1.0.0", "-m", "v1.0.0", "HEAD^")
    git(clone, "push", "-q", "origin", "v1.0.0")
    return tmp_path


def source(work, release, check=False, **more):
    return run_module(
        "release_source",
        check=check,
        release=release,
        checkout=str(work / "clone"),
        dest=str(work / "releases"),
        **more,
    )


def test_a_missing_tag_is_made_at_main_and_pushed(work):
    checked = source(work, "v1.1.0", check=True)
    assert checked["changed"] and checked["created"] and git(work / "origin.git", "tag") == "v1.0.0"
    assert git(work / "clone", "tag") == "v1.0.0"

    made = source(work, "v1.1.0")
    assert made["created"] and made["pushed"] and not made["exported"]
    assert git(work / "origin.git", "rev-parse", "v1.1.0^{commit}") == git(work / "origin.git", "rev-parse", "main")
    assert git(work / "origin.git", "cat-file", "-t", "v1.1.0") == "tag"
    assert made["previous"] == "v1.0.0" and [line.split(" ", 1)[1] for line in made["changes"]] == ["second"]
    folder = work / "releases" / "v1.1.0"
    assert made["path"] == str(folder) and (folder / "file").read_text() == "second"
    assert (folder / "run").stat().st_mode & 0o111 and not (folder / ".git").exists()
    assert not source(work, "v1.1.0")["changed"]

    # What a build adds is nobody's business; what differs from the tag is mended.
    (folder / "dist").mkdir()
    assert not source(work, "v1.1.0")["changed"]
    (folder / "file").write_text("touched")
    assert source(work, "v1.1.0")["exported"] and (folder / "file").read_text() == "second"


def test_a_tag_that_stands_elsewhere_is_refused(work):
    main = git(work / "clone", "rev-parse", "main")
    refused = source(work, "v1.0.0", revision=main)
    assert refused["failed"] and "never moved" in refused["msg"] and not (work / "releases").exists()
    old = source(work, "v1.0.0")
    assert not old["created"] and not old["pushed"] and (work / "releases/v1.0.0/file").read_text() == "first"
    # One that was made here and never pushed, at another commit than wanted.
    git(work / "clone", "tag", "-a", "v1.2.0", "-m", "x", "HEAD^")
    assert source(work, "v1.2.0")["failed"]
    assert "v1.2.0" not in git(work / "origin.git", "tag")


def test_a_local_tag_is_pushed_and_a_remote_one_is_fetched(work):
    git(work / "clone", "tag", "-a", "v1.1.0", "-m", "x")
    pushed = source(work, "v1.1.0")
    assert pushed["pushed"] and not pushed["created"]
    result = run_module(
        "release_source",
        release="v1.1.0",
        repository=str(work / "origin.git"),
        checkout=str(work / "another"),
        dest=str(work / "elsewhere"),
    )
    assert result["changed"] and not result["created"] and (work / "elsewhere/v1.1.0/file").read_text() == "second"


def test_check_mode_exports_what_the_remote_alone_has(work):
    git(work, "clone", "-q", "origin.git", "other")
    git(work / "other", "checkout", "-q", "-b", "next")
    (work / "other" / "file").write_text("third")
    git(work / "other", "commit", "-q", "-a", "-m", "third")
    git(work / "other", "tag", "-a", "v1.2.0", "-m", "x")
    git(work / "other", "push", "-q", "origin", "next", "v1.2.0")
    refs = git(work / "clone", "for-each-ref")
    checked = source(work, "v1.2.0", check=True)
    assert (work / "releases/v1.2.0/file").read_text() == "third" and not checked["created"]
    untagged = source(work, "v1.3.0", check=True, branch="next")
    assert untagged["created"] and (work / "releases/v1.3.0/file").read_text() == "third"
    assert git(work / "clone", "for-each-ref") == refs
    assert git(work / "origin.git", "tag").split() == ["v1.0.0", "v1.2.0"]


@pytest.mark.parametrize("release", ["../x", "-v", "a/b", ""])
def test_a_name_that_is_no_tag_is_refused(work, release):
    assert source(work, release)["failed"]
