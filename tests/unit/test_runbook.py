"""docs/runbook.md names what there is: every playbook and every test."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| runbook")
]
# The runbook's own headings and checklist.
SECTIONS = (
    "Pre-Deployment Checklist",
    "1. Pre-Deployment",
    "2. Database Migration",
    "3. Build Docker Images",
    "4. Kubernetes Deployment, 5. Docker Compose Deployment",
    "6. Post-Deployment Verification",
    "Rollback Procedures",
    "Service-Specific Deployment",
    "Monitoring During Deployment",
    "Troubleshooting",
    "Maintenance Windows",
    "Communication",
)


def test_every_section_is_there():
    assert tuple(re.findall(r"^## (.+)$", PAGE, re.M)) == SECTIONS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_line_names_exists(row):
    assert len(row) == 3, row
    _line, command, test = row
    for playbook in re.findall(r"([a-z]+\.yml)", command):
        assert (ROOT / "playbooks" / playbook).is_file(), playbook
    file, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.M), test
