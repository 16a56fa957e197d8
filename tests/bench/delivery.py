"""Portals against `aws s3 sync` and s3_sync, unchanged images, six services against `docker compose up`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, Callable

from tests.bench.table import Table, race, seconds
from tests.conftest import ROOT, sandbox_env
from tests.images import tiny
from tests.integration.rollout.test_compose import Project, served
from tests.integration.site.server import aws_server, boto
from tests.modules import RUNNER, run_module

FILES, BYTES = 1001, 4096
FEW, MANY = 2500, 20000
SERVICES = ("a", "b", "c", "d", "e", "f")
# The command's own environment: its botocore is older than ours.
AWSCLI = ROOT / "build" / "bench" / "awscli"


def aws_command() -> Path:
    program = AWSCLI / "bin" / "aws"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", AWSCLI], check=True)
        subprocess.run([AWSCLI / "bin" / "pip", "install", "--quiet", "awscli"], check=True)
    return program


def site(folder: Path, count: int) -> Path:
    """A built site: most of it hashed assets, as bundlers write them."""
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>" + "x" * BYTES)
    for number in range(count - 1):
        (folder / f"assets/part.{number:08x}ab.js").write_text(f"/* {number} */".ljust(BYTES))
    return folder


def module(name: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Runs a module of any collection; gives its result and the most memory that it took, in MB."""
    code = RUNNER.replace('"ansible_collections.eazepay.ops.plugins.modules." + sys.argv[1]', "sys.argv[1]")
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_remote_tmp": "/tmp"}})
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, name], stdin=subprocess.PIPE, stdout=output, stderr=errors, text=True
        )
        assert process.stdin
        process.stdin.write(given)
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        said = output.read()
        result = json.loads(said[said.index("{") :]) if "{" in said else {"failed": True, "msg": errors.read()}
    if result.get("failed"):
        raise RuntimeError(result["msg"])
    return result, usage.ru_maxrss / 1024


class Bucket:
    """A new bucket, and the three that may fill it."""

    def __init__(self, aws: dict[str, Any]):
        self.aws = aws
        self.name = f"bench-{uuid.uuid4().hex[:10]}"
        boto("s3", aws).create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": aws["region"]})

    def publish(self, folder: Path) -> float:
        given = {"src": str(folder), "bucket": self.name, "release": "v1", **self.aws}
        return module("ansible_collections.eazepay.ops.plugins.modules.site_publish", given)[1]

    def sync(self, folder: Path) -> None:
        given = {"file_root": str(folder), "bucket": self.name, "delete": True, **self.aws}
        module("ansible_collections.community.aws.plugins.modules.s3_sync", given)

    def command(self, folder: Path) -> None:
        keys = {
            "AWS_ACCESS_KEY_ID": self.aws["access_key"],
            "AWS_SECRET_ACCESS_KEY": self.aws["secret_key"],
            "AWS_DEFAULT_REGION": self.aws["region"],
            "AWS_ENDPOINT_URL": self.aws["endpoint_url"],
        }
        argv = [aws_command(), "s3", "sync", folder, f"s3://{self.name}/", "--delete", "--only-show-errors"]
        subprocess.run(argv, check=True, env={**os.environ, **keys}, capture_output=True)


def portals(table: Table, folder: Path) -> None:
    aws_command()
    built = site(folder / "site", FILES)
    with aws_server() as aws:
        first = race(
            {
                "aws s3 sync": lambda: Bucket(aws).command(built),
                "site_publish": lambda: Bucket(aws).publish(built),
                "s3_sync": lambda: Bucket(aws).sync(built),
            },
            rounds=5,
        )
        buckets = {name: Bucket(aws) for name in ("ours", "theirs", "command")}
        buckets["ours"].publish(built)
        buckets["theirs"].sync(built)
        buckets["command"].command(built)
        again = race(
            {
                "aws s3 sync": lambda: buckets["command"].command(built),
                "site_publish": lambda: buckets["ours"].publish(built),
                "s3_sync": lambda: buckets["theirs"].sync(built),
            }
        )
    said = ", ".join(f"{name} {time:.1f} s" for name, time in first.items())
    table.at_most(
        f"first publication of {FILES:,} files, by `aws s3 sync`",
        first["site_publish"] / first["aws s3 sync"], 1, detail=said,
    )  # fmt: skip
    table.at_least("the same, `s3_sync` by it", first["s3_sync"] / first["site_publish"], 3, detail=said)
    said = ", ".join(f"{name} {time:.1f} s" for name, time in again.items())
    table.at_least("unchanged, `s3_sync` by it", again["s3_sync"] / again["site_publish"], 4, detail=said)


def many(table: Table, folder: Path) -> None:
    memory: list[float] = []

    def published(aws: dict[str, Any], built: Path) -> Callable[[], None]:
        return lambda: memory.append(Bucket(aws).publish(built))

    few, large = site(folder / "few", FEW), site(folder / "large", MANY)
    with aws_server() as aws:
        small = seconds(published(aws, few))
        whole = seconds(published(aws, large))
    table.at_most(
        f"a file's time among {MANY:,} by one's among {FEW:,}", (whole / MANY) / (small / FEW), 1.25,
        detail=f"{whole:.0f} s and {small:.1f} s",
    )  # fmt: skip
    table.at_most(f"memory for {MANY:,} files", max(memory), 150, "MB", f"{FEW:,} files: {memory[0]:.0f} MB")


def images(table: Table, folder: Path, registry: str) -> None:
    prefix = f"{registry}/bench/{uuid.uuid4().hex[:8]}"
    services = []
    for name in SERVICES:
        context = folder / "contexts" / name
        context.mkdir(parents=True)
        for number in range(200):
            (context / f"file{number}").write_text(f"{name} {number}".ljust(BYTES))
        (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        services.append({"name": name, "image": f"{prefix}/{name}", "context": str(context)})

    def build() -> None:
        done = run_module("release_images", services=services, release="v1")
        assert not done["failed"], done

    build()
    times = [seconds(build) for _ in range(3)]
    table.at_most("six unchanged images", statistics.median(times), 3, "s", "200 files each; the registry is asked")


def compose(table: Table, folder: Path, registry: str) -> None:
    tags = [tiny(registry, version) for version in ("v1", "v2")]
    projects = {}
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
        projects[name] = Project(folder / name)

    def write(project: Project, image: str) -> None:
        project.write("services:" + "".join(served(name, image) for name in SERVICES))

    turns = dict.fromkeys(projects, 0)

    def next_image(name: str) -> str:
        turns[name] += 1
        return tags[turns[name] % 2]

    def ours() -> None:
        done = projects["ours"].roll(dict.fromkeys(SERVICES, next_image("ours")))
        assert not done["failed"] and done["changed"], done

    def theirs() -> None:
        write(projects["theirs"], next_image("theirs"))
        projects["theirs"].up()

    try:
        for project in projects.values():
            write(project, tags[0])
            project.up()
        times = race({"docker compose up": theirs, "service_rollout": ours})
    finally:
        for project in projects.values():
            project.end()
    said = ", ".join(f"{name} {time:.1f} s" for name, time in times.items())
    table.at_most(
        "six Compose services, by `docker compose up --detach --wait`",
        times["service_rollout"] / times["docker compose up"], 1.25, detail=f"{said}; no service is ever away",
    )  # fmt: skip


def measure() -> Table:
    registry = sandbox_env()["REGISTRY"]
    table = Table(
        "Delivery",
        "Each contender is a process of its own and takes its turn three times (five at a first publication); "
        "the median counts. S3 is a server of "
        f"the bench's own, the sandbox's program, and files are {BYTES} bytes long. Both Compose projects are asked "
        "for the same: six services with healthchecks, from one image to another.",
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images(table, folder, registry)
        compose(table, folder, registry)
        portals(table, folder)
        many(table, folder)
    return table
