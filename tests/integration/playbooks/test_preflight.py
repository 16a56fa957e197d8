"""The playbook `preflight` on a company of two tiny services: each item green, each red, and all of them told."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.shop import shop

ITEMS = ("secrets", "monitoring", "backup", "rollback", "team", "freeze", "state", "database", "changes", "tag")


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with shop(tmp_path_factory.mktemp("shop"), sandbox) as made:
        origin, work = made.folder / "origin.git", made.folder / "work"
        who = {f"GIT_{role}_{key}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

        def git(*words):
            argv = ["git", "-C", str(made.folder), *words]
            subprocess.run(argv, check=True, capture_output=True, env={**os.environ, **who})

        git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
        git("clone", "--quiet", str(origin), str(work))
        (work / "code").write_text("v1\n")
        git("-C", str(work), "add", "--all")
        git("-C", str(work), "commit", "--quiet", "-m", "a wallet that counts right")
        git("-C", str(work), "push", "--quiet", "origin", "HEAD:main")
        yield made


@pytest.fixture(scope="module")
def given(company):
    return {
        "eazepay_checklist": {name: {} for name in ITEMS},
        "eazepay_backup": {"dest": str(company.folder / "backups"), "max_age": "24h", "keep": {"last": 2}},
        "eazepay_databases": ["wallet"],
        "eazepay_notice": {"deployment": "1h", "maintenance": "48h"},
    }


def lines(output):
    """Each item's word in the table."""
    found = {}
    for word, name in re.findall(r"\b(ok|warn|RED|UNKNOWN|waived) (\w+) ", output):
        if name in ITEMS:
            found[name] = word
    return found


def test_all_is_green(company, given):
    company.play("backup.yml", "-e", "release=v1.1.0", **given)
    company.notice(2 * 3600.0, kind="deployment", release="v1.2.0")
    output = company.play("preflight.yml", "-e", "release=v1.2.0", **given)
    assert lines(output) == dict.fromkeys(ITEMS, "ok"), output[-5000:]
    assert "2 services are healthy" in output and "a wallet that counts right" in output
    assert "v1.2.0 will be made at" in output


def test_all_is_red_and_each_is_told(company, given):
    """Nothing that an item needs is there; the others are asked all the same."""
    broken = {
        **given,
        "eazepay_database": {"host": "127.0.0.1", "port": 9, "secret": "t/none"},
        "eazepay_alertmanager": "http://127.0.0.1:9",
        "eazepay_backup": {**given["eazepay_backup"], "dest": str(company.folder / "elsewhere")},
        "eazepay_ledger": str(company.folder / "no-ledger"),
        "eazepay_first_release": False,
        "eazepay_freezes": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "reason": "payday"}],
        "eazepay_compose": {"project_src": str(company.folder / "nowhere")},
        "eazepay_source": {"repository": "/nonexistent.git", "checkout": str(company.folder / "c"), "releases": "/r"},
    }
    output = company.play("preflight.yml", "-e", "release=v1.2.0", ok=False, **broken)
    found = lines(output)
    assert set(found) == set(ITEMS) and set(found.values()) <= {"RED", "UNKNOWN"}, output[-6000:]
    assert "10 of 10 items are red" in output and "payday" in output
    reasons = dict.fromkeys(ITEMS, "seen on the telephone")
    waived = company.play("preflight.yml", "-e", "release=v1.2.0", ok=False, waive=reasons, **broken)
    assert set(lines(waived).values()) == {"waived"}
    # What a deployment cannot do without is not waived away.
    assert "the secret t/none cannot be read" in waived and "services cannot be seen" in waived
