"""TypeORM in a one-off container of the release's image, beside a Compose service whose environment it gets."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.images import typeorm
from tests.modules import finish_module, start_module

SERVICE = Path(__file__).parents[3] / "sandbox/company/services/identity-service"
TYPEORM = ["node", "../node_modules/typeorm/cli.js"]
FIRST, SECOND = "CreateUsers1735689600000", "IndexPhones1738368000000"


@pytest.fixture
def project(sandbox, tmp_path, pg):
    """A Compose service of another image that knows where the database is, and an empty database."""
    database = f"m_compose_{uuid.uuid4().hex[:8]}"
    pg.run(f"CREATE DATABASE {database}")
    compose = {
        "name": f"t{uuid.uuid4().hex[:8]}",
        "services": {
            "identity": {
                "image": "no/such/image:present",
                "restart": "always",
                "environment": {
                    "PGHOST": "/pg",
                    "PGPORT": "${T_PORT}",
                    "PGUSER": "super",
                    "PGPASSWORD": pg.login["login_password"],
                },
                "volumes": [f"{pg.folder}:/pg"],
                "depends_on": {"other": {"condition": "service_started"}},
            },
            "other": {"image": "no/such/image:present"},
        },
    }
    (tmp_path / "compose.yaml").write_text(json.dumps(compose))
    (tmp_path / ".env").write_text(f"T_PORT={pg.port}\n")
    yield {"project_src": str(tmp_path), "project_name": compose["name"], "database": database}
    subprocess.run(["docker", "network", "rm", f"{compose['name']}_default"], check=False, capture_output=True)
    pg.run(f"DROP DATABASE {database} WITH (FORCE)")


def migrate(sandbox, pg, project, **arguments):
    return finish_module(start(sandbox, pg, project, **arguments))


def start(sandbox, pg, project, **arguments):
    service = {
        "name": "identity", "database": project["database"], "runner": "compose", "image": typeorm(sandbox, SERVICE),
        "commands": {
            name: [*TYPEORM, f"migration:{name}", "-d", "data-source.js"] for name in ("run", "show", "revert")
        },
        **arguments.pop("service", {}),
    }  # fmt: skip
    compose = {key: project[key] for key in ("project_src", "project_name")}
    return start_module("db_migration", services=[service], compose=compose, **{**pg.login, **arguments})


def containers(project):
    argv = ["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={project['project_name']}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()


def test_there_and_back_in_containers_that_are_gone_afterwards(sandbox, pg, project):
    planned = migrate(sandbox, pg, project, check=True)
    assert planned["changed"] and not planned["services"][0]["pending_known"], planned
    result = migrate(sandbox, pg, project)
    assert not result["failed"], result["msg"]
    assert result["services"][0]["applied"] == [FIRST, SECOND]
    assert not migrate(sandbox, pg, project)["changed"]
    reverted = migrate(sandbox, pg, project, state="reverted", point={"identity": [FIRST]})
    assert reverted["services"][0]["reverted"] == [SECOND], reverted
    assert not containers(project)


def test_a_command_that_takes_too_long_is_ended_with_its_container(sandbox, pg, project):
    slow = {"commands": {"run": ["sleep", "600"], "show": ["echo", f" [ ] {FIRST}"], "revert": ["true"]}}
    result = migrate(sandbox, pg, project, service=slow, timeout=5)
    assert result["failed"] and "did not end within 5 s" in result["msg"], result
    assert not containers(project)


def test_a_service_that_the_project_does_not_have_is_refused(sandbox, pg, project):
    result = migrate(sandbox, pg, project, service={"workload": "nobody"})
    assert result["failed"] and "no service 'nobody'" in result["msg"] and "workload" in result["msg"]


def test_a_container_that_outlives_its_run_is_not_joined_by_another(sandbox, pg, project):
    slow = {"commands": {"run": ["sleep", "600"], "show": ["echo", f" [ ] {FIRST}"], "revert": ["true"]}}
    first = start(sandbox, pg, project, service=slow)
    while not sleeping(project):
        assert first.poll() is None, first.communicate()
    first.kill()
    first.wait()
    second = migrate(sandbox, pg, project)
    assert second["failed"] and "another migration is under way: container" in second["msg"], second
    subprocess.run(["docker", "rm", "--force", *containers(project)], check=True, capture_output=True)
    assert migrate(sandbox, pg, project)["services"][0]["applied"] == [FIRST, SECOND]


def sleeping(project):
    """Whether the container that takes its time is at work."""
    found = [subprocess.run(["docker", "top", one], check=False, capture_output=True, text=True).stdout
             for one in containers(project)]  # fmt: skip
    return any("sleep 600" in one for one in found)
