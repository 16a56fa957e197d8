from __future__ import annotations

import uuid

import pytest

from tests.integration.site.server import aws_server, boto
from tests.kubernetes import namespace


@pytest.fixture(scope="module")
def aws():
    with aws_server() as options:
        boto("s3", options).create_bucket(
            Bucket="t-ledger", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield options


@pytest.fixture(scope="module")
def cluster(sandbox):
    with namespace(sandbox) as made:
        yield made


@pytest.fixture(params=["folder", "s3", pytest.param("configmap", marks=pytest.mark.kubernetes)])
def store(request, tmp_path):
    """Options of a ledger of the test's own."""
    if request.param == "folder":
        return {"store": str(tmp_path / "ledger")}
    own = uuid.uuid4().hex[:8]
    if request.param == "s3":
        return {"store": f"s3://t-ledger/{own}", **request.getfixturevalue("aws")}
    place = request.getfixturevalue("cluster")
    return {"store": f"configmap://{place.name}/{own}", "kubeconfig": place.kubeconfig}
