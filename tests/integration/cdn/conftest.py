from __future__ import annotations

import uuid

import pytest
from ansible_collections.eazepay.ops.plugins.modules import cf_invalidate

from tests.integration.site.server import aws_server, boto, in_process


@pytest.fixture(scope="session")
def hold_file(tmp_path_factory):
    return tmp_path_factory.mktemp("cdn") / "hold"


@pytest.fixture(scope="session")
def aws(hold_file):
    with aws_server(str(hold_file)) as options:
        yield options


@pytest.fixture
def hold(hold_file):
    """No invalidation is completed until ``hold.unlink()``."""
    hold_file.touch()
    yield hold_file
    hold_file.unlink(missing_ok=True)


@pytest.fixture
def cloudfront(aws):
    return boto("cloudfront", aws)


@pytest.fixture
def distribution(cloudfront):
    """A distribution of the test's own: (id, alias)."""
    alias = f"{uuid.uuid4().hex[:10]}.example.com"
    made = cloudfront.create_distribution(
        DistributionConfig={
            "CallerReference": alias,
            "Comment": "",
            "Enabled": True,
            "Aliases": {"Quantity": 1, "Items": [alias]},
            "Origins": {
                "Quantity": 1,
                "Items": [
                    {
                        "Id": "one",
                        "DomainName": "b.s3.amazonaws.com",
                        "S3OriginConfig": {"OriginAccessIdentity": ""},
                    }
                ],
            },
            "DefaultCacheBehavior": {"TargetOriginId": "one", "ViewerProtocolPolicy": "allow-all"},
        }
    )
    return made["Distribution"]["Id"], alias


@pytest.fixture
def invalidate(aws, distribution):
    def run(**options):
        given = {**({} if "alias" in options else {"distribution_id": distribution[0]}), **aws, **options}
        return in_process(cf_invalidate, cf_invalidate.cf_invalidate, **given)

    return run
