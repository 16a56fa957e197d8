"""A company of two tiny services behind the sandbox's proxy, with a ledger, contacts and a repository of its own.

The playbooks run on it as they do on Eazepay, in seconds and beside other tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import Folder

from sandbox.seed.portals import client
from tests.conftest import ROOT
from tests.images import tiny, typeorm
from tests.kubernetes import Namespace, container, namespace, workload

NAMES = ("identity", "wallet")
HEALTH = '{test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/health"], interval: 1s, retries: 2}'


class Shop:
    """v2 of two services, deployed as v1.1.0 over v1.0.0, says the ledger.

    :param pg: a server on which identity gets a database of its own; without, the sandbox's `wallet` is only backed up.
    :param bucket: that of its portal, if it has one.
    """

    def __init__(self, folder: Path, sandbox: dict[str, str], pg: Any = None, bucket: str = "") -> None:
        self.id = uuid.uuid4().hex[:8]
        self.folder, self.sandbox, self.pg, self.bucket = folder, sandbox, pg, bucket
        self.database, self.login = f"shop_{self.id}" if pg else "wallet", f"t/{self.id}/db"
        self.project = f"t_shop_{self.id}"
        self.images = {"v1.0.0": tiny(sandbox["REGISTRY"], "v1"), "v1.1.0": tiny(sandbox["REGISTRY"], "v2")}
        self.switch = folder / "maintenance" / "on"
        self.ledger = Ledger(Folder(str(folder / "ledger")))
        self.mail = f"team-{self.id}@example.com"
        self.channel = f"C{self.id}"
        self.secret = f"t/{self.id}/slack"

    def write(self, release: str) -> None:
        (self.folder / "maintenance").mkdir(exist_ok=True)
        self.folder.chmod(0o755)  # the proxy is somebody else
        proxy = ROOT / "sandbox" / "company" / "proxy"
        (self.folder / "maintenance" / "page.html").write_text((proxy / "page.html").read_text())
        text = "services:"
        for name in NAMES:
            text += (
                f"\n  {name}-service:\n    image: {self.images[release]}\n    stop_grace_period: 5s\n"
                f"    healthcheck: {HEALTH}"
            )
        text += f"""
  proxy:
    image: {self.sandbox["REGISTRY"]}/sandbox/base:1
    command: [nginx, -c, /conf/nginx.conf]
    ports: ["127.0.0.1::8080"]
    volumes: ["{proxy}:/conf:ro", "{self.folder}/maintenance:/etc/nginx/maintenance:ro"]
"""
        (self.folder / "compose.yml").write_text(text)

    def docker(self, *words: str) -> str:
        argv = ["docker", "compose", "--project-name", self.project, "--project-directory", str(self.folder), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def up(self) -> None:
        self.write("v1.1.0")
        self.docker("up", "--detach", "--wait")
        self.edge = f"http://{self.docker('port', 'proxy', '8080')}"
        self.remember()

    def remember(self) -> None:
        """What the ledger knows of it, where Slack is, its database and its portal."""
        for hour, release in ((1, "v1.0.0"), (2, "v1.1.0")):
            self.record(f"20260101T0{hour}0000Z-{release}", release)
        boto3.client("secretsmanager").create_secret(Name=self.secret, SecretString=json.dumps({"token": "xoxb-shop"}))
        if self.bucket:
            page = {"Key": "index.html", "Body": b"by hand, of v1.1.0", "ContentType": "text/html"}
            client(self.sandbox).put_object(Bucket=self.bucket, **page)
        if self.pg:
            self.pg.run(f"CREATE DATABASE {self.database}")
            login = {"username": "super", "password": self.pg.login["login_password"]}
            boto3.client("secretsmanager").create_secret(Name=self.login, SecretString=json.dumps(login))

    def record(self, id: str, release: str, **more: Any) -> None:
        images = dict.fromkeys(NAMES, self.images[release])
        self.ledger.record(id, {"release": release, "outcome": "good", "images": images, **more})

    def down(self) -> None:
        self.switch.unlink(missing_ok=True)
        subprocess.run(
            ["docker", "compose", "--project-name", self.project, "down", "--timeout", "1", "--volumes"],
            check=False,
            capture_output=True,
            cwd=self.folder,
        )
        self.forget()

    def forget(self) -> None:
        for secret in (self.secret, self.login):
            with contextlib.suppress(Exception):
                boto3.client("secretsmanager").delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
        if self.pg:
            self.pg.run(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def migrations(self) -> list[str]:
        """What is applied to identity's own database."""
        if not self.pg.run("SELECT 1 FROM pg_class WHERE relname = 'migrations'", self.database):
            return []
        return [name for (name,) in self.pg.run("SELECT name FROM migrations ORDER BY id", self.database)]

    def tool(self) -> dict[str, Any]:
        """How identity's database is migrated: by psql, as the file `migrations` of the release says."""
        psql = ["psql", "--quiet", "-v", "ON_ERROR_STOP=1", "-c"]
        make = "CREATE TABLE IF NOT EXISTS migrations (id serial, name text)"
        words = {
            "show": ["cat", "migrations"],
            "run": [*psql, f"{make}; INSERT INTO migrations (name) VALUES ('First')"],
            "revert": [*psql, "DELETE FROM migrations WHERE name = 'First'"],
        }
        books = {"tool": "command", "table": "migrations", "column": "name", "order_by": "id"}
        return {"directory": ".", "commands": words, **books}

    def variables(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "eazepay_services": [
                {
                    "name": name,
                    "workload": f"{name}-service",
                    "depends_on": [one for one in NAMES[:1] if one != name],
                    "host": f"{name}.eazepay.test",
                    "health": "/health",
                }
                for name in NAMES
            ],
            "eazepay_compose": {"project_src": str(self.folder), "project_name": self.project},
            "eazepay_edge": self.edge,
            "eazepay_ledger": str(self.folder / "ledger"),
            "eazepay_portals": self.portals(),
            "eazepay_flows": [],
            "eazepay_slos": {},
            "eazepay_source": {
                "repository": str(self.folder / "origin.git"),
                "checkout": str(self.folder / "source"),
                "releases": str(self.folder / "releases"),
            },
            "eazepay_notifications": {
                "mail": {
                    "host": self.sandbox["SMTP_HOST"],
                    "port": self.sandbox["SMTP_PORT"],
                    "sender": "ops@example.com",
                },
                "slack": {
                    "secret": self.secret,
                    "channel": self.channel,
                    "api": f"{self.sandbox['SLACK_SINK_URL']}/api",
                },
            },
            "eazepay_contacts": {
                "users": [f"users-{self.id}@example.com"],
                "team": [self.mail],
                "on_call": [f"on-call-{self.id}@example.com"],
                "devops_lead": [f"lead-{self.id}@example.com"],
                "escalation": [f"escalation-{self.id}@example.com"],
            },
            "eazepay_maintenance": {
                "switch": str(self.switch),
                "services": [],
                "backend": {},
                "silence": [{"name": "shop", "value": self.id, "isRegex": False, "isEqual": True}],
            },
            "eazepay_diagnostics": str(self.folder / "diagnostics"),
            "eazepay_postmortems": str(self.folder / "postmortems"),
        }
        if self.pg:
            given["eazepay_database"] = {"host": "127.0.0.1", "port": self.pg.port, "secret": self.login}
            given["eazepay_services"][0]["migrations"] = {"database": self.database, **self.tool()}
        return given

    def portals(self) -> list[dict[str, Any]]:
        if not self.bucket:
            return []
        alias, address = f"{self.bucket}.eazepay.test", self.sandbox["CDN_URL"]
        return [{"name": "front", "directory": "portal", "bucket": self.bucket, "alias": alias, "address": address}]

    def page(self) -> str:
        """The portal's first page, as its bucket has it."""
        return client(self.sandbox).get_object(Bucket=self.bucket, Key="index.html")["Body"].read().decode()

    def start(self, playbook: str, *more: str, **variables: Any) -> subprocess.Popen:
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        given = json.dumps({**self.variables(), **variables})
        return subprocess.Popen(
            [program, f"playbooks/{playbook}", "-i", "inventories/local", "-e", given, *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DOSSIER_DIR": str(self.folder / "dossiers")},
        )

    def play(self, playbook: str, *more: str, ok: bool = True, **variables: Any) -> str:
        """What a playbook prints, without the line breaks that only fold it."""
        run = self.start(playbook, *more, **variables)
        output = run.communicate(timeout=300)[0]
        assert "Traceback" not in output
        assert (run.returncode == 0) is ok, output[-6000:]
        return " ".join(output.split())

    def ask(self, path: str = "/version", name: str = "wallet") -> tuple[int, str, str]:
        """Status, body and Retry-After of an answer, as a user gets it."""
        request = urllib.request.Request(f"{self.edge}{path}", headers={"Host": f"{name}.eazepay.test"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode().strip(), ""
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers.get("Retry-After") or ""

    def versions(self) -> set[str]:
        return {self.ask(name=name)[1] for name in NAMES}

    def mails(self, who: str = "team") -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.sandbox['MAIL_URL']}/?to={who}-{self.id}@example.com", timeout=10) as found:
            return json.load(found)

    def slack(self) -> list[dict[str, Any]]:
        """What was sent to the shop's channel, the first first; ``path`` tells posts from edits."""
        with urllib.request.urlopen(f"{self.sandbox['SLACK_SINK_URL']}/messages", timeout=10) as found:
            return [one for one in json.load(found) if one["message"].get("channel") == self.channel]

    def notice(self, ago: float, **body: Any) -> None:
        """A notice of an earlier time."""
        at = time.time() - ago
        name = datetime.fromtimestamp(at, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        Ledger(self.ledger.store, clock=lambda: at).notice(f"{name}-notice", {"delivered": ["mail"], **body})


EDGE = """
error_log /dev/stderr; pid /tmp/nginx.pid; daemon off; events {{}}
http {{ access_log off; keepalive_timeout 0; proxy_connect_timeout 2s;
  server {{ listen 8080 default_server; location / {{ return 200; }} }}
  {servers} }}
"""
SERVE = "require('http').createServer((q, s) => s.end(q.url == '/version' ? 'v3' : 'ok')).listen(8080)"


class ClusterShop(Shop):
    """The same on Kubernetes, with a namespace and a database of its own, which identity's pods reach.

    The image of identity that comes next (v3) can migrate it.
    """

    def __init__(self, folder: Path, sandbox: dict[str, str], place: Namespace, pg: Any, bucket: str) -> None:
        super().__init__(folder, sandbox, pg, bucket)
        self.place = place

    def up(self) -> None:
        self.remember()
        self.place.put("Secret", "db", stringData={"password": self.pg.login["login_password"]})
        env = {"PGHOST": "/pg", "PGPORT": str(self.pg.port), "PGUSER": "super"}
        reach = {
            "env": [
                *({"name": key, "value": value} for key, value in env.items()),
                {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            ],
            "volumeMounts": [{"name": "pg", "mountPath": "/pg"}],
        }
        volumes = {"volumes": [{"name": "pg", "hostPath": {"path": self.pg.folder}}]}
        for name in NAMES:
            app = container(self.images["v1.1.0"], **reach)
            self.place.apply(workload(f"{name}-service", [app], pod=volumes))
        self.place.apply(*(self.service(name, f"{name}-service") for name in NAMES))
        servers = ""
        for name in NAMES:
            address = self.place.get("service", name)["spec"]["clusterIP"]
            server = f"listen 8080; server_name {name}.eazepay.test; location / {{ proxy_pass http://{address}; }}"
            servers += f"server {{ {server} }}\n"
        self.place.put("ConfigMap", "edge", data={"nginx.conf": EDGE.format(servers=servers)})
        page = container(f"{self.sandbox['REGISTRY']}/sandbox/base:1", command=["nginx", "-c", "/conf/nginx.conf"])
        page["volumeMounts"] = [{"name": "conf", "mountPath": "/conf"}]
        conf = {"volumes": [{"name": "conf", "configMap": {"name": "edge"}}]}
        self.place.apply(workload("edge", [page], pod=conf), self.service("edge", "edge", type="NodePort"))
        self.place.settled()
        self.edge = f"http://127.0.0.1:{self.place.get('service', 'edge')['spec']['ports'][0]['nodePort']}"

    @staticmethod
    def service(name: str, of: str, **spec: str) -> dict[str, Any]:
        ports = [{"port": 80, "targetPort": 8080}]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"name": of}, "ports": ports, **spec},
        }

    def down(self) -> None:
        self.forget()

    def newest(self, image: str) -> None:
        """Pushes an image of identity that serves as v3, and migrates with TypeORM."""
        words = json.dumps(["node", "-e", SERVE])
        recipe = f"FROM {typeorm(self.sandbox, ROOT / 'sandbox/company/services/identity-service')}\nCMD {words}\n"
        argv = ["docker", "build", "--quiet", "--tag", image, "-"]
        subprocess.run(argv, input=recipe, check=True, capture_output=True, text=True)
        subprocess.run(["docker", "push", "--quiet", image], check=True, capture_output=True)

    def tool(self) -> dict[str, Any]:
        cli = ["node", "../node_modules/typeorm/cli.js"]
        words = {name: [*cli, f"migration:{name}", "-d", "data-source.js"] for name in ("run", "show", "revert")}
        return {"runner": "kubernetes", "commands": words}

    def variables(self) -> dict[str, Any]:
        return {
            **super().variables(),
            "eazepay_target": "kubernetes",
            "eazepay_kubernetes": {
                "namespace": self.place.name,
                "kubeconfig": self.place.kubeconfig,
                "context": "",
                "selector": "name=$workload",
            },
            "eazepay_compose": {"project_src": str(self.folder)},
        }


@contextlib.contextmanager
def cluster_shop(folder: Path, sandbox: dict[str, str], pg: Any, bucket: str = "") -> Iterator[ClusterShop]:
    with namespace(sandbox) as place:
        made = ClusterShop(folder, sandbox, place, pg, bucket)
        try:
            made.up()
            yield made
        finally:
            made.down()


@contextlib.contextmanager
def shop(folder: Path, sandbox: dict[str, str], pg: Any = None, bucket: str = "") -> Iterator[Shop]:
    made = Shop(folder, sandbox, pg, bucket)
    try:
        made.up()
        yield made
    finally:
        made.down()
