import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.ledger import lease
from hypothesis import given
from hypothesis import strategies as st

owners = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.tuples(st.sampled_from(["take", "give_up", "force", "die", "beat"]), owners, st.floats(0, 40), st.floats(1, 30)),
    max_size=40,
)


@given(steps)
def test_there_is_never_a_second_holder_and_generations_only_grow(happened):
    lock, now, generation = None, 0.0, 0
    believes: dict[str, float] = {}  # owner -> until when it may think that it holds the lock
    ended: set[str] = set()
    for what, owner, passed, ttl in happened:
        now += passed
        holder = (lock or {}).get("owner")
        if what == "die":
            ended.add(owner)
            believes.pop(owner, None)
            continue
        if what == "give_up":
            decision = lease.give_up(lock, owner, now)
            if decision.granted:
                believes.pop(owner, None)
        elif what == "beat":
            decision = lease.beat(lock, owner, now, ttl)
            assert decision.granted is (holder == owner)
            if decision.granted:
                ended.discard(owner)
                believes[owner] = decision.document["expires"]
        else:
            ended.discard(owner)
            force = "because" if what == "force" else ""
            decision = lease.take(lock, owner, "", ttl, now, {}, holder in ended, force)
            if decision.granted:
                if decision.why == "forced":
                    believes.pop(holder, None)
                believes[owner] = decision.document["expires"]
        if decision.document is not None:
            assert decision.document["generation"] >= generation
            generation = decision.document["generation"]
            lock = decision.document
        alive = [one for one, until in believes.items() if until > now]
        assert len(alive) <= 1
        if alive:
            assert lock["owner"] == alive[0]


def test_a_living_holder_is_left_in_peace_and_named():
    held = lease.take(None, "a", "deploy", 60, 100, {"host": "x"}).document
    refused = lease.take(held, "b", "deploy", 60, 159, {})
    assert not refused.granted and refused.holder["owner"] == "a" and refused.document is None
    assert not lease.give_up(held, "b", 159).granted


def test_a_heartbeat_keeps_the_generation_and_never_shortens_the_lease():
    held = lease.take(None, "a", "deploy", 60, 100, {}).document
    again = lease.take(held, "a", "", 60, 90, {})
    assert again.why == lease.MINE and again.document["expires"] == 160 and again.document["purpose"] == "deploy"
    assert lease.take(held, "a", "", 60, 110, {}).document["expires"] == 170


def test_taking_over_says_from_whom_and_why():
    held = lease.take(None, "a", "deploy", 60, 100, {}).document
    for arguments, why in (
        ((160,), "expired"),
        ((110, {}, True), "dead"),
        ((110, {}, False, "gone home"), "gone home"),
    ):
        now, *rest = arguments
        taken = lease.take(held, "b", "", 60, now, *(rest or [{}])).document
        assert taken["taken_from"] == {"owner": "a", "since": 100, "why": why} and taken["generation"] == 2


def test_freeing_twice_is_no_change():
    held = lease.take(None, "a", "", 60, 100, {}).document
    free = lease.give_up(held, "a", 110)
    assert free.granted and lease.give_up(free.document, "a", 111).document is None
    assert lease.take(free.document, "b", "", 60, 120, {}).document["generation"] == 2


@given(st.floats(1, 9000), st.floats(1, 600), st.floats(0, 9000), st.floats(0, 600))
def test_who_beats_keeps_the_lock_for_so_long_and_no_longer(taken_for, ttl, passed, later):
    held = lease.take(None, "a", "deploy", taken_for, 100, {}).document
    now = 100 + passed
    beat = lease.beat(held, "a", now, ttl).document
    assert (beat["owner"], beat["since"], beat["generation"], beat["purpose"]) == ("a", 100, 1, "deploy")
    asked = lease.take(beat, "b", "", 60, now + later, {})
    assert asked.granted is (now + later >= now + ttl)
    # A record's heartbeat, which names no time, keeps to that of the last one.
    assert lease.beat(beat, "a", now + 1).document["expires"] == pytest.approx(now + 1 + ttl)
    # Whom it was taken from, or who gave it back, gets nothing by it.
    assert lease.beat(lease.give_up(beat, "a", now).document, "a", now, ttl).document is None
    assert lease.beat(beat, "b", now + later, ttl).document is None and lease.beat(None, "a", now, ttl).document is None
