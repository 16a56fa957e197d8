"""AWX's rules on where things lie, and that what AWX is told exists."""

import re
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
import yaml
from dateutil.rrule import rrulestr

ROOT = Path(__file__).parents[2]
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())
# What AWX lists as a playbook, and where it never looks (awx/main/utils/ansible.py).
VALID = re.compile(r"^\s*?-?\s*?(?:hosts|(ansible\.builtin\.)?import_playbook|include):\s*?.*?$", re.M)
SKIPPED = {"roles", "tasks", "group_vars", "host_vars"}


class Loader(yaml.SafeLoader):
    """Knows Ansible's own tag."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load(path):
    return yaml.load(path.read_text(), Loader)


def awx_lists(path):
    return not SKIPPED & set(path.relative_to(ROOT).parts) and VALID.search(path.read_text())


def test_awx_lists_the_playbooks_and_nothing_else_of_that_folder():
    listed = {path.name for path in (ROOT / "playbooks").rglob("*.yml") if awx_lists(path)}
    assert listed == {path.name for path in (ROOT / "playbooks").glob("*.yml")}


@pytest.mark.parametrize("name", INVENTORIES)
def test_awx_lists_the_inventories(name):
    file = ROOT / "inventories" / name / "hosts"
    assert file.is_file() and "[control]" in file.read_text(), (
        "a name without an extension, sections in its first lines"
    )


def test_a_project_sync_has_nothing_to_fetch():
    """Everything is in the execution environment: a file where AWX looks would make each sync ask Galaxy."""
    for folder in ("", "collections", "roles"):
        assert not (ROOT / folder / "requirements.yml").exists()


def test_templates_name_playbooks_that_exist_and_ask_nothing_twice():
    said = load(ROOT / "playbooks" / "vars" / "awx.yml")
    for kind in said["awx_kinds"]:
        assert (ROOT / "playbooks" / f"{kind['playbook']}.yml").is_file()
        assert {*kind["survey"], *kind.get("free", ())} <= set(said["awx_ask"])
    assert all(name == question["variable"] for name, question in said["awx_ask"].items())
    names = [kind["name"] for kind in said["awx_kinds"]]
    assert len(names) == len(set(names))


def test_each_window_is_announced_as_long_before_as_it_says():
    """dateutil reads recurrence rules as AWX does."""
    said = load(ROOT / "inventories" / "catalogue.yml")
    for window in said["eazepay_awx"]["windows"]:
        begins, told = (
            list(islice(rrulestr(rule.replace(" ", "\n")), 24))
            for rule in (window["rrule"], window["announce"]["rrule"])
        )
        assert [one - other for one, other in zip(begins, told)] == [timedelta(hours=window["announce"]["hours"])] * 24
        assert window["announce"]["hours"] >= 48


def test_nobody_is_asked_for_a_secret():
    asked = load(ROOT / "playbooks" / "vars" / "awx.yml")["awx_ask"].values()
    assert not [one for one in asked if one["type"] == "password"]


def test_the_rulebook_starts_a_template_that_exists():
    (rules,) = load(ROOT / "extensions" / "eda" / "rulebooks" / "rollback_on_alert.yml")
    (rule,) = rules["rules"]
    started = rule["action"]["run_job_template"]
    kinds = [kind["name"] for kind in load(ROOT / "playbooks" / "vars" / "awx.yml")["awx_kinds"]]
    assert started["name"].split(" {{")[0] in kinds
    assert started["organization"] == load(ROOT / "inventories" / "catalogue.yml")["eazepay_awx"]["organization"]
    (rollback,) = [
        kind for kind in load(ROOT / "playbooks" / "vars" / "awx.yml")["awx_kinds"] if kind["name"] == "roll back"
    ]
    asked = load(ROOT / "playbooks" / "vars" / "awx.yml")["awx_ask"]
    given = started["job_args"]["extra_vars"]
    assert {one for one in rollback["survey"] if asked[one]["required"]} <= set(given), "AWX asks programs for these"
    assert all(value in asked[name]["choices"] for name, value in given.items())
    assert rule["throttle"]["once_within"], "a second alert must not roll back what the first one put in place"
