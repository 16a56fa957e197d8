"""The image for AWX: ansible-builder takes its description, and it holds what is tested here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import ROOT

DESCRIPTION = ROOT / "execution-environment.yml"


def run(program: str, *argv: str, cwd: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *argv],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ansible_builder_makes_a_context_of_it(tmp_path):
    artifacts = tmp_path / "build" / "artifact"
    run("ansible-galaxy", "collection", "build", "--output-path", str(artifacts), cwd=ROOT)
    shutil.copy(DESCRIPTION, tmp_path)
    run("ansible-builder", "create", "--file", DESCRIPTION.name, "--context", "context", cwd=tmp_path)
    recipe = (tmp_path / "context" / "Dockerfile").read_text()
    assert (tmp_path / "context" / "_build" / "artifact").is_dir(), "the collection is in the context"
    assert recipe.index("postgresql-client-15") < recipe.index("collection install")


def test_it_holds_the_versions_that_are_tested():
    said = yaml.safe_load(DESCRIPTION.read_text())
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), re.M))
    for key, name in (("ansible_core", "ansible"), ("ansible_runner", "ansible-runner")):
        assert said["dependencies"][key]["package_pip"] == f"{name}=={locked[name]}"
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert f"eazepay-ops-{version}.tar.gz" in DESCRIPTION.read_text()
    assert set(said["dependencies"]["galaxy"]) == {"collections"}
