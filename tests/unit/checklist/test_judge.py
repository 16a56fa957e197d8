"""What evidence says of an item; whatever cannot be known is never green."""

from __future__ import annotations

import json

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.checklist import judge
from ansible_collections.eazepay.ops.plugins.module_utils.checklist.judge import ERROR, FAIL, PASS, SEVERITY, WARN, Item
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0  # Friday, 2027-01-15 08:00 UTC
REVISION = "bbc76ee6d7ec0123456789abcdef0123456789ab"
DAY = 86400.0
JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def left(**more):
    return json.dumps({"state": "success", "revision": REVISION, "at": NOW - 3600, **more})


@pytest.mark.parametrize(
    ("text", "verdict", "said"),
    [
        (left(), PASS, "ago"),
        (left(revision=REVISION[:8]), PASS, "ago"),
        (left(at="2027-01-15T07:00:00Z", detail="report 12"), PASS, "report 12"),
        (left(state="failure"), FAIL, "'failure'"),
        (left(revision="0" * 40), FAIL, "not about bbc76ee6d7ec"),
        (left(revision="bbc"), FAIL, "not about"),
        (left(revision=""), FAIL, "no revision"),
        (left(at=NOW - 2 * DAY), FAIL, "2 days old"),
        (left(at=NOW + 3600), ERROR, "ahead"),
        (left(at="yesterday"), ERROR, "cannot be read"),
        (left(at="2027-01-15T07:00:00"), ERROR, "no offset"),
        ('{"state": "success"', ERROR, "cannot be read"),
        ("[]", ERROR, "cannot be read"),
    ],
)
def test_a_file_of_evidence(text, verdict, said):
    found = judge.evidence(text, REVISION, DAY, NOW)
    assert found[0] == verdict and said in found[1], found


@given(JUNK)
def test_no_other_file_is_green(junk):
    verdict, reason = judge.evidence(json.dumps(junk), REVISION, DAY, NOW)
    assert verdict in (FAIL, ERROR) and reason


def record(release="v1.1.0", outcome="good", **more):
    return {"id": f"20270115T070000Z-{release}", "release": release, "outcome": outcome, "target": "compose", **more}


@pytest.mark.parametrize(
    ("records", "verdict", "said"),
    [
        ([record(migrated={"wallet": ["a", "b"]})], PASS, "wallet 2"),
        ([record()], PASS, "brings none"),
        ([record(outcome="failed"), record()], PASS, "staging"),
        ([record(outcome="failed")], FAIL, "failed"),
        ([record("v1.0.0")], FAIL, "never there"),
        ([], FAIL, "never there"),
    ],
)
def test_migrations_were_tried_elsewhere(records, verdict, said):
    found = judge.migrated(records, "v1.1.0", "staging")
    assert found[0] == verdict and said in found[1], found


def backup(age, verified="read", databases=("a", "b"), broken=""):
    return {"id": f"b{age}", "created": NOW - age, "verified": verified, "databases": databases, "broken": broken}


@pytest.mark.parametrize(
    ("backups", "verdict"),
    [
        ([backup(60)], PASS),
        ([backup(60, databases=("a", "b", "c"))], PASS),
        ([backup(60, databases=("a",))], FAIL),
        ([backup(60, verified="")], FAIL),
        ([backup(60, broken="torn")], FAIL),
        ([backup(2 * DAY), backup(3 * DAY)], FAIL),
        ([backup(3 * DAY), backup(60)], PASS),
        ([], FAIL),
    ],
)
def test_the_last_verified_backup(backups, verdict):
    assert judge.backup(backups, ["a", "b"], DAY, NOW)[0] == verdict


def notice(age, **more):
    return {"kind": "deployment", "release": "v1.1.0", "at": NOW - age, "delivered": ["mail"], **more}


@pytest.mark.parametrize(
    ("notices", "verdict", "said"),
    [
        ([notice(7200)], PASS, "by mail"),
        ([notice(60), notice(7200)], PASS, "2 h"),
        ([notice(1800)], FAIL, "not before"),
        ([notice(7200, delivered=[])], FAIL, "reached nobody"),
        ([notice(7200, release="v1.0.0")], FAIL, "nobody was told"),
        ([notice(7200, kind="maintenance")], FAIL, "nobody was told"),
        ([notice(30 * DAY)], FAIL, "tell them again"),
        ([notice(7200, starts=NOW + 3600)], FAIL, "still to come"),
        ([notice(7200, starts=NOW - 60)], PASS, "by mail"),
        ([notice(7200, starts=NOW - 60, until=NOW + 60)], PASS, "by mail"),
        ([notice(7200, starts=NOW - 60, until=NOW)], FAIL, "window was over"),
        ([], FAIL, "nobody was told"),
    ],
)
def test_the_team_was_told(notices, verdict, said):
    found = judge.notified(notices, "deployment", "v1.1.0", 3600, 7 * DAY, NOW)
    assert found[0] == verdict and said in found[1], found


@pytest.mark.parametrize(
    ("window", "verdict"),
    [
        ({"from": "2027-01-15T07:00:00Z", "until": "2027-01-15T09:00:00Z"}, FAIL),
        ({"from": "2027-01-15T08:00:01Z", "until": "2027-01-15T09:00:00Z"}, PASS),
        ({"from": "2027-01-15T07:00:00Z", "until": "2027-01-15T08:00:00Z"}, PASS),
        ({"from": "2027-01-15T07:00:00", "until": "2027-01-15T08:00:00"}, ERROR),
        ({"from": "2027-01-15T07:00:00Z"}, ERROR),
        ({"days": ["fri"]}, FAIL),
        ({"days": ["Friday"], "from": "08:00", "until": "08:01"}, FAIL),
        ({"days": ["thu", "sat"]}, PASS),
        ({"days": ["fri"], "from": "10:30", "until": "11:30", "offset": "+03:00"}, FAIL),
        ({"days": ["fri"], "from": "08:00", "until": "09:00", "offset": "+03:00"}, PASS),
        ({"days": ["fri"], "from": "17:00", "until": "08:00"}, ERROR),
        ({"days": ["someday"]}, ERROR),
        ({"days": ["fri"], "from": "25:00"}, ERROR),
        ({}, ERROR),
    ],
)
def test_times_in_which_nothing_is_deployed(window, verdict):
    assert judge.frozen([window], NOW)[0] == verdict


@given(st.dictionaries(st.sampled_from(["from", "until", "days", "offset"]), JUNK, max_size=4))
def test_a_window_that_cannot_be_read_is_not_passed_over(window):
    verdict, reason = judge.frozen([{**window, "reason": "because"}], NOW)
    assert verdict in SEVERITY and reason


def test_nothing_to_go_back_to():
    good = {"release": "v1.0.0", "images": {"wallet": "r/wallet@sha256:1"}}
    assert judge.possible(good, [], True, False)[0] == PASS
    assert judge.possible(good, [], None, False)[0] == PASS
    assert judge.possible(good, ["the image of wallet is gone"], True, True)[0] == FAIL
    assert judge.possible(good, [], False, True)[0] == FAIL
    assert judge.possible({**good, "images": {}}, [], True, True)[0] == FAIL
    assert judge.possible(None, [], None, False)[0] == FAIL
    assert judge.possible(None, [], None, True)[0] == WARN


def test_a_secret_by_what_is_said_about_it():
    assert judge.secret({"VersionIdsToStages": {"1": ["AWSCURRENT"]}}) == ""
    assert judge.secret({"VersionIdsToStages": {"1": ["AWSPREVIOUS"]}})
    assert judge.secret({})
    assert judge.secret({"VersionIdsToStages": {"1": ["AWSCURRENT"]}, "DeletedDate": "soon"})


ITEMS = st.lists(
    st.builds(Item, st.text("abcdef", min_size=1, max_size=3), st.sampled_from(SEVERITY), st.just("why"), st.just("")),
    max_size=8,
    unique_by=lambda one: one.name,
)


@given(ITEMS, st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.just("a reason"), max_size=4))
def test_go_means_that_each_is_good_or_waived(items, reasons):
    found = judge.result(judge.waive(items, reasons))
    red = {one.name for one in items if one.verdict in (FAIL, ERROR)}
    assert found["go"] == (bool(items) and red <= set(reasons))
    # What was not red is not kept as waived.
    assert set(found["waived"]) == red & set(reasons)
    assert len(judge.table(items).splitlines()) == len(items)


def test_a_waiver_names_an_item_and_a_reason():
    assert judge.bad_waivers(["ci"], {"ci": "it is down"}) == ""
    assert "no item" in judge.bad_waivers(["ci"], {"CI": "it is down"})
    for reason in ("", "  ", None, True, 1):
        assert "without a reason" in judge.bad_waivers(["ci"], {"ci": reason})


def test_the_gravest_of_all():
    assert judge.worst([])[0] == ERROR
    assert judge.worst([(PASS, "a"), (FAIL, "b"), (FAIL, "c")]) == (FAIL, "b; c")
