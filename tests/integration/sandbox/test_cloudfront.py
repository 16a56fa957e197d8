"""CloudFront as it is, where moto is too kind; and the CDN in front of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid

import boto3
import pytest
from botocore.exceptions import ClientError

from sandbox.parts.aws import distribution_config


@pytest.fixture
def client(sandbox):
    return boto3.client("cloudfront")


@pytest.fixture
def portal(sandbox, client):
    """A bucket and a distribution of the test's own: (host name, bucket, distribution id)."""
    name = f"t-sandbox-{uuid.uuid4().hex[:8]}"
    bucket = boto3.resource("s3").Bucket(name)
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    made = client.create_distribution(DistributionConfig=distribution_config(name, name))
    identifier = made["Distribution"]["Id"]
    yield f"{name}.eazepay.test", bucket, identifier
    bucket.objects.all().delete()
    bucket.delete()
    client.delete_distribution(Id=identifier, IfMatch=made["ETag"])


def invalidate(client, identifier, paths, reference=None):
    batch = {
        "Paths": {"Quantity": len(paths), "Items": paths},
        "CallerReference": reference or uuid.uuid4().hex,
    }
    return client.create_invalidation(DistributionId=identifier, InvalidationBatch=batch)["Invalidation"]


def refusal(client, identifier, paths, reference=None) -> str:
    with pytest.raises(ClientError) as caught:
        invalidate(client, identifier, paths, reference)
    return caught.value.response["Error"]["Code"]


def await_completed(client, identifier, invalidation):
    waiter = client.get_waiter("invalidation_completed")
    waiter.wait(DistributionId=identifier, Id=invalidation["Id"], WaiterConfig={"Delay": 1, "MaxAttempts": 90})


def test_an_invalidation_is_in_progress_and_then_completed(client, portal):
    _host, _bucket, identifier = portal
    made = invalidate(client, identifier, ["/*"])
    assert made["Status"] == "InProgress"
    await_completed(client, identifier, made)
    found = client.get_invalidation(DistributionId=identifier, Id=made["Id"])["Invalidation"]
    assert found["Status"] == "Completed"
    assert found["InvalidationBatch"]["Paths"]["Items"] == ["/*"]


def test_a_reference_is_given_once(client, portal):
    _host, _bucket, identifier = portal
    reference = uuid.uuid4().hex
    first = invalidate(client, identifier, ["/a", "/b"], reference)
    assert invalidate(client, identifier, ["/a", "/b"], reference)["Id"] == first["Id"]
    assert refusal(client, identifier, ["/a"], reference) == "InvalidationBatchAlreadyExists"
    listed = client.list_invalidations(DistributionId=identifier)["InvalidationList"]
    assert [one["Id"] for one in listed["Items"]] == [first["Id"]]


def test_the_newest_is_listed_first(client, portal):
    _host, _bucket, identifier = portal
    made = [invalidate(client, identifier, [f"/{number}"])["Id"] for number in range(3)]
    pages = client.get_paginator("list_invalidations").paginate(
        DistributionId=identifier, PaginationConfig={"PageSize": 2}
    )
    assert [one["Id"] for page in pages for one in page["InvalidationList"]["Items"]] == made[::-1]


def test_limits_and_bad_paths(client, portal):
    _host, _bucket, identifier = portal
    assert refusal(client, identifier, ["no-slash"]) == "InvalidArgument"
    assert refusal(client, identifier, ["/a*b"]) == "InvalidArgument"
    assert refusal(client, identifier, [f"/{number}*" for number in range(16)]) == "TooManyInvalidationsInProgress"
    assert refusal(client, identifier, [f"/{number}" for number in range(3001)]) == "TooManyInvalidationsInProgress"
    assert refusal(client, "EUNKNOWN", ["/a"]) == "NoSuchDistribution"
    made = invalidate(client, identifier, [f"/{number}*" for number in range(15)])
    await_completed(client, identifier, made)
    invalidate(client, identifier, ["/x*"])


def view(sandbox, host, path="/", method="GET", **headers):
    request = urllib.request.Request(sandbox["CDN_URL"] + path, headers={"Host": host, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_the_cdn_keeps_a_page_until_its_invalidation_completes(sandbox, client, portal):
    host, bucket, identifier = portal

    def put(text):
        bucket.put_object(Key="index.html", Body=text, ContentType="text/html", CacheControl="public, max-age=3600")

    put(b"old")
    status, body, headers = view(sandbox, host)
    assert (status, body, headers["Content-Type"]) == (200, b"old", "text/html")
    assert headers["X-Cache"].startswith("Miss")
    put(b"new")
    status, body, headers = view(sandbox, host)
    assert body == b"old" and headers["X-Cache"].startswith("Hit")
    await_completed(client, identifier, invalidate(client, identifier, ["/index.html"]))
    assert view(sandbox, host)[1] == b"old"  # / is a path of its own, as on CloudFront
    await_completed(client, identifier, invalidate(client, identifier, ["/", "/other"]))
    assert view(sandbox, host)[1] == b"new"
    put(b"newest")
    assert view(sandbox, host)[1] == b"new"
    await_completed(client, identifier, invalidate(client, identifier, ["/*"]))
    assert view(sandbox, host)[1] == b"newest"


def test_what_must_not_be_kept_is_not(sandbox, portal):
    host, bucket, _identifier = portal
    for text in (b"1", b"2"):
        bucket.put_object(Key="sw.js", Body=text, CacheControl="no-cache")
        assert view(sandbox, host, "/sw.js")[1] == text


def test_a_missing_asset_is_missing_until_it_is_there(sandbox, portal):
    host, bucket, _identifier = portal
    assert view(sandbox, host, "/assets/a.js")[0] == 404
    bucket.put_object(Key="assets/a.js", Body=b"x")
    status, body, headers = view(sandbox, host, "/assets/a.js")
    assert (status, body) == (200, b"x")
    assert view(sandbox, host, "/assets/a.js", **{"If-None-Match": headers["ETag"]})[0] == 304
    status, body, headers = view(sandbox, host, "/assets/a.js", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "1")


def test_an_unknown_host_is_refused(sandbox):
    assert view(sandbox, "nobody.eazepay.test")[0] == 403


def test_the_portals_and_the_secrets_are_there(sandbox, client):
    listed = client.list_distributions()["DistributionList"]["Items"]
    aliases = {alias for one in listed for alias in one["Aliases"].get("Items", [])}
    assert {"admin.eazepay.test", "customer.eazepay.test"} <= aliases
    buckets = {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}
    assert {"eazepay-admin-portal", "eazepay-customer-portal"} <= buckets
    secret = boto3.client("secretsmanager").get_secret_value(SecretId="eazepay/local/db")["SecretString"]
    assert json.loads(secret)["password"] == sandbox["PGPASSWORD"]
