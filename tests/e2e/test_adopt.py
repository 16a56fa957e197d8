"""docs/adopt.md, followed word for word by a team that is not Eazepay: its files, its commands."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg2
import pytest

from tests.conftest import ROOT
from tests.deployments import get

FILE = re.compile(r"^`([^`\n]+/[^`\n]+)`\n\n```\w+\n(.*?)^```", re.M | re.S)
# The page's services, of the base image that the sandbox has.
DOCKERFILE = """\
ARG REGISTRY
FROM ${REGISTRY}/sandbox/base:1
ARG RELEASE
LABEL org.opencontainers.image.version=${RELEASE}
RUN mkdir /www && echo ok > /www/health && echo ${RELEASE} > /www/version
CMD ["busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
"""


def run(*argv: object, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        list(map(str, argv)),
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **env},
    )
    assert os.environ["PGPASSWORD"] not in done.stdout + done.stderr
    return done


def git(folder: Path, *words: object) -> None:
    who = ["-c", "user.name=Shop", "-c", "user.email=shop@example.com"]
    subprocess.run(["git", *who, *map(str, words)], cwd=folder, check=True, capture_output=True)


class Shop:
    def __init__(self, folder: Path, sandbox: dict[str, str]) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.name = f"bookshop{uuid.uuid4().hex[:8]}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # Where this machine differs from the page.
        self.here = {
            "/srv/shop": f"{folder}/srv",
            "registry.example.com": sandbox["REGISTRY"],
            "nginx:1.24": f"{sandbox['REGISTRY']}/sandbox/base:1",
            "db.example.com, port: 5432": f"{sandbox['PGHOST']}, port: {sandbox['PGPORT']}",
            "[bookshop]": f"[{self.name}]",
            "name: bookshop": f"name: {self.name}",
            "/bookshop": f"/{self.name}",
            "username: shop": f"username: {sandbox['PGUSER']}",
            "18090": str(self.port),
            "[CMD, wget": "[CMD, busybox, wget",
        }

    def files(self) -> None:
        found = FILE.findall((ROOT / "docs" / "adopt.md").read_text())
        assert len(found) == 5
        for name, text in found:
            file = self.folder / self.ours(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.ours(text))
        (self.folder / "srv" / "compose" / ".env").write_text("RELEASE=v1.0.0\n")

    def ours(self, text: str) -> str:
        for theirs, ours in self.here.items():
            text = text.replace(theirs, ours)
        return text

    def source(self) -> None:
        bare, clone = self.folder / "srv" / "source.git", self.folder / "srv" / "source"
        git(self.folder, "init", "-q", "--bare", "-b", "main", bare)
        git(self.folder, "clone", "-q", bare, clone)
        git(clone, "checkout", "-q", "-b", "main")
        for service in ("catalogue-service", "orders-service"):
            (clone / "services" / service).mkdir(parents=True)
            (clone / "services" / service / "Dockerfile").write_text(DOCKERFILE)
        git(clone, "add", ".")
        git(clone, "commit", "-q", "-m", "the shop")
        git(clone, "push", "-q", "origin", "main")

    def sql(self, statement: str) -> None:
        box = self.sandbox
        connection = psycopg2.connect(
            host=box["PGHOST"], port=box["PGPORT"], user=box["PGUSER"], password=box["PGPASSWORD"], dbname="postgres"
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def play(self, name: str, *more: str) -> subprocess.CompletedProcess:
        program = Path(sys.executable).with_name("ansible-playbook")
        return run(
            *(program, f"eazepay.ops.{name}", "-i", "shop", *more),
            cwd=self.folder,
            DB_PASSWORD=self.sandbox["PGPASSWORD"],
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_CALLBACKS_ENABLED="eazepay.ops.dossier",
        )

    def versions(self) -> list[str]:
        url = f"http://127.0.0.1:{self.port}/version"
        return [get(url, f"{name}.shop.example.com").strip() for name in ("catalogue", "orders")]

    def end(self) -> None:
        label = f"label=com.docker.compose.project={self.name}"
        ids = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True)
        if ids.stdout.split():
            subprocess.run(["docker", "rm", "-f", "-v", *ids.stdout.split()], check=True, capture_output=True)
        subprocess.run(["docker", "network", "rm", f"{self.name}_default"], check=False, capture_output=True)
        self.sql(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        shutil.rmtree(self.folder / "srv", ignore_errors=True)


@pytest.fixture(scope="module")
def shop(sandbox, tmp_path_factory):
    made = Shop(tmp_path_factory.mktemp("adopt"), sandbox)
    try:
        made.files()
        made.source()
        made.sql(f"CREATE DATABASE {made.name}")
        yield made
    finally:
        made.end()


def test_the_pages_commands_in_their_order(shop):
    proxy = run("docker", "compose", "up", "--detach", "--no-deps", "proxy", cwd=shop.folder / "srv" / "compose")
    assert proxy.returncode == 0, proxy.stderr
    first = shop.play("deploy", "-e", "release=v1.0.0")
    assert first.returncode == 0, first.stdout[-5000:] + first.stderr
    assert shop.versions() == ["v1.0.0", "v1.0.0"]

    git(shop.folder / "srv" / "source", "commit", "-q", "--allow-empty", "-m", "more books")
    git(shop.folder / "srv" / "source", "push", "-q", "origin", "main")
    second = shop.play("deploy", "-e", "release=v1.1.0")
    assert second.returncode == 0, second.stdout[-5000:] + second.stderr
    assert shop.versions() == ["v1.1.0", "v1.1.0"]
    page = (ROOT / "docs" / "adopt.md").read_text()
    for line in page.split("The last lines of the second deployment:\n\n```\n")[1].split("```")[0].strip().splitlines():
        assert line in second.stdout, second.stdout[-3000:]

    status = shop.play("status")
    assert status.returncode == 0 and "shop (compose): v1.1.0" in status.stdout, status.stdout[-3000:]
    back = shop.play("rollback")
    assert back.returncode == 0, back.stdout[-5000:] + back.stderr
    assert shop.versions() == ["v1.0.0", "v1.0.0"]

    dossiers = sorted((shop.folder / "dossiers").glob("*.html"))
    assert len(dossiers) == 3
    for done, page in zip((first, second), dossiers):
        assert done.stdout.count(f"Dossier: {page}") == 2, "the summary says where, and so does the callback"
    secret = os.environ["PGPASSWORD"]
    assert not [
        file for file in shop.folder.rglob("*") if file.is_file() and secret in file.read_text(errors="replace")
    ]
