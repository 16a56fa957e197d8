"""Tags by digests, and the way back by a ledger."""

from __future__ import annotations

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.lookup import as_recorded, good_release, pinned
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.plan import services

DIGEST = "sha256:" + "a" * 64


def test_tags_become_digests_where_the_registry_answers():
    asked = []

    def digest(image):
        asked.append(image)
        if "away" in image:
            raise OpsError("ask", "registry away", "it does not answer")
        return "" if "gone" in image else DIGEST

    wanted = services(
        [
            {"name": "a", "images": {"app": "shop/a:1", "beside": f"shop/b@{DIGEST}"}},
            {"name": "b", "image": "away:5000/b:1"},
            {"name": "c", "image": "shop/gone:1"},
            {"name": "d", "image": "shop/a:1"},
            {"name": "e"},
        ]
    )
    found, problems = pinned(wanted, digest)
    assert [dict(one.images) for one in found] == [
        {"app": f"shop/a:1@{DIGEST}", "beside": f"shop/b@{DIGEST}"},
        {"": "away:5000/b:1"},
        {"": "shop/gone:1"},
        {"": f"shop/a:1@{DIGEST}"},
        {},
    ]
    assert sorted(asked) == ["away:5000/b:1", "shop/a:1", "shop/gone:1"]
    assert [(one.service, one.fatal) for one in problems] == [("b", False), ("c", True)]
    assert "it does not answer" in problems[0].text


RECORDS = [
    {"release": "v3", "outcome": "failed"},
    {"release": "v2", "outcome": "good", "images": {"a": "shop/a:2", "b": "shop/b:2"}},
    {"release": "v1", "outcome": "good"},
]


def ledger(params):
    target = next((one for one in RECORDS[1:] if one["release"] == params.get("release", "v2")), {})
    return {"records": RECORDS, "newest": "v3", "roll_back_to": target}


def test_which_release_a_ledger_names():
    assert good_release({"ledger": "/l"}, ledger)["release"] == "v2"
    assert good_release({"ledger": "/l", "release": "v1"}, ledger)["release"] == "v1"
    with pytest.raises(OpsError, match="no good release v3; it knows as good: v2, v1"):
        good_release({"ledger": "/l", "release": "v3"}, ledger)
    with pytest.raises(OpsError, match="no good release before v1; it knows as good: none"):
        good_release({"ledger": "/l"}, lambda params: {"records": [], "newest": "v1", "roll_back_to": {}})


def test_own_images_and_revisions_come_before_the_record():
    wanted = services([{"name": "a"}, {"name": "b", "image": "shop/b:9"}, {"name": "c"}])
    assert [dict(one.images) for one in as_recorded(wanted, RECORDS[1])] == [{"": "shop/a:2"}, {"": "shop/b:9"}, {}]
    (own,) = as_recorded(services([{"name": "a", "to_revision": 3}]), RECORDS[1])
    assert own.images == {}
