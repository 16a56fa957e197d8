"""S3, CloudFront and Secrets Manager by moto; the company's buckets, distributions and secrets in it.

moto keeps everything in memory, so `up` makes again what is missing.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from sandbox.box import http_ok, step
from sandbox.daemon import Daemon
from sandbox.parts import Part, Status

PORT = 15566
URL = f"http://127.0.0.1:{PORT}"
REGION = "eu-west-1"
KEY = "sandbox"  # moto takes any
PORTALS = {"admin": "eazepay-admin-portal", "customer": "eazepay-customer-portal"}  # <name>.eazepay.test -> bucket
SLACK_URL = "http://127.0.0.1:12590/services/T0/B0/x"


def distribution_config(name: str, bucket: str) -> dict[str, Any]:
    origin = f"{bucket}.s3.{REGION}.amazonaws.com"
    return {
        "CallerReference": f"sandbox-{name}",
        "Comment": f"{name} portal",
        "Enabled": True,
        "DefaultRootObject": "index.html",
        "Aliases": {"Quantity": 1, "Items": [f"{name}.eazepay.test"]},
        "Origins": {
            "Quantity": 1,
            "Items": [{"Id": "bucket", "DomainName": origin, "S3OriginConfig": {"OriginAccessIdentity": ""}}],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "bucket",
            "ViewerProtocolPolicy": "redirect-to-https",
            "CachePolicyId": "658327ea-f89d-4fab-a63d-7e88639e58f6",
        },
    }


class Aws(Part):
    name = "aws"

    def __init__(self, box):
        super().__init__(box)
        self.daemon = Daemon(box, "aws")

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service, endpoint_url=URL, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=KEY
        )

    def up(self) -> None:
        if self.daemon.pid() is None:
            with step(self.name, "starting moto"):
                argv = [sys.executable, "-m", "sandbox.servers.aws", str(PORT)]
                self.daemon.start(argv, lambda: http_ok(f"{URL}/moto-api/data.json"), ports=[PORT], cwd=self.box.root)
        made = [*self.make_buckets(), *self.make_distributions(), *self.make_secrets()]
        if made:
            with step(self.name, f"made {', '.join(made)}"):
                pass

    def make_buckets(self) -> list[str]:
        client = self.client("s3")
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        missing = [bucket for bucket in PORTALS.values() if bucket not in there]
        for bucket in missing:
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return missing

    def make_distributions(self) -> list[str]:
        client = self.client("cloudfront")
        listed = client.list_distributions()["DistributionList"].get("Items", [])
        there = {alias for found in listed for alias in found["Aliases"].get("Items", [])}
        missing = [name for name in PORTALS if f"{name}.eazepay.test" not in there]
        for name in missing:
            client.create_distribution(DistributionConfig=distribution_config(name, PORTALS[name]))
        return [f"{name}.eazepay.test" for name in missing]

    def make_secrets(self) -> list[str]:
        client = self.client("secretsmanager")
        database = {
            "engine": "postgres",
            "host": "127.0.0.1",
            "port": 15432,
            "username": "eazepay",
            "password": self.box.secret("postgres"),
        }
        wanted = {
            "eazepay/local/db": database,
            "eazepay/local/slack": {"webhook_url": SLACK_URL},
            "eazepay/local/jwt": {"signing_key": self.box.secret("jwt")},
        }
        there = {secret["Name"] for secret in client.list_secrets()["SecretList"]}
        missing = [name for name in wanted if name not in there]
        for name in missing:
            client.create_secret(Name=name, SecretString=json.dumps(wanted[name]))
        return missing

    def status(self) -> Status:
        pid = self.daemon.pid()
        if pid is None:
            return Status(False, "not running")
        with urllib.request.urlopen(f"{URL}/sandbox/distributions?since=0", timeout=5) as answer:
            known = {host for found in json.load(answer) for host in found["hosts"]}
        missing = [f"{name}.eazepay.test" for name in PORTALS if f"{name}.eazepay.test" not in known]
        lacking = f"; without {', '.join(missing)}" if missing else ""
        return Status(not missing, f"127.0.0.1:{PORT}, pid {pid}{lacking}")

    def down(self) -> None:
        if self.daemon.pid() is not None:
            with step(self.name, "stopping"):
                self.daemon.stop()

    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": URL,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": REGION,
        }
