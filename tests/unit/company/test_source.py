"""The company's repository: always the same commits, and each broken release is v1.1.0 with one fault."""

from __future__ import annotations

import json

import pytest

from sandbox.box import Box
from sandbox.seed import source


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    made = Box(tmp_path_factory.mktemp("company"))
    made.make()
    source.make(made)
    return made


def test_the_same_source_gives_the_same_commits(box, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")
    again = Box(tmp_path)
    again.make()
    source.make(again)
    refs = [source.git(one.dir / "company.git", "for-each-ref") for one in (box, again)]
    assert refs[0] == refs[1]


def test_origin_has_the_tags_but_not_the_next_release_s(box):
    tags = source.git(box.dir / "company.git", "tag", "--list").split()
    assert tags == ["v1.0.0", *sorted(f"v1.2.0-{fault}" for fault in source.BROKEN)]


def test_the_clone_is_at_v1_1_0_and_follows_origin(box):
    clone = box.dir / "company"
    assert (clone / "VERSION").read_text() == "v1.1.0\n"
    assert source.git(clone, "status", "--porcelain", "--branch").splitlines() == ["## main...origin/main"]


@pytest.mark.parametrize("fault", source.BROKEN)
def test_a_broken_release_is_v1_1_0_with_one_fault(box, fault):
    changed = source.git(box.dir / "company", "diff", "--name-only", "main", f"v1.2.0-{fault}").split()
    assert changed == ["VERSION", source.VICTIM]
    folder = source.export(box, f"v1.2.0-{fault}")
    assert json.loads((folder / source.VICTIM).read_text())["fault"] == fault


def test_a_change_of_nothing_makes_nothing_anew(box):
    mark = box.dir / "company" / "mark"
    mark.touch()
    source.make(box)
    assert mark.exists()
    mark.unlink()


def test_migrations_are_only_added(box):
    names = []
    for release in ("v1.0.0", "v1.2.0-slow"):
        folder = source.export(box, release) / "services"
        names.append({str(path.relative_to(folder)) for path in folder.glob("*/migrations/*.js")})
    assert names[0] < names[1]
    assert [len(found) for found in names] == [4, 6]


def test_no_address_of_a_registry_in_the_lock_file():
    lock = json.loads((source.COMPANY / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
