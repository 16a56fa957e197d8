"""The collection resolves: from a plain checkout, from any folder, and from the artifact that Galaxy would hold."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BIN = ROOT / ".venv" / "bin"
PLAYBOOKS = sorted(file.stem for file in (ROOT / "playbooks").glob("*.yml"))
ENVIRONMENTS = ("local", "staging", "production")


def run(*argv, cwd, **env):
    done = subprocess.run(
        [str(BIN / argv[0]), *map(str, argv[1:])],
        check=False,
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_cards_literal_command_lists_the_runbooks_steps(environment):
    listed = run(
        *("ansible-playbook", "deploy.yml", "-i", environment, "--list-tasks", "-e", "release=v1.1.0"),
        cwd=ROOT / "playbooks",
    )
    steps = [listed.index(step) for step in ("Step 1", "Step 2: backup", "Step 3", "Step 4 or 5", "Frontend", "Step 6")]
    assert steps == sorted(steps)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_playbook_is_well_formed_in_every_environment(environment):
    files = [ROOT / "playbooks" / f"{name}.yml" for name in PLAYBOOKS]
    run("ansible-playbook", "--syntax-check", "-i", ROOT / "inventories" / environment, *files, cwd=ROOT)


def test_full_names_resolve_from_any_folder(tmp_path):
    (tmp_path / "hosts").write_text("control ansible_connection=local\n")
    names = [f"eazepay.ops.{name}" for name in PLAYBOOKS]
    run("ansible-playbook", "--syntax-check", "-i", "hosts", *names, cwd=tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The built artifact, installed offline beside nothing else of ours."""
    folder = tmp_path_factory.mktemp("artifact")
    tree = folder / "tree"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True)
    present = [name for name in names.stdout.decode().split("\0") if name and os.path.lexists(ROOT / name)]
    for name in present:
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to(os.readlink(ROOT / name))
        else:
            target.write_bytes((ROOT / name).read_bytes())
    run("ansible-galaxy", "collection", "build", "--output-path", folder, cwd=tree)
    (artifact,) = folder.glob("eazepay-ops-*.tar.gz")
    target = folder / "collections"
    run("ansible-galaxy", "collection", "install", artifact, "-p", target, "--offline", "--force", cwd=folder)
    return artifact, target


def test_the_artifact_serves_modules_roles_and_playbooks(installed, tmp_path):
    _artifact, target = installed
    env = {"ANSIBLE_COLLECTIONS_PATH": str(target)}
    found = json.loads(run("ansible-doc", "--json", "eazepay.ops.service_rollout", cwd=tmp_path, **env))
    assert found["eazepay.ops.service_rollout"]["doc"]["filename"].startswith(str(target))
    assert "eazepay.ops.rollout" in run("ansible-doc", "-t", "role", "-l", "eazepay.ops", cwd=tmp_path, **env)
    (tmp_path / "hosts").write_text("control ansible_connection=local\n")
    names = [f"eazepay.ops.{name}" for name in PLAYBOOKS]
    run("ansible-playbook", "--syntax-check", "-i", "hosts", *names, cwd=tmp_path, **env)


def test_the_artifact_holds_what_galaxy_expects_and_no_more(installed):
    artifact, _target = installed
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
        dangling = [one.name for one in archive if one.issym() and not inside(one, names)]
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"sandbox", "inventories", "tools", ".sandbox", ".venv", "build", "requirements", ".git", ".ci"}
    assert not [name for name in names if name.startswith("tests/") and "/sanity" not in name]
    assert not dangling


def inside(link, names):
    return os.path.normpath(os.path.join(os.path.dirname(link.name), link.linkname)) in names
