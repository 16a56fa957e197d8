"""The playbook `diagnose` on a company of two tiny services."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.shop import shop


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with shop(tmp_path_factory.mktemp("shop"), sandbox) as made:
        yield made


def first_page(output: str) -> str:
    """What is shown when the command is typed that was printed."""
    return Path(re.search(r"less (\S+/index\.txt)", output)[1]).read_text()


def test_all_is_well_is_said_and_where_the_bundle_is(company):
    output = company.play("diagnose.yml")
    assert "Nothing wrong was found." in output, output
    assert "Nothing wrong was found" in first_page(output) and "in place: v1.1.0" in first_page(output)


def test_the_likely_cause_is_said_first(company):
    company.docker("stop", "--timeout", "1", "wallet-service")
    output = company.play("diagnose.yml", "-e", "services=wallet")
    page = first_page(output)
    assert "wallet: " in output and "Nothing wrong" not in output + page, output
    assert page.splitlines()[3] == "LIKELY CAUSE" and "wallet: " in page.splitlines()[4]
    assert "identity" not in page[page.index("Services now") :].partition("Files")[0]
