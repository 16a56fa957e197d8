"""Whether a restored database is the one backed up, and whether a backup belongs here."""

import copy

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import (
    connection_string,
    ident,
    lock_key,
    passfile_line,
    shortened,
)
from ansible_collections.eazepay.ops.plugins.module_utils.restore.verdict import (
    differences,
    loss,
    refusals,
    session_settings,
)
from hypothesis import given
from hypothesis import strategies as st

CONTENTS = {
    "rows": {"a": 1, "b": 2},
    "rows_are": "exact",
    "large_objects": 1,
    "constraints": 3,
    "extensions": {"plpgsql": "1.0"},
    "owners": {"me": 2},
    "invalid_indexes": [],
}
MANIFEST = {"databases": [{"name": "a"}], "server": {"system_identifier": "1", "major": 15}}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rows", {"a": 1}, "table b is missing"),
        ("rows", {"a": 1, "b": 3}, "table b has 3 rows instead of 2"),
        ("rows", {"a": 1, "b": 2, "c": 0}, "table c was not backed up"),
        ("large_objects", 0, "0 large objects instead of 1"),
        ("constraints", 2, "2 constraints instead of 3"),
        ("extensions", {}, "extension plpgsql is missing"),
        ("owners", {"me": 1, "you": 1}, "belong to"),
        ("invalid_indexes", ["i"], "index i is invalid"),
    ],
)
def test_every_difference_is_said(key, value, said):
    found = copy.deepcopy(CONTENTS)
    assert not differences(CONTENTS, found)
    found[key] = value
    assert len(differences(CONTENTS, found)) == 1 and said in differences(CONTENTS, found)[0]


def test_estimates_prove_that_tables_are_there_and_no_more():
    estimated = {**CONTENTS, "rows_are": "estimated", "rows": {"a": 100}}
    assert not differences(estimated, CONTENTS)
    assert differences({**estimated, "rows": {"z": 1}}, CONTENTS) == ["table z is missing"]


@pytest.mark.parametrize(
    ("facts", "allow", "refused"),
    [
        ({"system_identifier": "1", "major": 15}, [], False),
        ({"system_identifier": "2", "major": 15}, [], True),
        ({"system_identifier": "2", "major": 15}, ["other_server"], False),
        ({"system_identifier": "1", "major": 18}, [], True),
        ({"system_identifier": "1", "major": 18}, ["newer_version"], False),
        ({"system_identifier": "1", "major": 14}, ["newer_version", "other_server"], True),
    ],
)
def test_what_does_not_belong_here_needs_to_be_meant(facts, allow, refused):
    assert bool(refusals(MANIFEST, facts, ["a"], allow)) is refused
    assert refusals(MANIFEST, facts, ["b"], allow)


def test_loss_names_only_what_changes():
    assert loss({"a": 1, "b": 2}, {"a": 1, "b": 5, "c": 1}) == {
        "b": {"now": 5, "backup": 2},
        "c": {"now": 1, "backup": 0},
    }


@given(st.text(min_size=1), st.sampled_from(["_kept_20261126101500", "_side_12345678"]))
def test_names_stay_within_what_postgresql_keeps(name, suffix):
    short = shortened(name, suffix)
    assert len(short.encode()) <= 63 and short.endswith(suffix)
    assert shortened("plain", suffix) == "plain" + suffix


@given(st.text())
def test_quoting(text):
    assert ident(text)[1:-1].replace('""', '"') == text
    assert connection_string(text).count("'") >= 2
    assert -(2**63) <= lock_key(text) < 2**63


def test_password_files_escape_what_separates():
    assert passfile_line("a:b\\c") == "*:*:*:*:a\\:b\\\\c\n"


@given(st.integers(1, 64), st.integers(1, 256), st.booleans())
def test_indexes_get_helpers_where_cores_are_left_for_them(jobs, cores, impatient):
    helpers = int(session_settings(jobs, cores, impatient)["max_parallel_maintenance_workers"])
    assert 0 <= helpers <= 2 and (not helpers or jobs * (1 + helpers) <= cores)


def test_a_server_elsewhere_keeps_its_own_number_of_helpers():
    assert session_settings(2, None, False) == {"synchronous_commit": "off"}
    assert session_settings(2, None, True) == {"synchronous_commit": "off", "deadlock_timeout": "50ms"}
