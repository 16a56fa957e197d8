import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.ledger import judge
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text(max_size=6).filter(lambda k: k not in ("schema", "sha256")), json_values, max_size=5)


@given(bodies)
def test_what_is_stored_comes_back(body):
    assert judge.decode(judge.encode(body)) == body


@given(bodies, st.data())
def test_what_was_cut_off_is_never_taken_for_whole(body, data):
    whole = judge.encode(body)
    cut = data.draw(st.integers(0, len(whole) - 2))
    with pytest.raises(judge.Unreadable):
        judge.decode(whole[:cut])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"schema": 2, "x": 1}', "its format is 2"),
        (b'{"schema": 1, "x": 1}', "changed by hand"),
        (b'{"x": 1}', "no format number"),
        (b"[]", "no JSON object"),
        (b"\xff", "truncated"),
    ],
)
def test_what_must_not_be_trusted_says_why(data, why):
    with pytest.raises(judge.Unreadable, match=why):
        judge.decode(data)


def record(number, release, outcome):
    return {"id": f"2026112{number}T000000Z-{release}", "release": release, "outcome": outcome}


def releases(*found):
    return [record(len(found) - index, *one) for index, one in enumerate(found)]


@pytest.mark.parametrize(
    ("newest_first", "in_place", "target"),
    [
        ([], "", None),
        ([("v1", "good")], "v1", None),
        ([("v2", "good"), ("v1", "good")], "v2", "v1"),
        ([("v2", "failed"), ("v1", "good")], "v2", "v1"),
        ([("v2", "running"), ("v1", "good")], "v2", "v1"),
        ([("v2", "rolled_back"), ("v1", "good"), ("v0", "good")], "v1", "v0"),
        ([("v1", "good"), ("v2", "good"), ("v1", "good")], "v1", "v2"),
        ([("v3", "failed"), ("v3", "failed"), ("v2", "good"), ("v1", "good")], "v3", "v2"),
        ([("v2", "rolled_back")], "", None),
    ],
)
def test_what_is_in_place_and_where_to_go_back_to(newest_first, in_place, target):
    standing = judge.standing(releases(*newest_first))
    assert standing.in_place == in_place
    assert (standing.roll_back_to or {}).get("release") == target


def test_a_second_rollback_does_not_bring_back_what_the_first_one_left():
    back = {**record(4, "v2", "good"), "rolled_back_from": "v3"}
    history = [back, record(3, "v3", "good"), record(2, "v2", "good"), record(1, "v1", "good")]
    assert (judge.standing(history).roll_back_to or {})["release"] == "v1"
    # Deployed again, and found good, it is as good as any.
    again = [record(6, "v4", "good"), record(5, "v3", "good"), *history]
    assert (judge.standing(again).roll_back_to or {})["release"] == "v3"


def test_a_rollback_that_was_refused_changes_nothing():
    refused = {**record(3, "v1", "failed"), "rolled_back_from": "v2"}
    history = [refused, record(2, "v2", "good"), record(1, "v1", "good")]
    standing = judge.standing(history)
    assert standing.in_place == "v2" and standing.roll_back_to["release"] == "v1"
    begun = {**refused, "services": [{"name": "a", "outcome": "failed"}]}
    assert judge.standing([begun, *history[1:]]).in_place == "v1"


RELEASES = st.lists(st.tuples(st.sampled_from(["v1", "v2", "v3", "v4"]), st.sampled_from(["good", "failed", "back"])))
OUTCOMES_OF_SERVICES = ("unchanged", "skipped", "healthy", "failed", "rolled_back", "rollback_failed")


@given(
    RELEASES,
    # By service, on each of its hosts.
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(OUTCOMES_OF_SERVICES)), max_size=4),
    st.sets(st.sampled_from("ab")),
    st.booleans(),
)
def test_a_rollback_that_was_put_back_changed_nothing_and_any_other_may_have(runs, outcomes, put_back, stuck):
    history = releases(*((release, "good" if outcome == "back" else outcome) for release, outcome in runs))
    services = [{"name": name, "outcome": outcome} for name, outcome in outcomes]
    told = {"services": services, "put_back": sorted(put_back), "stuck": ["portals: of v0"] if stuck else []}
    failed = {**record(9, "v0", "failed"), "rolled_back_from": "v9", **told}
    before, after = judge.standing(history), judge.standing([failed, *history])
    touched = {name for name, outcome in outcomes if outcome not in ("unchanged", "skipped")}
    stayed = {name for name, outcome in outcomes if outcome in ("failed", "rollback_failed")}
    if not touched or (touched <= put_back and not stayed and not stuck):
        assert after == before, "the next rollback goes where this one was to go"
    else:
        assert (after.in_place, after.newest) == ("v0", "v0")
        # Nor is it taken for undone when a record does not say what was put back.
        silent = {key: value for key, value in failed.items() if key not in ("put_back", "stuck")}
        assert judge.standing([silent, *history]).in_place == "v0"


def test_a_service_that_stayed_on_one_of_its_hosts_was_not_put_back():
    services = [{"name": "a", "outcome": "rolled_back"}, {"name": "a", "outcome": "rollback_failed"}]
    failed = {**record(2, "v2", "failed"), "services": services, "put_back": ["a"]}
    assert judge.standing([failed, record(1, "v1", "good")]).in_place == "v2"


def test_what_failed_and_was_put_back_is_not_in_place():
    before = [record(2, "v1", "good"), record(1, "v0", "good")]
    failed = record(3, "v2", "failed")
    rolled = [{"name": "a", "outcome": "rolled_back"}, {"name": "b", "outcome": "skipped"}]
    for told, in_place in (
        ({}, "v2"),
        ({"services": []}, "v1"),
        ({"services": rolled}, "v2"),
        ({"services": rolled, "put_back": ["a"]}, "v1"),
        ({"services": rolled, "put_back": ["a"], "stuck": ["portals: forbidden"]}, "v2"),
        ({"services": [{"name": "a", "outcome": "healthy"}, *rolled], "put_back": []}, "v2"),
    ):
        standing = judge.standing([{**failed, **told}, *before])
        assert (standing.in_place, standing.newest) == (in_place, "v2"), told
        # Where to go back to does not depend on it: that is where everything is, or has to be.
        assert (standing.roll_back_to or {})["release"] == "v1"


def found_by(number, release, before, outcome="good"):
    service = {"name": "api", "outcome": "healthy", "before": {"release": "", "images": {"app": f"shop/api:{before}"}}}
    return {**record(number, release, outcome), "services": [service]}


def test_a_run_that_put_back_what_a_dead_one_had_done_leaves_what_was_there_before():
    services = [{"name": "wallet", "outcome": "unchanged"}]
    dead = {"id": "2", "release": "v2", "outcome": "running"}
    good = {"id": "1", "release": "v1", "outcome": "good"}
    failed = {"id": "3", "release": "v2", "outcome": "failed", "services": services, "put_back": ["wallet"]}
    assert judge.standing([failed, dead, good]).in_place == "v2", "it failed before it came to that"
    assert judge.standing([{**failed, "took_back": True}, dead, good]).in_place == "v1"
    assert judge.standing([{**failed, "took_back": True, "stuck": ["portals"]}, dead, good]).in_place == "v2"
    later = {"id": "4", "release": "v2", "outcome": "running"}
    assert judge.standing([later, {**failed, "took_back": True}, dead, good]).in_place == "v2"


def test_without_a_good_record_what_was_found_in_place_is_the_way_back():
    first = found_by(1, "v1.1.0", "v1.0.0")
    # A second run of the release found the release itself.
    history = [found_by(2, "v1.1.0", "v1.1.0"), first]
    expected = {"release": "v1.0.0", "images": {"api": "shop/api:v1.0.0"}}
    assert judge.standing(history).roll_back_to == expected
    failed = [found_by(3, "v1.2.0", "v1.1.0", "failed"), *history]
    assert judge.standing(failed).roll_back_to["id"] == history[0]["id"]
    # By its name, it is found all the same.
    assert judge.standing(failed, "v1.0.0").roll_back_to == expected
    assert judge.standing(failed, "v1.1.0").roll_back_to["id"] == history[0]["id"]
    assert judge.standing(failed, "v0.9.0").roll_back_to is None
    assert judge.standing([{**first, "rolled_back_from": "v1.2.0"}]).roll_back_to is None


def test_a_rollback_that_was_undone_can_be_done_again():
    first = found_by(1, "v1.1.0", "v1.0.0")
    back = {**record(2, "v1.0.0", "good"), "rolled_back_from": "v1.1.0"}
    again = {**record(3, "v1.1.0", "good"), "rolled_back_from": "v1.0.0"}
    assert judge.standing([back, first]).roll_back_to is None
    assert judge.standing([again, back, first]).roll_back_to["release"] == "v1.0.0"


def test_what_was_found_is_the_good_release_when_it_is_of_the_same_images():
    """Nobody wrote its name on the services: somebody brought it in another way, and recorded it."""
    images = {"wallet": "registry/wallet:7"}
    good = {"release": "v1", "outcome": "good", "images": images}
    service = {"name": "wallet", "before": {"images": {"main": "registry/wallet:7"}}}
    dead = {"release": "v2", "outcome": "running", "services": [service]}
    assert judge.standing([dead, good]).roll_back_to == good
    by_hand = {"name": "wallet", "before": {"images": {"main": "registry/wallet:8"}}}
    assert judge.standing([{**dead, "services": [by_hand]}, good]).roll_back_to["release"] == "8"


def test_what_failed_is_no_way_back_even_when_it_was_found_in_place():
    history = [found_by(3, "v3", "v2"), record(2, "v2", "failed"), record(1, "v1", "good")]
    assert judge.standing(history).roll_back_to["release"] == "v1"


@given(RELEASES)
def test_rolling_back_again_and_again_ends_and_never_returns(runs):
    history = []
    for number, (release, outcome) in enumerate(runs):
        if outcome == "back":
            target = judge.standing(history).roll_back_to
            if target:
                left = judge.standing(history).newest
                history.insert(0, {**record(number, target["release"], "good"), "rolled_back_from": left})
        else:
            history.insert(0, record(number, release, outcome))
    been = []
    while (target := judge.standing(history).roll_back_to) is not None:
        left = judge.standing(history).newest
        assert target["outcome"] == "good" and target["release"] != left
        been.append(target["id"])
        history.insert(0, {**record(len(history), target["release"], "good"), "rolled_back_from": left})
        assert len(been) <= len(runs) + 1
    # Not before everything that was good and is still in the chain has had its turn.
    assert not history or len(judge.chain(history)) <= 1 or len({one["release"] for one in judge.chain(history)}) == 1


def test_only_an_unreadable_record_above_the_last_good_one_matters():
    good = record(5, "v5", "good")
    assert judge.doubtful({"20261124T000000Z-v4": "cut"}, [good]) == []
    assert judge.doubtful({"20261126T000000Z-v6": "cut"}, [good]) == ["20261126T000000Z-v6"]
    assert judge.doubtful({"20261126T000000Z-v6": "cut"}, []) == ["20261126T000000Z-v6"]


def test_merging_keeps_what_is_not_said_again():
    merged = judge.merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]})
    assert merged == {
        "a": {"b": 1, "c": 3},
        "d": [2],
    }
