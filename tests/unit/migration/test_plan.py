"""What migration tools say, and what follows from their tables."""

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.migration import plan
from hypothesis import given
from hypothesis import strategies as st

names = st.lists(st.sampled_from("abcdefgh"), unique=True)


def test_typeorms_list():
    printed = (
        "query: SELECT 1\n [X] 1 CreateUsers1735689600000\n [X] IndexPhones1738368000000\n[ ] Third1740000000000\n"
    )
    assert plan.known_names(plan.TOOLS["typeorm"], printed) == [
        "CreateUsers1735689600000",
        "IndexPhones1738368000000",
        "Third1740000000000",
    ]


def test_alembics_history():
    printed = "rev2 -> rev3 (head), third\nrev1 -> rev2, second\n<base> -> rev1, first\n"
    tool = plan.TOOLS["alembic"]
    known = plan.known_names(tool, printed)
    assert known == ["rev1", "rev2", "rev3"]
    assert plan.applied_names(tool, ["rev2"], known) == ["rev1", "rev2"]
    assert plan.applied_names(tool, [], known) == []
    assert plan.refusal(known, plan.applied_names(tool, ["gone"], known))
    with pytest.raises(ValueError):
        plan.applied_names(tool, ["rev2", "rev3"], known)


def test_names_in_sources():
    sources = [
        "export class B1738368000000 implements X {}",
        "module.exports = class A1735689600000 {",
        "class Other {}",
    ]
    assert plan.class_names(sources) == ["A1735689600000", "B1738368000000"]


@given(names, st.integers(0, 8))
def test_a_revert_leads_back_to_the_point_and_never_past_it(applied, length):
    point = applied[:length]
    todo = plan.reverts(applied, point)
    assert applied[: len(applied) - len(todo)] == point and todo == applied[len(point) :][::-1]
    assert plan.reverts(point, applied) == []


@given(names, names)
def test_another_history_is_refused(applied, point):
    common = min(len(applied), len(point))
    if applied[:common] == point[:common]:
        plan.reverts(applied, point)
    else:
        with pytest.raises(ValueError):
            plan.reverts(applied, point)


def test_refusals():
    assert "no migration at all" in plan.refusal([], [])
    assert "does not know" in plan.refusal(["a"], ["a", "b"])
    assert not plan.refusal(["a", "b"], ["a"])
    assert not plan.refusal(None, ["a"])


def test_a_run_is_believed_by_the_table_alone():
    assert not plan.run_problem(["a"], ["a", "b"], ["a", "b"])
    assert "b was not applied" in plan.run_problem(["a"], ["a"], ["a", "b"])
    assert "applied twice" in plan.run_problem([], ["a", "a"], ["a"])
    assert "no longer" in plan.run_problem(["a"], ["b"], ["a", "b"])


def test_no_parameters_and_no_stack_in_messages():
    output = (
        'query failed: INSERT INTO u VALUES ($1) -- PARAMETERS: ["Ann"]\n    at Socket.x (/a/b.js:1:2)\nerror: no\n'
    )
    assert "Ann" not in plan.quiet(output) and "b.js" not in plan.quiet(output)
    assert plan.cause_of(output).endswith("error: no")
    # As Node prints an error whose parameters do not fit in a line, and as PostgreSQL explains one.
    printed = (
        "  parameters: [\n    [ 'Cleo' ],\n    [\n      'Ann]'\n    ],\n    'Bob'\n  ],\n"
        "  detail: 'Key (phone)=(+2547) already exists.',\n  code: '23505'"
    )
    quiet = plan.quiet(printed)
    assert (
        not any(word in quiet for word in ("Ann", "Bob", "Cleo", "+2547"))
        and "Key (phone)" in quiet
        and "23505" in quiet
    )
    assert "Ann" not in plan.quiet('-- PARAMETERS: ["x]Ann"]')
    assert "Ann" not in plan.quiet("DETAIL: Failing row contains (1, Ann, (x)).")
    assert plan.last_lines("\x1b[1mone\x1b[0m\ntwo\n", 1) == "two"
    assert plan.cause_of("one\ntwo\n") == "one; two" and plan.cause_of("") == "it said nothing"


def test_a_tool_of_ones_own_must_be_complete():
    with pytest.raises(ValueError, match="run, show, table, column"):
        plan.merged("command", {})
    tool = plan.merged("command", {"commands": {"run": ["r"], "show": ["s"]}, "table": "t", "column": "c"})
    assert tool.order == "c"
    assert plan.merged("typeorm", {"table": "other"}).table == "other"


@given(names, st.integers(0, 8), st.booleans(), st.one_of(st.none(), names), st.sampled_from(["revert", "restore"]))
def test_the_way_back_leads_to_the_point_or_there_is_none(applied, length, revertible, backup, prefer):
    point = applied[:length]
    try:
        way = plan.way_back(applied, point, applied, revertible, backup, prefer)
    except ValueError:
        assert applied != point and (prefer == "restore" or not revertible) and backup != point
        return
    if way.way == "nothing":
        assert applied == point
    elif way.way == "revert":
        assert [name for name in applied if name not in way.migrations] == point and revertible
    else:
        # Nothing is left to revert after it.
        assert plan.way_back(backup, point, applied, revertible, None).way == "nothing"


@given(names, names)
def test_a_database_before_the_point_is_left_alone(point, later):
    """As after the restore of an older backup."""
    both = list(dict.fromkeys([*point, *later]))
    assert plan.way_back(point, both, [], False, None).way == "nothing"


def test_what_only_a_restore_undoes():
    assert plan.way_back(["a", "b"], ["a"], ["a"], True, ["a"]).way == "restore"  # this code does not have b
    assert plan.way_back(["a", "b"], ["a"], ["a", "b"], False, ["a"]).way == "restore"
    assert plan.way_back(["a", "x"], ["a", "b"], ["a", "b"], True, ["a", "b"]).way == "restore"  # another history
    with pytest.raises(ValueError, match="does not have b, and no backup says"):
        plan.way_back(["a", "b"], ["a"], ["a"], True, None)
    with pytest.raises(ValueError, match="the backup is not at the point: it has a, b applied"):
        plan.way_back(["a", "b"], ["a"], ["a"], True, ["a", "b"])


def test_the_restore_of_a_database_is_that_of_all_its_services():
    revert, restore, nothing = (plan.Way(way, [], "") for way in ("revert", "restore", "nothing"))
    assert plan.together([revert, restore, nothing]) == "restore"
    assert plan.together([nothing, revert]) == "revert"
    assert plan.together([nothing]) == plan.together([]) == "nothing"


def record(release, outcome="good", point=None, migrated=None, backup=""):
    return {
        "release": release,
        "outcome": outcome,
        "migration_point": {"identity": point} if point is not None else {},
        "migration_databases": {"identity": "users"},
        "migrated": {"users": migrated or [], "wallet": ["a"]},
        "backup": backup,
        "backup_migrations": {"users": {"migrations": point or []}},
    }


def test_what_was_done_since_a_release():
    first = record("v1.0.0", point=[], migrated=["a"], backup="b1")
    deployed = record("v1.1.0", point=["a"], migrated=["b"], backup="b2")
    again = record("v1.1.0", "failed", point=["a", "b"], migrated=["b"], backup="b2")
    third = record("v1.2.0", "failed", point=["a", "b"], migrated=["c"], backup="b3")
    back = record("v1.0.0", "good")  # services alone
    attempt = record("v1.0.0", "failed", point=["a", "b", "c"], migrated=["a"])
    assert plan.since([deployed, first], "v1.0.0") == {
        "release": "v1.1.0",
        "point": {"identity": ["a"]},
        "backup": "b2",
        "backup_migrations": {"users": {"migrations": ["a"]}},
    }
    for records in ([again, deployed, first], [back, again, deployed, first], [attempt, back, deployed, first]):
        assert plan.since(records, "v1.0.0")["point"] == {"identity": ["a"]}, records
        assert plan.since(records, "v1.0.0")["release"] == "v1.1.0"
    both = plan.since([third, again, deployed, first], "v1.0.0")
    assert (both["release"], both["point"], both["backup"]) == ("v1.2.0", {"identity": ["a"]}, "b2")
    assert plan.since([third, again, deployed, first], "v1.1.0")["point"] == {"identity": ["a", "b"]}
    assert plan.since([deployed, first], "v1.1.0")["point"] == {} == plan.since([], "v1.0.0")["point"]
    assert plan.since([again], "v1.0.0")["point"] == {"identity": ["a"]}  # the first run left no record
