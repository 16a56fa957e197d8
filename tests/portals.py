"""A portal of a test's own, with a bucket, a distribution and an alias on the sandbox's S3, CloudFront and CDN."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from sandbox.parts.aws import distribution_config
from sandbox.seed.portals import client
from tests.conftest import ROOT


def source(folder: Path) -> Path:
    """Writes the source of a portal, which `npm run build` builds."""
    shutil.copytree(ROOT / "sandbox/company/portals/admin-portal", folder, ignore=shutil.ignore_patterns("dist"))
    return folder


@contextlib.contextmanager
def portal(sandbox: dict[str, str]) -> Iterator[str]:
    """Gives the name of an empty bucket, which is served at `<name>.eazepay.test`."""
    name = f"t-portal-{uuid.uuid4().hex[:8]}"
    client(sandbox).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    cloudfront = client(sandbox, "cloudfront")
    made = cloudfront.create_distribution(DistributionConfig=distribution_config(name, name))["Distribution"]
    try:
        yield name
    finally:
        found = cloudfront.get_distribution_config(Id=made["Id"])
        found["DistributionConfig"]["Enabled"] = False
        updated = cloudfront.update_distribution(
            Id=made["Id"], IfMatch=found["ETag"], DistributionConfig=found["DistributionConfig"]
        )
        cloudfront.delete_distribution(Id=made["Id"], IfMatch=updated["ETag"])
