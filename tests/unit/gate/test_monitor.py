"""The monitor says when an alert condition holds, once, and sees that it cannot see."""

import itertools
import threading
import time

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.gate.gate import Gate
from ansible_collections.eazepay.ops.plugins.module_utils.gate.judge import ERROR, FAIL, NO_DATA, PASS, Holding, Sample
from ansible_collections.eazepay.ops.plugins.module_utils.gate.monitor import Monitor, watching
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import read

CHECKS = read([{"name": "errors", "command": {"argv": ["true"]}}])


def script(*verdicts):
    """A probe that gives one verdict after the other, the last for ever; counts how often it was asked."""
    rest = itertools.chain(verdicts, itertools.repeat(verdicts[-1]))

    def ask(_kind, _options, _since):
        ask.count += 1
        verdict = next(rest)
        return Sample(verdict, f"it said {verdict}")

    ask.count = 0
    return ask


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def watch(*verdicts, consecutive=2, interval=0.01):
    ask = script(*verdicts)
    return Monitor(CHECKS, interval, consecutive, ask=ask).start(), ask


def test_an_alert_is_said():
    monitor, _ask = watch(PASS, FAIL, PASS, FAIL, FAIL)
    until(monitor.breach)
    assert monitor.breach() == "errors: 2 bad answers in a row: it said fail"
    monitor.stop()
    assert [one["verdict"] for one in monitor.report()[0]["samples"]] == [PASS, FAIL, PASS, FAIL, FAIL]


def test_no_alert_without_one():
    monitor, ask = watch(PASS)
    until(lambda: ask.count > 5)
    assert monitor.breach() is None
    monitor.stop()


def test_a_lack_of_data_is_no_alert_but_an_unreachable_source_is():
    monitor, ask = watch(NO_DATA)
    until(lambda: ask.count > 5)
    assert monitor.breach() is None
    monitor.stop()
    monitor, _ask = watch(ERROR)
    until(monitor.breach)
    monitor.stop()


def test_an_alert_interrupted_by_a_lack_of_data_is_still_one():
    monitor, _ask = watch(FAIL, NO_DATA, FAIL)
    until(monitor.breach)
    monitor.stop()


@pytest.mark.parametrize("consecutive", [2, 3, 5])
def test_an_alert_comes_within_two_intervals_of_its_cause(consecutive):
    monitor, _ask = watch(PASS, FAIL, consecutive=consecutive, interval=2)
    until(monitor.breach)
    monitor.stop()
    moments = [one["at"] for one in monitor.report()[0]["samples"]]
    assert len(moments) == 1 + consecutive
    # The cause came after the good answer at the earliest.
    assert moments[1] - moments[0] >= 1.9
    assert moments[-1] - moments[0] < 4


def test_a_failure_takes_the_samples_along():
    options = {"checks": CHECKS, "interval": 0.05}
    with pytest.raises(OpsError) as raised, watching(options) as monitor:
        until(lambda: monitor.report()[0]["samples"])
        raise OpsError("roll out", "it", "of something else")
    assert raised.value.result["monitor"][0]["name"] == "errors"


def test_no_checks_no_monitor():
    for options in (None, {}, {"checks": []}):
        with watching(options) as monitor:
            assert monitor is None
    with watching({"checks": CHECKS}, check_mode=True) as monitor:
        assert monitor is None


def gate(*verdicts, interval=0.01):
    return Gate(CHECKS, interval=interval, ask=script(*verdicts))


def test_the_gate_wants_good_answers_in_a_row():
    one = gate(FAIL, PASS, FAIL, PASS, PASS, PASS)
    one.become(60, 3)
    assert [sample.verdict for sample in one.watched[0].samples] == [FAIL, PASS, FAIL, PASS, PASS, PASS]
    assert one.watched[0].ok
    one.close()


def test_a_gate_without_time_asks_once_and_lets_a_streak_finish():
    one = gate(PASS)
    one.become(0, 3)
    assert one.watched[0].ok
    assert len(one.watched[0].samples) == 3
    one.close()
    one = gate(FAIL)
    one.become(0, 3)
    assert [one.watched[0].verdict, len(one.watched[0].samples)] == [FAIL, 1]
    one.close()


def test_a_hold_that_ends_on_a_bad_answer_asks_again():
    one = gate(FAIL, FAIL, PASS)
    one.hold(0, 0, Holding(3, 10, 4))
    assert one.watched[0].verdict == PASS
    one.close()
    one = gate(FAIL)
    one.hold(0, 0, Holding(3, 10, 4))
    assert one.watched[0].verdict == FAIL
    assert len(one.watched[0].samples) == 3
    one.close()


def test_attempts_under_way_are_never_more_than_the_threads():
    busy, most, lock = [0], [0], threading.Lock()

    def ask(_kind, _options, _since):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.005)
        with lock:
            busy[0] -= 1
        return Sample(PASS)

    checks = read([{"name": str(number), "command": {"argv": ["true"]}} for number in range(30)])
    one = Gate(checks, interval=0.01, threads=4, ask=ask)
    one.become(60, 1)
    one.close()
    assert most[0] <= 4
    assert all(watched.ok for watched in one.watched)


def test_an_attempt_that_hangs_is_an_error():
    ended = threading.Event()
    checks = read([{"name": "hangs", "command": {"argv": ["true"], "timeout": 0.1}}])
    one = Gate(checks, interval=0.01, ask=lambda *_given: ended.wait(60) and Sample(PASS))
    one.become(0, 1)
    ended.set()
    one.close()
    assert one.watched[0].verdict == ERROR
    assert "no answer" in one.watched[0].reason


def test_a_defect_of_a_probe_is_an_error():
    def ask(*_given):
        raise RuntimeError("a defect")

    one = Gate(CHECKS, ask=ask)
    one.become(0, 1)
    one.close()
    assert one.watched[0].verdict == ERROR
