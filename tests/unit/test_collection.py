"""What holds for every module, role, playbook and inventory."""

import re
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "plugins" / "modules").glob("[a-z]*.py"))
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_modules_are_thin_and_promise_check_and_diff_mode(file):
    source = file.read_text()
    assert "supports_check_mode=True" in source
    assert "eazepay.ops.attributes" in source
    code = source.rsplit('"""', 1)[1]
    assert len(code.splitlines()) < 200, "the domain belongs in module_utils"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_roles_are_complete(role):
    for file in ("README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"):
        assert (role / file).is_file(), file
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text()) or {}
    assert set(defaults) <= set(specs)
    assert all(name.startswith(f"{role.name}_") for name in specs)
    scenario = ROOT / "extensions" / "molecule" / role.name
    for file in ("molecule.yml", "converge.yml", "verify.yml"):
        assert (scenario / file).is_file(), f"no molecule scenario: {scenario / file}"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_example_of_a_role_is_what_the_role_takes(role):
    """Every name, every choice, every option that must be given; what a template gives is not known here."""
    examples = [used for block in blocks(role / "README.md") for used in uses(yaml.safe_load(block))]
    assert role.name in [name for name, _tasks, _given in examples]
    for name, tasks, given in examples:
        assert (ROOT / "roles" / name / "tasks" / f"{tasks}.yml").is_file()
        specs = yaml.safe_load((ROOT / "roles" / name / "meta/argument_specs.yml").read_text())["argument_specs"]
        options = specs.get(tasks, specs["main"])["options"]
        assert set(given) <= set(options), name
        if tasks in specs:
            assert {key for key, option in options.items() if option.get("required")} <= set(given), name
        plain = {key: value for key, value in given.items() if "{{" not in str(value)}
        checked = ArgumentSpecValidator({key: {**options[key], "required": False} for key in plain}).validate(plain)
        assert not checked.error_messages, checked.error_messages


def blocks(page):
    return re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)


def uses(tasks):
    """The roles of an example: each with the tasks it begins with, and what it is given."""
    for task in tasks:
        if "ansible.builtin.include_role" in task:
            role = task["ansible.builtin.include_role"]
            yield role["name"].rsplit(".", 1)[-1], role.get("tasks_from", "main"), task.get("vars") or {}
        for role in task.get("roles") or ():
            yield role["role"].rsplit(".", 1)[-1], "main", {key: role[key] for key in role if key != "role"}


@pytest.mark.parametrize("file", [*ROLES, *MODULES], ids=lambda file: file.stem)
def test_modules_and_roles_know_nothing_of_eazepay(file):
    files = [file] if file.is_file() else [one for one in file.rglob("*") if one.is_file()]
    for one in files:
        text = one.read_text().replace("eazepay.ops", "").replace("@eazepay", "")
        assert "eazepay_" not in text, one


@pytest.mark.parametrize("environment", ["local", "staging", "production"])
def test_inventories_hold_no_secret(environment):
    for file in (ROOT / "inventories" / environment).rglob("*"):
        if file.is_file():
            for name, value in re.findall(r"^\s*(\w*(?:password|secret|token)\w*):\s*(.+)$", file.read_text(), re.M):
                # eazepay/<environment>/<name> is where a secret lies, not what it is; run_*_secret looks there.
                where = r'{}|eazepay/[a-z]+/[a-z]+|"\{\{ run_\w+_secret\.\w+ \}\}"'
                assert "lookup(" in value or re.fullmatch(where, value), f"{file}: {name}"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda file: file.stem)
def test_awx_finds_every_playbook(playbook):
    assert re.search(r"^\s*-?\s*(hosts|import_playbook|ansible.builtin.import_playbook):", playbook.read_text(), re.M)
