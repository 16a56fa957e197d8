"""What every test may use. Integration and end-to-end tests need the sandbox: `make sandbox-up`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.modules import run_module

ROOT = Path(__file__).parents[1]

# How long a busy machine takes says nothing of a decision.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def sandbox_env() -> dict[str, str]:
    """The sandbox's addresses, as .sandbox/env exports them."""
    file = ROOT / ".sandbox" / "env"
    if not file.exists():
        pytest.fail("the sandbox is not up: run `make sandbox-up`")
    words = [shlex.split(line) for line in file.read_text().splitlines() if line.startswith("export ")]
    return dict(word.split("=", 1) for _export, *rest in words for word in rest)


@pytest.fixture(scope="session")
def sandbox() -> dict[str, str]:
    env = sandbox_env()
    os.environ.update(env)
    return env


@pytest.fixture
def module():
    """Runs a module for real: ``module("pg_backup", state="present", ...)``."""
    return run_module


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A failure is written down when it happens: a suite of half an hour need not end before somebody looks at it."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        file = ROOT / "build" / "test" / "failures.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write(f"=== {report.nodeid} ({report.when})\n{report.longreprtext}\n")
