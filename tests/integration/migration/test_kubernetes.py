"""TypeORM as a Job of the release's image on a real cluster, with the environment of a workload that has no pods."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import DEPLOYMENTS, SECRETS, Api, Resource

from tests.images import typeorm
from tests.modules import finish_module, start_module

pytestmark = pytest.mark.kubernetes

SERVICE = Path(__file__).parents[3] / "sandbox/company/services/identity-service"
TYPEORM = ["node", "../node_modules/typeorm/cli.js"]
FIRST, SECOND = "CreateUsers1735689600000", "IndexPhones1738368000000"
NAMESPACES = Resource("/api/v1", "namespaces", "Namespace")
JOBS = Resource("/apis/batch/v1", "jobs", "Job")
CANARY = "a-tokens-canary-value"


class Place:
    """A namespace with a workload, and an empty database that its pods reach."""

    def __init__(self, sandbox, pg) -> None:
        self.pg = pg
        self.name = f"t-migration-{uuid.uuid4().hex[:8]}"
        self.database = self.name.replace("-", "_")
        self.kubeconfig = sandbox["KUBECONFIG"]
        self.api = Api(self.kubeconfig, None, self.name)
        self.image = typeorm(sandbox, SERVICE)
        pg.run(f"CREATE DATABASE {self.database}")
        self.api.json("POST", "/api/v1/namespaces", body={"metadata": {"name": self.name}})
        secret = {"metadata": {"name": "db"}, "stringData": {"password": pg.login["login_password"]}}
        self.api.json("POST", SECRETS.url(self.name), body=secret)
        settings = {"metadata": {"name": "settings"}, "data": {"PGHOST": "/pg", "PGPORT": str(pg.port)}}
        self.api.json("POST", f"/api/v1/namespaces/{self.name}/configmaps", body=settings)
        container = {
            "name": "identity-service",
            "image": "no/such/image:present",
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "PGUSER", "value": "super"},
                {"name": "PGDATABASE", "value": "postgres"},
                {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            ],
            "volumeMounts": [{"name": "pg", "mountPath": "/pg"}],
            "readinessProbe": {"exec": {"command": ["false"]}},
        }
        spec = {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "identity"}},
            "template": {
                "metadata": {"labels": {"app": "identity"}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [container, {"name": "sidecar", "image": "no/such/image:present"}],
                    "volumes": [{"name": "pg", "hostPath": {"path": pg.folder}}],
                },
            },
        }
        self.api.json("POST", DEPLOYMENTS.url(self.name), body={"metadata": {"name": "identity-service"}, "spec": spec})

    def remove(self) -> None:
        self.api.json("DELETE", f"/api/v1/namespaces/{self.name}")
        self.pg.run(f"DROP DATABASE {self.database} WITH (FORCE)")

    def migrate(self, start=False, **arguments):
        words = {name: [*TYPEORM, f"migration:{name}", "-d", "data-source.js"] for name in ("run", "show", "revert")}
        service = {
            "name": "identity", "database": self.database, "runner": "kubernetes", "workload": "identity-service",
            "image": self.image, "secret_environment": {"API_TOKEN": CANARY},
            **arguments.pop("service", {}),
        }  # fmt: skip
        service["commands"] = {**words, **service.get("commands", {})}
        given = {**self.pg.login, "kubeconfig": self.kubeconfig, "namespace": self.name, **arguments}
        process = start_module("db_migration", services=[service], **given)
        return process if start else finish_module(process)

    def jobs(self):
        return [one["metadata"]["name"] for one in self.api.list(JOBS)[0]]

    def secrets(self):
        found = [one["metadata"]["name"] for one in self.api.list(SECRETS)[0]]
        return [name for name in found if "migration" in name]

    def rows(self):
        return [name for (name,) in self.pg.run("SELECT name FROM migrations ORDER BY id", self.database)]

    def logs(self, job):
        argv = ["kubectl", f"--kubeconfig={self.kubeconfig}", "-n", self.name, "logs", f"job/{job}"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(sandbox):
    from tests.postgres import server

    found = Place(sandbox, server(15))
    yield found
    found.remove()


@pytest.fixture(autouse=True)
def clean(place):
    yield
    for name in place.jobs():
        place.api.json("DELETE", JOBS.url(place.name, name), {"propagationPolicy": "Background"})


def test_there_and_back_in_jobs_that_are_gone_afterwards(place):
    result = place.migrate()
    assert not result["failed"], result["msg"]
    assert result["services"][0]["applied"] == [FIRST, SECOND] == place.rows()
    assert "executed successfully" in result["services"][0]["output"]
    assert not place.migrate()["changed"]
    reverted = place.migrate(state="reverted", point={"identity": [FIRST]})
    assert reverted["services"][0]["reverted"] == [SECOND], reverted
    assert not place.jobs() and not place.secrets()


def test_a_job_that_fails_is_kept_and_named_and_holds_no_secret(place):
    run = ["sh", "-c", "echo error: no $API_TOKEN; exit 3"]
    environment = {"PGHOST": "/pg"}
    result = place.migrate(service={"commands": {"run": run}, "pass_login": True, "environment": environment})
    assert result["failed"] and "ended with 3: error: no ********" in result["msg"], result["msg"]
    (job,) = place.jobs()
    assert f"Job {job} is kept in namespace {place.name}" in result["msg"]
    assert f"no {CANARY}" in place.logs(job)  # the tool's own words are where the tool ran, and nowhere else
    text = place.api.text("GET", JOBS.url(place.name, job))
    assert CANARY not in text and "rd-canary" not in text and CANARY not in str(result)
    assert not place.secrets()


def test_an_image_that_is_not_there_fails_at_once_and_never_begins(place, sandbox):
    missing = f"{sandbox['REGISTRY']}/t/typeorm:missing"
    result = place.migrate(service={"image": missing})
    assert result["failed"] and "cannot be pulled" in result["msg"] and missing in result["msg"], result["msg"]
    (job,) = place.jobs()
    spec = place.api.get(JOBS, job)["spec"]
    assert spec["activeDeadlineSeconds"] == 1 and f"Job {job} is kept" in result["msg"]


def test_a_command_that_takes_too_long_is_ended(place):
    result = place.migrate(service={"commands": {"show": ["sleep", "600"]}}, timeout=8)
    assert result["failed"] and "did not end within 8 s" in result["msg"], result["msg"]
    assert "Job" in result["msg"] and "kept" in result["msg"]


def test_a_workload_or_container_that_is_not_there_is_refused(place):
    nobody = place.migrate(service={"workload": "nobody"})
    assert nobody["failed"] and "nobody" in nobody["msg"] and "Nothing was touched" in nobody["msg"]
    other = place.migrate(service={"container": "other"})
    assert other["failed"] and "'container'" in other["msg"] and not place.jobs()


def test_a_job_that_outlives_its_run_is_not_joined_by_another(place):
    words = {"run": ["sleep", "600"], "show": ["sh", "-c", f"echo ' [ ] {FIRST}'; echo ' [ ] {SECOND}'"]}
    first = place.migrate(start=True, service={"commands": words})
    while not any(" run" in name for name in working(place)):
        assert first.poll() is None, first.communicate()
    first.kill()
    first.wait()
    second = place.migrate(service={"commands": words})
    assert second["failed"] and "another migration is under way: Job identity-migration-" in second["msg"], second
    assert f"in namespace {place.name}" in second["msg"]


def working(place):
    """The Jobs that have not ended, with what they run."""
    return [
        f"{one['metadata']['name']} {'run' if spec['command'] == ['sleep', '600'] else 'show'}"
        for one in place.api.list(JOBS)[0]
        for spec in one["spec"]["template"]["spec"]["containers"]
    ]
