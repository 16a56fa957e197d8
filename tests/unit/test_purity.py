"""Decisions are pure: their files import no client, no clock, no process."""

import ast
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[2] / "plugins" / "module_utils"
PURE = {
    "cause", "checklist", "claims", "images", "job", "judge", "lease", "order", "paths", "plan", "retention", "rules",
    "verdict",
}  # fmt: skip
IMPURE = {
    "boto3",
    "botocore",
    "kubernetes",
    "docker",
    "psycopg2",
    "requests",
    "urllib",
    "http",
    "socket",
    "subprocess",
    "time",
    "os",
    "threading",
    "asyncio",
}
FILES = sorted(file for file in DOMAIN.rglob("*.py") if file.stem in PURE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(DOMAIN)))
def test_decisions_import_nothing_that_acts(file):
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add((node.module or "").split(".")[0])
    # Taking an address apart is no act.
    source = file.read_text()
    if "urllib.request" not in source:
        imported.discard("urllib")
    assert not imported & IMPURE
