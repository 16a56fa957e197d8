"""The judge fails closed, whatever comes."""

import math

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.gate.judge import (
    ERROR,
    FAIL,
    NO_DATA,
    PASS,
    SEVERITY,
    WARN,
    Holding,
    Limits,
    Sample,
    become,
    bound,
    breach,
    good,
    held,
    series,
    threshold,
    window,
    worst,
)
from hypothesis import given
from hypothesis import strategies as st

ODD = st.sampled_from(["NaN", "+Inf", "-Inf", "", "abc", None, True, [], {}])
VALUE = st.floats(-1e6, 1e6).map(str)
VERDICT = st.sampled_from(SEVERITY)
SAMPLES = st.lists(st.builds(Sample, VERDICT, at=st.integers(0, 30).map(float)), max_size=30)


def vector(*values):
    return {
        "resultType": "vector",
        "result": [{"metric": {"n": str(number)}, "value": [1, value]} for number, value in enumerate(values)],
    }


def matrix(points):
    return {"resultType": "matrix", "result": [{"metric": {}, "values": points}]}


@given(ODD, st.sampled_from(["above", "below"]), st.floats(-1e9, 1e9))
def test_what_is_no_number_never_passes(value, direction, limit):
    verdict, _reason = threshold(value, Limits(limit, limit, direction))
    assert verdict in (NO_DATA, FAIL, ERROR)
    assert not good(verdict)


@given(st.lists(VALUE, max_size=5), st.lists(ODD, min_size=1, max_size=3), st.randoms())
def test_one_odd_series_or_point_spoils_all(values, odd, random):
    mixed = values + odd
    random.shuffle(mixed)
    assert not good(series(vector(*mixed), None, Limits(None, 1e9))[0])
    points = [[at, value] for at, value in enumerate(mixed)]
    random.shuffle(points)
    for judge in ("worst", "mean"):
        assert not good(series(matrix(points), 1, Limits(None, 1e9), judge)[0])


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from(["above", "below"]))
def test_a_looser_limit_is_never_harsher(value, limit, more, direction):
    looser = limit + more if direction == "above" else limit - more
    strict = threshold(value, Limits(limit, limit, direction))[0]
    assert SEVERITY.index(threshold(value, Limits(looser, looser, direction))[0]) <= SEVERITY.index(strict)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_a_worse_value_is_never_judged_better(value, limit, more):
    limits = Limits(limit, limit + 1)
    assert SEVERITY.index(threshold(value + more, limits)[0]) >= SEVERITY.index(threshold(value, limits)[0])


@pytest.mark.parametrize(
    "value, expected",
    [(0.5, PASS), (1, PASS), (1.5, WARN), (2, WARN), (2.1, FAIL), ("+Inf", FAIL), ("-Inf", ERROR), ("NaN", NO_DATA)],
)
def test_between_target_and_alert_it_warns(value, expected):
    assert threshold(value, Limits(1, 2))[0] == expected


@given(st.floats() | st.none())
def test_a_question_for_data_alone_says_so_and_wants_a_number(value):
    verdict, reason = threshold(value, Limits(unit="ratio", any_value=True))
    finite = value is not None and math.isfinite(value)
    assert (verdict == PASS) is finite and ("not judged" in reason) is finite and "above" not in reason


@pytest.mark.parametrize(
    "data, expected",
    [
        (None, ERROR),
        ("<html>", ERROR),
        ({"resultType": "vector", "result": []}, NO_DATA),
        ({"resultType": "vector", "result": None}, ERROR),
        ({"resultType": "string", "result": [1, "0"]}, ERROR),
        ({"resultType": "scalar", "result": [1, "0"]}, PASS),
        (vector("0"), PASS),
        (vector("0", "0"), ERROR),
        ({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {}]}]}, ERROR),
        ({"resultType": "vector", "result": ["x"]}, ERROR),
        (matrix([]), NO_DATA),
        (matrix([[1, "0"], [1, "5"]]), ERROR),
        (matrix([[1, "0"], [1, "0"]]), PASS),
        (matrix([["x", "0"]]), ERROR),
        (matrix([[2, "0"], [1, "5"]]), FAIL),
    ],
)
def test_odd_answers_of_prometheus(data, expected):
    assert series(data, 1, Limits(None, 1))[0] == expected


def test_the_same_series_twice_is_an_error():
    row = {"metric": {"a": "b"}, "value": [1, "0"]}
    assert series({"resultType": "vector", "result": [row, row]}, 2, Limits(None, 1))[0] == ERROR


def test_the_last_point_is_the_latest_and_not_the_last_in_the_list():
    assert series(matrix([[3, "9"], [1, "0"], [2, "0"]]), 1, Limits(None, 1), "last")[0] == FAIL


def test_too_few_points_are_no_data():
    assert series(matrix([[1, "0"]]), 1, Limits(None, 1), min_points=2)[0] == NO_DATA


@given(SAMPLES, st.integers(1, 5), st.randoms())
def test_order_and_repetition_of_samples_change_nothing(samples, consecutive, random):
    mixed = samples + samples
    random.shuffle(mixed)
    assert become(mixed, consecutive)[0] == become(samples, consecutive)[0]
    rules = Holding(consecutive, 10, 4)
    assert (breach(mixed, rules) is None) == (breach(samples, rules) is None)


@given(SAMPLES, st.integers(1, 5))
def test_become_passes_only_with_enough_good_moments(samples, consecutive):
    if good(become(samples, consecutive)[0]):
        moments = {one.at for one in samples}
        bad = {one.at for one in samples if not good(one.verdict)}
        assert len(moments) >= consecutive
        assert not bad & set(sorted(moments)[-consecutive:])


@given(SAMPLES)
def test_a_watch_holds_only_with_a_good_last_sample(samples):
    verdict, _reason, final = held(samples, Holding())
    if good(verdict):
        last = max(one.at for one in samples)
        assert final
        assert all(good(one.verdict) for one in samples if one.at == last)


@given(SAMPLES, st.integers(1, 5), st.integers(0, 3), st.integers(1, 8), st.integers(0, 3))
def test_stricter_rules_break_no_later(samples, failures, more, bad, further):
    if breach(samples, Holding(failures + more, 10, bad + further)):
        assert breach(samples, Holding(failures, 10, bad))


@pytest.mark.parametrize("policy, expected", [("fail", False), ("warn", True), ("pass", True)])
def test_no_data_means_what_the_check_says_but_an_error_is_never_good(policy, expected):
    assert good(NO_DATA, policy) is expected
    assert good(ERROR, policy) is False
    assert good(FAIL, policy) is False


def test_nothing_at_all_is_no_data():
    assert worst([]) == NO_DATA
    assert become([], 1)[0] == ERROR
    assert held([], Holding())[0] == NO_DATA


def test_flapping_breaks_a_watch_though_never_twice_in_a_row():
    flapping = [Sample(FAIL if at % 2 else PASS, at=float(at)) for at in range(9)]
    assert breach(flapping, Holding(3, 10, 4))
    assert not breach(flapping[:4], Holding(3, 10, 4))


@pytest.mark.parametrize("since, expected", [(None, 300), (0, 300), (900, 100), (1000, 0), (2000, 0)])
def test_a_window_never_reaches_back_before_the_rollout(since, expected):
    assert window(300, 1000, since) == expected
    assert not math.isnan(window(300, 1000, since))


NUMBERS = st.floats(0, 1e9)


@given(NUMBERS, st.floats(1, 100), NUMBERS, st.sampled_from(["above", "below"]))
def test_a_baseline_excuses_what_was_before_and_what_is_as_good_as_the_floor(before, factor, floor, direction):
    alert = Limits(None, bound(before, factor, floor, direction), direction)
    for value in (before, floor):
        assert threshold(value, alert)[0] == PASS
    worse = max(before * factor, floor) + 1 if direction == "above" else min(before / factor, floor) - 1
    assert threshold(worse, alert)[0] == FAIL
