"""The engine on a simulated target: whatever happens, the order holds and nothing is left half rolled."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.engine import Engine
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.plan import plan, services
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.run import rollout
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.types import Options, Plan
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rollout.simulated import Fate, Simulated

ENDS = ["well", "well", "well", "failed", "failing", "never", "refused", "relapse"]


@st.composite
def situations(draw):
    """Services with random dependencies, and what becomes of each."""
    count = draw(st.integers(1, 7))
    raw, fates = [], {}
    for index in range(count):
        name = f"s{index}"
        needs = (
            draw(st.lists(st.sampled_from([f"s{one}" for one in range(index)]), unique=True, max_size=3))
            if index
            else []
        )
        raw.append(
            {
                "name": name,
                "image": draw(st.sampled_from(["shop/app:1", "shop/app:2", "shop/app:2"])),
                "depends_on": needs,
            }
        )
        fates[name] = Fate(
            takes=draw(st.sampled_from([0.0, 1.0, 4.0, 30.0])),
            end=draw(st.sampled_from(ENDS)),
            back=draw(st.sampled_from(["well", "well", "well", "failed", "never", "refused"])),
        )
    draw(st.randoms()).shuffle(raw)
    options = Options(
        on_failure=draw(st.sampled_from(["rollback_all", "rollback_failed", "hold"])),
        max_parallel=draw(st.integers(0, 3)),
        timeout=draw(st.sampled_from([60.0, 300.0])),
        rollback_timeout=60.0,
        soak=draw(st.sampled_from([0.0, 10.0])),
    )
    interrupt = draw(st.sampled_from([None, None, 1.0, 5.0, 12.0, 35.0]))
    return raw, fates, options, interrupt


def execute(raw, fates, options, interrupt=None, monitor=None):
    driver = Simulated(fates, interrupt)
    wanted = services(raw)
    steps = plan(wanted, driver.observe(wanted))
    engine = Engine(driver, steps, options, monitor=monitor, clock=driver.clock)
    return engine.run(), driver, {service.name: service.depends_on for service in wanted}


@settings(max_examples=200, deadline=None)
@given(situations())
def test_whatever_happens(situation):
    raw, fates, options, interrupt = situation
    report, driver, needs = execute(raw, fates, options, interrupt)
    acts = [name for what, name in driver.log if what == "apply"]
    backs = [name for what, name in driver.log if what == "back"]
    tracks = {track.name: track for track in report.tracks}

    # Nobody is rolled or put back twice; who needs nothing is not touched.
    assert len(acts) == len(set(acts))
    assert len(backs) == len(set(backs))
    assert not {name for name, track in tracks.items() if track.step.action == "none"} & {*acts, *backs}

    # Never a dependent before what it depends on is healthy; never put back before its dependents are.
    for name in acts:
        for needed in needs[name]:
            if tracks[needed].step.action != "none":
                assert driver.log.index(("judged healthy", needed)) < driver.log.index(("apply", name))
    for name in backs if options.on_failure == "rollback_all" else ():
        for other in backs:
            if name in needs[other]:
                assert backs.index(other) < backs.index(name)

    # It always ends, and says how each stands.
    assert all(track.phase not in ("rolling", "queued", "returning") for track in report.tracks)
    if report.ok:
        assert {track.phase for track in report.tracks} <= {"healthy", "unchanged"}
        assert {name for what, name in driver.log if what == "finish"} == set(acts)
        assert not backs
    else:
        assert not [what for what, _ in driver.log if what == "finish"]
        if options.on_failure == "rollback_all":
            assert set(backs) == set(acts)
            assert all(tracks[name].phase in ("rolled_back", "rollback_failed") for name in acts)
            for name in acts:
                if fates[name].back == "well":
                    assert tracks[name].phase == "rolled_back"
                    assert driver.standing.get(name, "old") == "old"
        elif options.on_failure == "hold":
            assert not backs
        else:
            assert set(backs) == {track.name for track in report.tracks if track.cause and track.touched}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4))
def test_no_more_at_once_than_allowed(count, limit):
    raw = [{"name": f"s{index}", "image": "shop/app:2"} for index in range(count)]
    driver = Simulated({one["name"]: Fate(takes=5.0) for one in raw})
    most = 0
    judge = driver.judge

    def counting(name):
        nonlocal most
        most = max(most, sum(driver.now - began < 5.0 for _, began in driver.begun.values()))
        return judge(name)

    driver.judge = counting
    wanted = services(raw)
    report = Engine(driver, plan(wanted, driver.observe(wanted)), Options(max_parallel=limit), clock=driver.clock).run()
    assert report.ok
    assert most == min(count, limit)


def chain(*ends, **more):
    raw = [
        {"name": f"s{index}", "image": "shop/app:2", "depends_on": [f"s{index - 1}"] if index else []}
        for index in range(len(ends))
    ]
    return raw, {f"s{index}": Fate(end=end, **more) for index, end in enumerate(ends)}


def test_the_reverse_order():
    report, driver, _ = execute(*chain("well", "well", "failed", "well"), Options())
    assert [name for what, name in driver.log if what == "back"] == ["s2", "s1", "s0"]
    assert [track.outcome() for track in report.tracks] == ["rolled_back", "rolled_back", "rolled_back", "skipped"]
    assert report.cause.code == "image_not_found"


def test_a_permanent_cause_does_not_wait():
    report, _, _ = execute(*chain("failed"), Options(timeout=600))
    assert report.seconds < 12


def test_a_passing_cause_has_its_grace():
    report, _, _ = execute(*chain("failing"), Options(timeout=600, graces={"crash_loop": 50.0}))
    assert 50 <= report.seconds < 65


def test_a_time_out_says_so():
    report, _, _ = execute(*chain("never"), Options(timeout=40))
    assert report.cause.code == "timeout"
    assert "40 s" in report.cause.text


def test_a_relapse_counts_while_it_soaks():
    assert execute(*chain("relapse"), Options(soak=0))[0].ok
    report, _, _ = execute(*chain("relapse"), Options(soak=20))
    assert report.cause.code == "crash_loop"
    assert report.rolled_back == ["s0"]


def test_a_monitor_stops_the_next_wave():
    report, driver, _ = execute(
        *chain("well", "well", takes=10.0), Options(), monitor=lambda: None if not_yet() else "the error rate is 12 %"
    )
    assert report.cause.code == "monitor"
    assert ("apply", "s1") not in driver.log
    assert report.rolled_back == ["s0"]


asked = iter([True, False])


def not_yet():
    return next(asked, False)


def test_a_defect_does_not_leave_services_half_rolled():
    raw, fates = chain("well", "well")
    driver = Simulated(fates)
    broken = iter([False, True])
    changes = driver.changes

    def failing(timeout):
        if next(broken, False):
            raise KeyError("oops")
        return changes(timeout)

    driver.changes = failing
    wanted = services(raw)
    report = Engine(driver, plan(wanted, driver.observe(wanted)), Options(), clock=driver.clock).run()
    assert report.cause.code == "driver"
    assert report.rolled_back == ["s0"]


def test_what_a_dead_run_touched_goes_back_though_this_one_had_not_come_to_it():
    raw, fates = chain("failed", "well", "well")
    driver = Simulated(fates)
    wanted = services(raw)
    first, *later = plan(wanted, driver.observe(wanted)).steps
    half, untouched = later
    half = dataclasses.replace(half, action="adopt")
    driver.standing[half.name] = "new"
    report = Engine(driver, Plan((first, half, untouched)), Options(), clock=driver.clock).run()
    assert {track.name: track.outcome() for track in report.tracks} == {
        first.name: "rolled_back",
        half.name: "rolled_back",
        untouched.name: "skipped",
    }
    assert [name for what, name in driver.log if what == "back"] == [half.name, first.name]
    assert driver.standing[half.name] == "old"


def test_nothing_is_touched_in_check_mode():
    raw, fates = chain("well", "well")
    driver = Simulated(fates)
    result = rollout({"services": raw}, check=True, driver=driver)
    assert result["changed"]
    assert [one["outcome"] for one in result["services"]] == ["planned", "planned"]
    assert driver.log == []


def test_the_message_says_what_why_and_what_next():
    raw, fates = chain("well", "refused")
    with pytest.raises(OpsError) as raised:
        rollout({"services": raw, "release": "v2", "namespace": "shop"}, driver=Simulated(fates))
    message = raised.value.message
    assert message.startswith("Failed to roll out release v2: s1: denied")
    assert "put back and healthy: s1, s0" in message or "put back and healthy: s0, s1" in message
    assert message.splitlines()[-1] == "Next: kubectl -n shop get events --field-selector type=Warning"
