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
    assert plan.cause_of("one\ntwo\n") == "one; two" and plan.cause_of("") == "it said nothing"


def test_a_tool_of_ones_own_must_be_complete():
    with pytest.raises(ValueError, match="run, show, table, column"):
        plan.merged("command", {})
    tool = plan.merged("command", {"commands": {"run": ["r"], "show": ["s"]}, "table": "t", "column": "c"})
    assert tool.order == "c"
    assert plan.merged("typeorm", {"table": "other"}).table == "other"
