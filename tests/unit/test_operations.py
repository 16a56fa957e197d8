"""What the pages tell people to type exists, and what they say that is shown is shown."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = " ".join(
    file.read_text()
    for folder in ("playbooks", "plugins", "roles")
    for file in sorted((ROOT / folder).rglob("*"))
    if file.suffix in (".py", ".yml", ".j2")
)
WORDS = " ".join(CODE.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_to_be_typed_exists(page):
    text = page.read_text().replace("\\\n", " ")
    for name, more in re.findall(r"ansible-playbook (?:playbooks/|eazepay\.ops\.)?([a-z]+)(?:\.yml)?\b(.*)", text):
        assert (ROOT / "playbooks" / f"{name}.yml").is_file(), name
        for variable in re.findall(r"-e (\w+)=|\"(\w+)\":", more):
            assert re.search(rf"\b{''.join(variable)}\b", CODE), f"{name}: nothing reads {variable}"


def test_what_an_operator_is_said_to_see_is_what_the_code_says():
    page = re.sub(r"```.*?```", "", (ROOT / "docs" / "operations.md").read_text(), flags=re.S)
    for quoted in re.findall(r"`([^`]+)`", " ".join(page.split())):
        for part in quoted.split("..."):
            assert len(part) < 6 or part.strip(" ;,") in WORDS, quoted
