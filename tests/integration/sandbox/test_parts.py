"""Each part answers from outside, as .sandbox/env says, and on loopback only."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from email.message import EmailMessage
from pathlib import Path

import psycopg2
import pytest

ROOT = Path(__file__).parents[3]
PARTS = ("engine", "registry", "postgres", "aws", "edge", "prometheus", "mail", "slack")


def get(url: str, method: str = "GET", data: object = None):
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def program(*words: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "sandbox", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def pids() -> dict[str, int]:
    files = (ROOT / ".sandbox" / "run").glob("*.json")
    return {file.stem: json.loads(file.read_text())["pid"] for file in files}


def test_status_says_that_each_part_is_up(sandbox):
    done = program("status", *PARTS)
    lines = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert lines == dict.fromkeys(PARTS, "up"), done.stdout
    assert done.returncode == 0


def test_up_again_starts_nothing(sandbox):
    before = pids()
    done = program("up", *PARTS)
    assert done.returncode == 0, done.stderr
    assert "starting" not in done.stdout and "installing" not in done.stdout
    assert {name: pids().get(name) for name in before} == before


def test_an_unknown_part_is_refused():
    done = program("up", "mainframe")
    assert done.returncode == 2 and "no such part: mainframe" in done.stderr


def test_the_engine_builds_composes_and_keeps_labels(sandbox):
    asked = ["docker", "info", "--format", "{{json .}}"]
    info = json.loads(subprocess.run(asked, capture_output=True, check=True, text=True).stdout)
    assert info["ServerVersion"]
    for plugin in ("compose", "buildx"):
        assert subprocess.run(["docker", plugin, "version"], capture_output=True, check=False).returncode == 0


def test_an_image_goes_to_the_registry_and_comes_back(sandbox, tmp_path):
    name = f"{sandbox['REGISTRY']}/t_sandbox/{uuid.uuid4().hex[:8]}:1"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    try:
        for argv in (
            ["docker", "build", "-q", "-t", name, str(tmp_path)],
            ["docker", "push", "-q", name],
            ["docker", "rmi", name],
            ["docker", "pull", "-q", name],
        ):
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)


def test_a_container_that_asks_for_a_negative_oom_score_starts(sandbox):
    """As the kubelet asks for each pod. The image holds one static program."""
    name = f"t_sandbox_{uuid.uuid4().hex[:8]}"
    image = f"{name}:1"
    dockerfile = 'FROM scratch\nCOPY busybox /busybox\nENTRYPOINT ["/busybox", "cat", "/proc/self/oom_score_adj"]\n'
    folder = ROOT / ".sandbox" / name
    folder.mkdir()
    try:
        (folder / "Dockerfile").write_text(dockerfile)
        (folder / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (folder / "busybox").chmod(0o755)
        subprocess.run(["docker", "build", "-q", "-t", image, str(folder)], check=True, capture_output=True)
        argv = ["docker", "run", "--rm", "--network", "none", "--oom-score-adj", "-900", image]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.mark.parametrize("where", ["loopback", "socket"])
def test_postgresql_has_the_databases_and_no_superuser_for_eazepay(sandbox, where):
    host = sandbox["PGHOST"] if where == "loopback" else sandbox["PG_SOCKET_DIR"]
    login = {"host": host, "port": sandbox["PGPORT"], "user": sandbox["PGUSER"], "password": sandbox["PGPASSWORD"]}
    connection = psycopg2.connect(dbname="postgres", connect_timeout=30, **login)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = 'eazepay'")
            names = {row[0] for row in cursor}
            assert {"identity", "biometric", "transaction", "wallet", "agent", "ussd"} <= names
            cursor.execute("SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == (False, True, True)
            cursor.execute("SELECT count(*) FROM pg_stat_statements")
            assert cursor.fetchone()[0] > 0
            cursor.execute("SHOW server_version_num")
            assert cursor.fetchone()[0].startswith("15")
            cursor.execute("SHOW max_connections")
            assert cursor.fetchone()[0] == "200"
    finally:
        connection.close()


def test_postgresql_wants_the_password(sandbox):
    for host in (sandbox["PGHOST"], sandbox["PG_SOCKET_DIR"]):
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(dbname="postgres", host=host, port=sandbox["PGPORT"], user="eazepay", password="wrong")


def test_prometheus_scrapes_what_a_file_names(sandbox):
    name = f"t_sandbox_{uuid.uuid4().hex[:8]}"
    file = ROOT / ".sandbox" / "prometheus" / "targets" / f"{name}.json"
    address = sandbox["PROMETHEUS_URL"].removeprefix("http://")
    try:
        file.write_text(json.dumps([{"targets": [address], "labels": {"test": name}}]))
        deadline = time.monotonic() + 90
        found: list = []
        while time.monotonic() < deadline and not found:
            found = get(f"{sandbox['PROMETHEUS_URL']}/api/v1/query?query=up%7Btest%3D%22{name}%22%7D")["data"]["result"]
            time.sleep(0.5)
        assert [one["value"][1] for one in found] == ["1"]
    finally:
        file.unlink(missing_ok=True)


def test_alertmanager_answers(sandbox):
    assert get(f"{sandbox['ALERTMANAGER_URL']}/api/v2/status")["versionInfo"]["version"]


def test_mail_is_received_and_forgotten(sandbox):
    to = f"{uuid.uuid4().hex[:8]}@eazepay.test"
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ops@eazepay.test", to, "Grüße"
    mail.set_content("hello\n")
    with smtplib.SMTP(sandbox["SMTP_HOST"], int(sandbox["SMTP_PORT"]), timeout=30) as server:
        server.send_message(mail)
    [found] = get(f"{sandbox['MAIL_URL']}/?to={to}")
    assert (found["from"], found["to"], found["subject"]) == ("ops@eazepay.test", [to], "Grüße")
    assert found["text"].strip() == "hello"
    get(f"{sandbox['MAIL_URL']}/?to={to}", "DELETE")
    assert get(f"{sandbox['MAIL_URL']}/?to={to}") == []


def post(url: str, message: object) -> tuple[int, bytes, dict]:
    request = urllib.request.Request(url, json.dumps(message).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_slack_records_and_misbehaves_when_told_to(sandbox):
    base = sandbox["SLACK_SINK_URL"]
    path = f"/services/T0/B0/{uuid.uuid4().hex}"
    assert post(base + path, {"text": "one"})[:2] == (200, b"ok")
    get(f"{base}/behaviour", "POST", {"path": path, "mode": "rate_limited", "times": 1, "retry_after": 7})
    status, _body, headers = post(base + path, {"text": "two"})
    assert (status, headers["Retry-After"]) == (429, "7")
    get(f"{base}/behaviour", "POST", {"path": path, "mode": "error", "times": 1})
    assert post(base + path, {"text": "three"})[0] == 500
    get(f"{base}/behaviour", "POST", {"path": path, "mode": "not_ok", "times": 1})
    status, body, _headers = post(base + path, {"text": "four"})
    assert status == 200 and json.loads(body)["ok"] is False
    assert post(base + path, {"text": "five"})[0] == 200
    recorded = get(f"{base}/messages?path={path}")
    assert [(one["message"]["text"], one["accepted"]) for one in recorded] == [
        ("one", True),
        ("two", False),
        ("three", False),
        ("four", False),
        ("five", True),
    ]
    get(f"{base}/messages?path={path}", "DELETE")
    assert get(f"{base}/messages?path={path}") == []


def test_the_slack_web_api_gives_what_editing_needs(sandbox):
    answer = post(f"{sandbox['SLACK_SINK_URL']}/api/chat.postMessage", {"channel": "C1", "text": "x"})
    found = json.loads(answer[1])
    assert found["ok"] and found["channel"] == "C1" and float(found["ts"])


def listening(pid: int) -> set[str]:
    """The local addresses (hexadecimal, as in /proc) that a process listens on."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(link))
        except OSError:
            continue
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def test_every_server_listens_on_loopback_only(sandbox):
    names = [name for name in pids() if name in {*PARTS, "alertmanager"}]
    assert names
    for name in names:
        assert listening(pids()[name]) <= {"0100007F"}, name
