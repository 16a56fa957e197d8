"""A burst is counted whatever the order of the lines, and nothing that has no time gets lost."""

import pytest
from ansible_collections.eazepay.ops.plugins.doc_fragments import checks
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError
from ansible_collections.eazepay.ops.plugins.module_utils.gate import arguments, logs, pods
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import read
from ansible_collections.eazepay.ops.plugins.module_utils.gate.probes import probe
from hypothesis import given
from hypothesis import strategies as st

MOMENTS = st.lists(st.one_of(st.none(), st.integers(0, 300).map(float)), max_size=40)


@given(MOMENTS, st.integers(1, 120))
def test_no_window_holds_more_than_the_burst(moments, window):
    most = logs.burst(moments, window)
    known = [one for one in moments if one is not None]
    loose = len(moments) - len(known)
    assert most - loose == max((sum(begin <= one < begin + window for one in known) for begin in known), default=0)
    assert logs.burst(moments, window + 1) >= most


def test_documented_as_it_is():
    assert checks.PATTERN == arguments.PATTERN


def ask(*argv, **options):
    [check] = read([{"name": "log", "logs": {"argv": list(argv), **options}}])
    return probe("logs", check["logs"])


@pytest.mark.parametrize(
    "text, most, verdict, said",
    [
        ("2026-11-28T10:00:00Z all is well\n", 0, "pass", "no errors"),
        ("No resources found in default namespace.\n", 0, "no_data", "No resources found"),
        ("2026-11-28T10:00:00Z ERROR a\n2026-11-28T10:00:30Z ERROR b\n", 1, "fail", "2 errors within 60 s"),
        ("2026-11-28T10:00:00Z ERROR a\n2026-11-28T10:01:00Z ERROR b\n", 1, "pass", "2 errors, never more than 1"),
        ('{"time": "2026-11-28T10:00:00Z", "level": "error", "message": "x"}\n', 0, "fail", "1 errors"),
        ("ERROR a\nERROR b\n", 1, "fail", "2 errors"),
        ("2026-11-28 10:00:00,123 no TERRORS\n", 0, "pass", "no errors"),
        ("", 0, "no_data", "there is no line with a time"),
    ],
)
def test_bursts(tmp_path, text, most, verdict, said):
    (tmp_path / "log").write_text(text)
    sample = ask("cat", str(tmp_path / "log"), most=most)
    assert sample.verdict == verdict, sample
    assert said in sample.reason


@pytest.mark.parametrize(
    "argv, options, said",
    [
        (["/nonexistent/program"], {}, "cannot be run"),
        (["sh", "-c", "echo no such container >&2; exit 1"], {}, "ended with 1: no such container"),
        (["sh", "-c", "echo fine; sleep 300"], {"timeout": 0.5}, "not read to its end"),
        (["yes", "ERROR"], {"timeout": 0.5}, "not read to its end"),
    ],
)
def test_a_log_that_cannot_be_read_is_an_error(argv, options, said):
    sample = ask(*argv, **options)
    assert sample.verdict == "error", sample
    assert said in sample.reason


def status(name, state, before=False):
    return {"name": name, "state": {state: {}}, "lastState": {"terminated": {}} if before else {}}


def test_each_container_that_has_begun_has_a_log():
    pod = {
        "metadata": {},
        "status": {
            "initContainerStatuses": [status("init", "terminated")],
            "containerStatuses": [status("app", "running", before=True), status("side", "waiting")],
        },
    }
    assert pods.sources(pod) == [("init", False), ("app", True), ("app", False)]
    assert pods.sources({"metadata": {}}) == []


def test_argv_or_pods():
    for wrong in ({}, {"argv": ["cat"], "pods": {"selector": "app=a"}}, {"pods": {}}, {"argv": []}):
        with pytest.raises(InputError):
            read([{"name": "log", "logs": wrong}])
