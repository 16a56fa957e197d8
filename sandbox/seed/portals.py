"""The portals on the first day: built and uploaded."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path
from typing import Any

from sandbox.box import Box, run, step

PORTALS = {"admin-portal": "eazepay-admin-portal", "customer-portal": "eazepay-customer-portal"}  # folder -> bucket


def client(env: dict[str, str], service: str = "s3") -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def missing(box: Box) -> list[str]:
    """The portals whose buckets hold none."""
    s3 = client(box.read_env())
    return [name for name, bucket in PORTALS.items() if "index.html" not in keys(s3, bucket)]


def publish(box: Box, folder: Path, release: str, reset: bool = False) -> None:
    """Uploads the portals of a release where the buckets are empty, or in place of what is there for a reset."""
    env = box.read_env()
    s3 = client(env)
    wanted = list(PORTALS) if reset else missing(box)
    if not wanted:
        return
    with step("seed", f"portals of {release}: {', '.join(wanted)}"):
        for name in wanted:
            home = folder / "portals" / name
            run(["npm", "run", "--silent", "build"], cwd=home, env={**os.environ, "RELEASE": release})
            upload(s3, home / "dist", PORTALS[name])


def upload(s3: Any, dist: Path, bucket: str) -> None:
    """Assets first, then the pages that name them, then away with what does not belong."""
    files = {str(path.relative_to(dist)): path for path in dist.rglob("*") if path.is_file()}
    for key in sorted(files, key=lambda key: (not key.startswith("assets/"), key.endswith(".html"), key)):
        lasting = "public, max-age=31536000, immutable" if key.startswith("assets/") else "no-cache"
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=files[key].read_bytes(),
            ContentType=mimetypes.guess_type(key)[0] or "application/octet-stream",
            CacheControl=lasting,
        )
    for key in keys(s3, bucket) - set(files):
        s3.delete_object(Bucket=bucket, Key=key)


def keys(s3: Any, bucket: str) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"] for page in pages for item in page.get("Contents", [])}
