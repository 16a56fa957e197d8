from __future__ import annotations

import json

from tests.integration.site.server import boto


def test_the_module_asks_once_and_waits(module, aws, distribution, cloudfront):
    given = {"alias": distribution[1], "paths": ["/index.html", "ü b/*"], "release": "v1", **aws}
    planned = module("cf_invalidate", check=True, diff=True, **given)
    assert planned["changed"] and planned["diff"]["after"] == "/index.html\n/%C3%BC%20b/*\n"
    assert cloudfront.list_invalidations(DistributionId=distribution[0])["InvalidationList"]["Quantity"] == 0
    first = module("cf_invalidate", **given)
    assert not first["failed"], first
    assert first["changed"] and first["invalidation"]["status"] == "Completed"
    assert first["paths"] == ["/%C3%BC%20b/*", "/index.html"]
    assert first["cost"] == {"paths": 2, "usd_after_free_tier": 0.01}
    again = module("cf_invalidate", **given)
    assert not again["changed"] and again["invalidation"]["id"] == first["invalidation"]["id"]
    assert not module("cf_invalidate", check=True, **given)["changed"]
    assert cloudfront.list_invalidations(DistributionId=distribution[0])["InvalidationList"]["Quantity"] == 1


def test_another_release_is_another_invalidation(invalidate, hold):
    one = invalidate(paths=["/a"], release="v1", wait=False)
    two = invalidate(paths=["/a"], release="v2", wait=False)
    assert two["changed"] and one["invalidation"]["id"] != two["invalidation"]["id"]
    assert one["invalidation"]["status"] == "InProgress"


def test_what_is_over_the_limits_goes_in_batches_and_waits_for_room(invalidate):
    many = [f"/f{number}.html" for number in range(3001)]
    compacted = invalidate(paths=many, wait=False)
    assert compacted["paths"] == ["/*"]
    split = invalidate(paths=many, compact_above=0)
    assert not split["failed"], split
    assert [len(one["paths"]) for one in split["invalidations"]] == [3000, 1]
    wild = invalidate(paths=[f"/d{number}/*" for number in range(16)], compact_above=0)
    assert not wild["failed"] and [len(one["paths"]) for one in wild["invalidations"]] == [15, 1]


def test_no_room_in_time_is_a_failure_of_its_own(invalidate, hold):
    invalidate(paths=[f"/d{number}/*" for number in range(15)], wait=False)
    result = invalidate(paths=["/e/*"], wait_timeout=0.1)
    assert result["failed"] and "still take up CloudFront's limits" in result["msg"] and not result["changed"]
    hold.unlink()
    assert invalidate(paths=["/e/*"])["changed"]


def test_an_invalidation_that_takes_too_long_is_named_and_found_again(invalidate, hold):
    late = invalidate(paths=["/late"], wait_timeout=0.1)
    assert late["failed"] and "is still InProgress" in late["msg"] and late["changed"]
    hold.unlink()
    found = invalidate(paths=["/late"])
    assert not found["changed"] and found["invalidation"]["id"] == late["invalidations"][0]["id"]


def test_what_cannot_be_is_said(invalidate, aws):
    star = invalidate(paths=["/a*b"])
    assert star["failed"] and "only at the end" in star["msg"]
    unknown = invalidate(alias="nobody.example.com", paths=["/"])
    assert unknown["failed"] and "no distribution of this account" in unknown["msg"]
    missing = invalidate(distribution_id="ENONE", paths=["/"])
    assert missing["failed"] and "does not exist" in missing["msg"]
    assert not invalidate(paths=[])["changed"]


def test_the_note_of_a_publication_is_taken_away_once_it_is_done(invalidate, aws, hold):
    s3 = boto("s3", aws)
    s3.create_bucket(Bucket="t-cdn-note", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    note = {"schema": 1, "publication": "v1-x", "paths": ["/", "/index.html"]}
    address = "s3://t-cdn-note/site/.releases/pending.json"
    s3.put_object(Bucket="t-cdn-note", Key="site/.releases/pending.json", Body=json.dumps(note).encode())
    assert invalidate(pending=address, check=True)["changed"]
    late = invalidate(pending=address, wait_timeout=0.1)
    assert late["failed"]
    hold.unlink()
    done = invalidate(pending=address)
    assert done["paths"] == ["/", "/index.html"] and done["invalidation"]["id"] == late["invalidations"][0]["id"]
    gone = invalidate(pending=address)
    assert (
        not gone["changed"] and gone["invalidation"] == {} and s3.list_objects_v2(Bucket="t-cdn-note")["KeyCount"] == 0
    )


def test_many_distributions_in_one_call(invalidate, distribution, aws, cloudfront):
    one = {"name": "one", "alias": distribution[1], "paths": ["/a"]}
    two = {"name": "two", "distribution_id": distribution[0], "paths": ["/b"]}
    nothing = {"name": "nothing", "alias": distribution[1], "pending": ""}
    done = invalidate(distribution_id=None, sites=[one, two, nothing], release="v1")
    assert not done["failed"] and done["changed"], done
    assert [site["paths"] for site in done["sites"]] == [["/a"], ["/b"], []]
    assert {site["invalidation"].get("status") for site in done["sites"]} == {"Completed", None}
    assert not invalidate(distribution_id=None, sites=[one, two, nothing], release="v1")["changed"]
    half = invalidate(distribution_id=None, sites=[{**one, "paths": ["/c"]}, {**two, "distribution_id": "ENONE"}])
    assert half["failed"] and half["changed"] and "ENONE" in half["msg"]
    assert [site["failed"] for site in half["sites"]] == [False, True]
