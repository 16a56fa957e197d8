"""The sample company's services on a Compose project of these tests' own, asked from outside."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request

import pytest

from sandbox.box import Box, await_ready, run
from sandbox.seed import FIRST, source
from sandbox.seed.compose import Compose
from sandbox.seed.images import SERVICES
from sandbox.traffic import Traffic
from tests.images import tiny

PROJECT = "t_company"


def ask(url, host="", body=None):
    """Status, headers and text of an answer."""
    data = None if body is None else json.dumps(body).encode()
    asking = urllib.request.Request(url, data, {"Host": host} if host else {})
    try:
        with urllib.request.urlopen(asking, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


@pytest.fixture(scope="module")
def place(sandbox, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    box = Box()
    found = Compose(box, PROJECT, tmp_path_factory.mktemp("compose") / "company", address)
    found.end()
    try:
        found.start(source.export(box, FIRST), FIRST)
        yield found
    finally:
        found.end()


@pytest.fixture
def user(place):
    """Asks a service as a user does."""
    return lambda service, path, body=None: ask(f"http://{place.address}{path}", f"{service}.eazepay.test", body)


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_answers_by_the_proxy(user, service):
    status, headers, text = user(service, "/actuator/health" if service == "transaction" else "/health")
    assert (status, json.loads(text)["status"], headers["X-Service-Version"]) == (200, "UP", FIRST)
    assert json.loads(user(service, "/version")[2]) == {"service": f"{service}-service", "version": FIRST}
    assert json.loads(user(service, "/ready")[2]) == {"database": "UP"}
    metrics = user(service, "/metrics")[2]
    for name in ("http_requests_total", "http_request_duration_seconds_bucket", "process_resident_memory_bytes"):
        assert f'{name}{{service="{service}-service",version="{FIRST}"' in metrics


def test_an_unknown_host_is_refused(user):
    assert user("nobody", "/health")[0] == 404


def test_users_register(user):
    status, _, text = user("identity", "/register", {"name": "Amina", "phone": "+254711111111"})
    made = json.loads(text)
    assert status == 201
    assert json.loads(user("identity", f"/users/{made['id']}")[2]) == made
    assert user("identity", "/register", {"name": "Amina"})[0] == 422


def test_deposits_add_up(user):
    wallet = json.loads(user("wallet", "/wallets", {"owner": "Amina"})[2])
    assert wallet["balance"] == 0
    for amount in (100, 250):
        assert user("wallet", f"/wallets/{wallet['id']}/deposit", {"amount": amount})[0] == 200
    assert json.loads(user("wallet", f"/wallets/{wallet['id']}")[2])["balance"] == 350
    assert user("wallet", f"/wallets/{wallet['id']}/deposit", {"amount": -1})[0] == 422


def test_transactions_are_booked(user):
    status, _, text = user("transaction", "/transactions", {"sender": "Amina", "receiver": "Juma", "amount": 500})
    assert status == 201
    found = json.loads(user("transaction", f"/transactions/{json.loads(text)['id']}")[2])
    assert (found["sender"], found["amount"], found["state"]) == ("Amina", 500, "booked")


def test_the_traffic_generator_finds_no_fault(place):
    with Traffic(f"http://{place.address}", rate=100) as traffic:
        traffic.await_sent(48)
    assert traffic.result.summary()["first_failures"] == []
    assert set(traffic.result.versions) == set(SERVICES)


def test_maintenance_is_a_file(place, user):
    switch = place.maintenance / "on"
    switch.touch()
    try:
        status, headers, text = user("wallet", "/wallets/1")
        assert (status, headers["Retry-After"]) == (503, "120")
        assert "maintained" in text
    finally:
        switch.unlink()
    assert user("wallet", "/wallets/1")[0] == 200


def test_a_container_is_replaced_without_losing_a_request(place):
    service = "identity-service"
    label = f"label=com.docker.compose.project={PROJECT}"
    [old] = run(
        ["docker", "ps", "-q", "--filter", label, "--filter", f"label=com.docker.compose.service={service}"]
    ).stdout.split()
    with Traffic(f"http://{place.address}", ["identity.eazepay.test"], rate=50) as traffic:
        traffic.await_sent(20)
        place.compose("up", "-d", "--no-recreate", "--no-deps", "--wait", "--scale", f"{service}=2", service)
        traffic.await_sent(100)
        run(["docker", "stop", "--time", "30", old])
        assert run(["docker", "inspect", "--format", "{{.State.ExitCode}}", old]).stdout.strip() == "0"
        traffic.await_sent(100)
        run(["docker", "rm", old])
    assert traffic.result.summary()["first_failures"] == []


@pytest.fixture
def alone(sandbox, place):
    """Starts one container outside the project; gives its name and the address of its port."""
    names: list[str] = []

    def start(service, **environment):
        name = f"{PROJECT}_{service}_{len(names)}"
        run(["docker", "rm", "--force", name], check=False)
        names.append(name)
        values = {
            "PGHOST": "/var/run/postgresql",
            "PGPORT": sandbox["PGPORT"],
            "PGUSER": service,
            "PGPASSWORD": sandbox["PGPASSWORD"],
            **environment,
        }
        words = [word for key in values for word in ("-e", key)]
        volume = f"{sandbox['PG_SOCKET_DIR']}:/var/run/postgresql"
        image = f"{sandbox['REGISTRY']}/eazepay/{service}-service:{FIRST}"
        argv = ["docker", "run", "-d", "--name", name, "-p", "127.0.0.1::8080", "-v", volume, *words, image]
        run(argv, env={**os.environ, **values})
        port = run(["docker", "port", name, "8080"]).stdout.split(":")[-1].strip()
        return name, f"http://127.0.0.1:{port}"

    yield start
    for name in names:
        run(["docker", "rm", "--force", "--volumes", name], check=False)


def answers(url, status):
    return lambda: ask(url)[0] == status


def test_a_database_that_is_gone_costs_requests_but_not_the_service(alone):
    _, url = alone("wallet", PGPORT="1")
    await_ready(answers(f"{url}/health", 200), 60, "wallet")
    assert ask(f"{url}/wallets/1")[0] == 503
    assert ask(f"{url}/ready")[0] == 503
    assert ask(f"{url}/health")[0] == 200


def test_the_fault_errors_is_seen_by_users_only(alone):
    _, url = alone("transaction", FAULT="errors", FAULT_PERCENT="10")
    await_ready(answers(f"{url}/actuator/health", 200), 60, "transaction")
    assert sorted(ask(f"{url}/")[0] for _ in range(30)) == [200] * 27 + [500] * 3
    assert ask(f"{url}/version")[0] == 200


def test_what_still_holds_a_network_is_waited_for(place, tmp_path):
    """As when a killed run's last request reaches the engine after the project's containers were removed."""
    other = Compose(place.box, f"{PROJECT}_held", tmp_path)
    network = f"{other.project}_n"
    run(["docker", "network", "create", "--label", f"com.docker.compose.project={other.project}", network])
    image = tiny(place.box.read_env()["REGISTRY"], "v1")
    holder = run(["docker", "run", "-d", "--rm", "--network", network, image, "/bin/sleep", "3"]).stdout.strip()
    try:
        assert other.remove()
        other.end()
        assert network not in run(["docker", "network", "ls", "--format", "{{.Name}}"]).stdout.split()
    finally:
        run(["docker", "rm", "--force", holder], check=False)
        run(["docker", "network", "rm", network], check=False)


def test_the_fault_crash_ends_the_container_with_1(sandbox, place):
    image = f"{sandbox['REGISTRY']}/eazepay/ussd-service:{FIRST}"
    ended = run(["docker", "run", "--rm", "-e", "FAULT=crash", image], check=False)
    assert ended.returncode == 1
    assert "LEDGER_URL" in ended.stdout
