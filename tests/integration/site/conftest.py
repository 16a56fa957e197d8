from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests import portals
from tests.integration.site.server import aws_server, boto


@pytest.fixture(scope="session")
def aws():
    with aws_server() as options:
        yield options


@pytest.fixture
def s3(aws):
    return boto("s3", aws)


@pytest.fixture
def bucket(s3):
    name = f"t-site-{uuid.uuid4().hex[:10]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


@pytest.fixture
def site(tmp_path):
    """Writes a site: ``site(release, {key: text})`` gives its folder."""

    def write(release: str, files: dict[str, str]) -> Path:
        folder = tmp_path / release
        for key, text in files.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return write


@pytest.fixture
def content(s3, bucket):
    """What the bucket serves: key -> (text, type, cache), without the collection's own objects."""

    def read() -> dict[str, tuple[str, str, str]]:
        found = {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                if "/.releases/" not in "/" + item["Key"]:
                    one = s3.get_object(Bucket=bucket, Key=item["Key"])
                    found[item["Key"]] = (one["Body"].read().decode(), one["ContentType"], one.get("CacheControl", ""))
        return found

    return read


@pytest.fixture
def portal(sandbox, tmp_path):
    """A portal as the role takes it, with a source of its own."""
    with portals.portal(sandbox) as name:
        yield {
            "name": name,
            "source": str(portals.source(tmp_path / "portal")),
            "build": ["npm", "run", "--silent", "build"],
            "bucket": name,
            "alias": f"{name}.eazepay.test",
            "url": sandbox["CDN_URL"],
            "host": f"{name}.eazepay.test",
        }
