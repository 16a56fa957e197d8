"""Which backups serve again, which stay, and what a changed manifest is worth."""

from datetime import datetime, timezone

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.backup.manifest import (
    Backup,
    differing,
    parse,
    text_of,
    verified_level,
    verified_text,
)
from ansible_collections.eazepay.ops.plugins.module_utils.backup.plan import (
    filters_of,
    part_size,
    place_of,
    remaining,
    reusable,
    seconds,
    slug,
    space_needed,
    streamed,
)
from ansible_collections.eazepay.ops.plugins.module_utils.backup.retention import fates
from hypothesis import given
from hypothesis import strategies as st

DAY = 86400
NOW = 1_800_000_000.0


def backup(id_, age=0.0, verified="read", release="", databases=("a",), broken="", migrations=None):
    return Backup(id_, NOW - age, release, databases, "1", 10, verified, migrations or {}, f"/b/{id_}", broken)


backups = st.lists(
    st.builds(
        backup,
        st.uuids().map(str),
        age=st.floats(0, 400 * DAY),
        verified=st.sampled_from([None, "read", "restore"]),
        release=st.sampled_from(["", "v1", "v2"]),
        databases=st.sampled_from([("a",), ("b",), ("a", "b")]),
        broken=st.sampled_from(["", "", "", "torn"]),
    ),
    unique_by=lambda one: one.id,
    max_size=25,
)
rules = st.fixed_dictionaries(
    {}, optional={name: st.integers(0, 5) for name in ("last", "days", "daily", "weekly", "monthly", "yearly")}
)


@given(backups, rules, st.sampled_from([[], ["v1"]]))
def test_pruning_never_takes_what_may_be_needed(all_, keep, open_releases):
    verdicts = {fate.id: fate for fate in fates(all_, keep, NOW, open_releases)}
    assert set(verdicts) == {one.id for one in all_}
    for group in {one.set for one in all_}:
        mine = [one for one in all_ if one.set == group and not one.broken]
        verified = sorted((one for one in mine if one.verified), key=lambda one: (one.created, one.id))
        if verified:
            assert verdicts[verified[-1].id].keep
        else:
            assert all(verdicts[one.id].keep for one in mine)
        kept = [one for one in verified if verdicts[one.id].keep]
        assert len(kept) >= min(keep.get("last", 0), len(verified))
    for one in all_:
        if one.broken or (one.release in open_releases and one.release) or not any(keep.values()):
            assert verdicts[one.id].keep
        if keep.get("days") and one.verified and not one.broken and one.created >= NOW - keep.get("days", 0) * DAY:
            assert verdicts[one.id].keep


@given(backups, rules)
def test_what_survived_a_pruning_survives_the_next(all_, keep):
    kept = {fate.id for fate in fates(all_, keep, NOW) if fate.keep}
    again = {fate.id for fate in fates([one for one in all_ if one.id in kept], keep, NOW) if fate.keep}
    assert again == kept


def test_grandfather_father_son():
    daily = [backup(f"{day:03}", day * DAY) for day in range(100)]
    kept = [fate.id for fate in fates(daily, {"daily": 3, "weekly": 2, "monthly": 2}, NOW) if fate.keep]
    assert kept[:3] == ["000", "001", "002"] and 4 <= len(kept) <= 7


@given(backups, rules)
def test_each_rule_of_gfs_keeps_the_newest_of_each_of_its_periods(all_, keep):
    """Counted another way: day by day, week by week, from the newest verified backup back."""
    kept = {fate.id for fate in fates(all_, keep, NOW) if fate.keep}
    spelled = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}
    for group in {one.set for one in all_}:
        verified = [one for one in all_ if one.set == group and one.verified and not one.broken]
        verified.sort(key=lambda one: (one.created, one.id))
        for rule, spelling in spelled.items():
            newest = {}
            for one in verified:
                newest[datetime.fromtimestamp(one.created, timezone.utc).strftime(spelling)] = one.id
            for period in sorted(newest, reverse=True)[: keep.get(rule, 0)]:
                assert newest[period] in kept


@given(backups, rules, st.sampled_from([[], ["v1"], ["v1", "v2"]]))
def test_what_goes_is_kept_by_nothing_and_says_why(all_, keep, open_releases):
    by_id = {one.id: one for one in all_}
    for fate in fates(all_, keep, NOW, open_releases):
        one = by_id[fate.id]
        assert fate.reason
        if not fate.keep:
            assert not one.broken and one.release not in open_releases and any(keep.values())
            rivals = [other for other in all_ if other.set == one.set and other.verified and not other.broken]
            assert any((other.created, other.id) > (one.created, one.id) or not one.verified for other in rivals)


def test_unverified_ones_neither_count_nor_outlive_a_newer_verified_one():
    all_ = [backup("new", 1, None), backup("good", 2), backup("bad", 3, None), backup("old", 4)]
    verdicts = {fate.id: fate.keep for fate in fates(all_, {"last": 1}, NOW)}
    assert verdicts == {"new": True, "good": True, "bad": False, "old": False}


@pytest.mark.parametrize(
    "changes",
    [
        {"release": "v2"},
        {"databases": ("a", "b")},
        {"verified": None},
        {"broken": "torn"},
        {"age": 2 * DAY},
        {"migrations": {"a": {"migrations": ["x"]}}},
    ],
)
def test_a_backup_serves_again_only_when_everything_fits(changes):
    fitting = {"release": "v1", "age": 60.0}
    arguments = (["a"], "v1", "1", {}, float(DAY), NOW)
    assert reusable([backup("one", **fitting)], *arguments)
    assert not reusable([backup("one", **{**fitting, **changes})], *arguments)
    assert not reusable([backup("one", **fitting)], ["a"], "v1", "2", {}, float(DAY), NOW)
    assert not reusable([backup("one", **fitting)], ["a"], "v1", "1", {}, 0, NOW)


def test_the_migrations_of_the_release_itself_make_its_backup_no_older():
    taken = [backup("one", release="v1", age=60.0)]
    now = (["a"], "v1", "1", {"a": {"migrations": ["x"]}}, float(DAY), NOW)
    assert not reusable(taken, *now)
    assert reusable(taken, *now, {"a": ["x"]})
    assert not reusable(taken, *now, {"a": ["y"], "b": ["x"]})


def test_a_backup_of_what_is_now_is_reused_but_the_way_back_comes_first():
    before = backup("before", release="v1", age=120.0)
    after = backup("after", release="v1", age=60.0, migrations={"a": {"migrations": ["x"]}})
    now = (["a"], "v1", "1", {"a": {"migrations": ["x"]}}, float(DAY), NOW, {"a": ["x"]})
    assert reusable([after], *now).id == "after"
    assert reusable([before, after], *now).id == "before"


@given(st.integers(min_value=0), st.integers(0, 7), st.dictionaries(st.text(), st.integers() | st.text(), max_size=5))
def test_no_bit_of_a_manifest_changes_unseen(position, bit, content):
    data = bytearray(text_of({**content, "format": 1}).encode())
    assert parse(bytes(data))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(ValueError):
        parse(bytes(data))


def test_a_note_of_verification_holds_for_its_manifest_alone():
    note = verified_text("restore", NOW, {"id": "x"}, "digest").encode()
    assert verified_level(note, "digest") == "restore"
    assert verified_level(note, "other") is None
    assert verified_level(note[:-2], "digest") is None
    assert verified_level(None, "digest") is None


def test_files_that_differ():
    whole = {"a": {"bytes": 1, "sha256": "x"}, "b": {"bytes": 1, "sha256": "y"}}
    assert not differing(whole, whole)
    found = {"a": {"bytes": 2, "sha256": "x"}, "b": {"bytes": 1, "sha256": "z"}, "c": {"bytes": 0, "sha256": ""}}
    assert [line.split(" ")[0] for line in differing(whole, found)] == ["a", "b", "c"]
    assert differing(whole, {}) == ["a is missing", "b is missing"]


@given(st.integers(0, 40 << 40))
def test_parts_are_few_enough_for_s3_and_small_enough_for_memory(expected):
    part = part_size(expected)
    assert part * 10_000 >= expected * 2 and part >= 5 << 20
    assert expected > (8 << 20) * 5_000 or part == 8 << 20


@pytest.mark.parametrize(
    ("format", "bucket", "encrypted", "stream"),
    [
        ("auto", False, False, False),
        ("directory", False, False, False),
        ("custom", False, False, True),
        ("auto", True, False, True),
        ("auto", False, True, True),
        ("directory", True, False, None),
        ("directory", False, True, None),
    ],
)
def test_where_a_dump_is_one_stream(format, bucket, encrypted, stream):
    if stream is None:
        with pytest.raises(ValueError):
            streamed(format, bucket, encrypted)
    else:
        assert streamed(format, bucket, encrypted) is stream


def test_filters():
    assert filters_of(True, "0", "auto", True, ["age1x"]) == ["zstd", "age"]
    assert filters_of(True, "zstd:1", "auto", True, []) == []
    assert filters_of(True, "0", "0", True, []) == []
    assert filters_of(True, "0", "auto", False, []) == []
    assert filters_of(False, "0", "auto", True, []) == []


@pytest.mark.parametrize(
    ("manifest", "place"),
    [
        ("/b/x/manifest.json", ("/b", "x")),
        ("/b/x/", ("/b", "x")),
        ("/x", ("/", "x")),
        ("x", (".", "x")),
        ("s3://b/p/x/manifest.json", ("s3://b/p", "x")),
        ("s3://b/x", ("s3://b", "x")),
    ],
)
def test_places(manifest, place):
    assert place_of(manifest) == place


def test_what_remains():
    assert remaining(10, 0.5, 0, 0) == ", about 10 s left"
    assert remaining(10, 0.1, 4, 4) == ", about 3 s left"
    assert remaining(10, 0.0, 0, 4) == ""
    assert remaining(10, 2.0, 4, 4) == ", about 0 s left"


def test_small_things():
    assert [seconds(one) for one in ("90", 90, "1.5h", "7d")] == [90, 90, 5400, 604800]
    with pytest.raises(ValueError):
        seconds("soon")
    assert slug("we ird/../ü") == "we-ird"
    assert space_needed(1 << 30, True) < space_needed(1 << 30, False)
