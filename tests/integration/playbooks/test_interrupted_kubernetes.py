"""A deployment to Kubernetes that is killed where that differs, then a rollback of each scope."""

from __future__ import annotations

import pytest

from tests.interruptions import RELEASE, given, killed_in, prepared
from tests.portals import portal
from tests.postgres import server
from tests.shop import NAMES, cluster_shop

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def cluster(sandbox, tmp_path_factory):
    with portal(sandbox) as bucket, cluster_shop(tmp_path_factory.mktemp("shop"), sandbox, server(15), bucket) as made:
        yield prepared(made)


# In this order: when the first one is killed, nothing but its own record says where the databases were, and the last
# one finds them migrated by the one before.
@pytest.mark.parametrize(
    ("step", "scope"),
    [
        ("migrate", "database"),
        ("verify", "services"),
        ("portals", "complete"),
        ("rollout", "complete"),
    ],
)
def test_what_was_killed_is_rolled_back(cluster, step, scope):
    killed_in(cluster, step)
    assert cluster.ledger.query(1)["records"][0]["outcome"] == "running"
    assert cluster.migrations(), "they were applied"
    cluster.play("rollback.yml", "-e", f"scope={scope}", **given(cluster))
    assert cluster.versions() == {"v2"}
    for name in NAMES:
        assert cluster.place.image(f"{name}-service") == cluster.images["v1.1.0"]
    # A rollback of the services leaves the databases, which the release before can read, and the portals, and says so.
    assert bool(cluster.migrations()) is (scope == "services")
    assert (RELEASE in cluster.page()) is (scope == "services")
    found = cluster.ledger.query(1)
    record = found["records"][0]
    assert not found["lock"] and record["rolled_back_from"] == RELEASE
    assert record["outcome"] == ("rolled_back" if scope == "database" else "good")
    if scope != "database":
        assert record["release"] == found["in_place"] == "v1.1.0"
