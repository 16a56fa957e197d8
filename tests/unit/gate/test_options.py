"""Checks that cannot be right are refused before anything is asked; JSON paths; what a body unpacks to."""

import gzip

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError
from ansible_collections.eazepay.ops.plugins.module_utils.gate import jsonpath, web
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import read, writes
from ansible_collections.eazepay.ops.plugins.module_utils.gate.probes import container


@pytest.mark.parametrize(
    "check, said",
    [
        ({"name": "x"}, "one of the following is required"),
        ({"name": "x", "tcp": {"host": "a", "port": 1}, "http": {"url": "http://a"}}, "mutually exclusive"),
        ({"name": "x", "http": {}}, "needs a url"),
        ({"name": "x", "http": {"url": "http://a", "json": {"a..b": 1}}}, "no path"),
        ({"name": "x", "http": {"url": "http://a", "json": {"a": {"is": 1}}}}, "unknown operator is"),
        ({"name": "x", "http": {"url": "http://a", "body_matches": "("}}, "x:"),
        ({"name": "x", "http": {"url": "http://a", "timeout": 0}}, "timeout"),
        ({"name": "x", "http": {"url": "https://a", "validate_certs": False, "fail_days": 3}}, "validate_certs"),
        ({"name": "x", "prometheus": {"url": "http://a", "query": "up"}}, "pass whatever comes"),
        ({"name": "x", "prometheus": {"url": "http://a", "query": "up", "fail": "NaN"}}, "no number"),
        ({"name": "x", "prometheus": {"url": "http://a", "query": "up", "fail": 1, "any_value": True}}, "no limit"),
        ({"name": "x", "postgres": {"query": "SELECT 1"}}, "go together"),
        ({"name": "x", "docker": {"service": "a"}}, "required together"),
        ({"name": "x", "command": {"argv": []}}, "argv is empty"),
    ],
)
def test_impossible_checks(check, said):
    with pytest.raises(InputError, match=said):
        read([check])


def test_names_are_unique():
    with pytest.raises(InputError, match="comes twice"):
        read([{"name": "x", "tcp": {"host": "a", "port": 1}}] * 2)


def test_defaults():
    [check] = read([{"name": "x", "http": {"url": "http://a"}}])
    assert check["no_data"] == "fail"
    assert check["http"]["redirects"] == "refuse"
    assert check["http"]["validate_certs"] is True


@pytest.mark.parametrize(
    "check, expected",
    [
        ({"name": "x", "http": {"url": "http://a"}}, False),
        ({"name": "x", "http": {"url": "http://a", "method": "POST"}}, True),
        ({"name": "x", "http": {"url": "http://a", "steps": [{}, {"method": "DELETE"}]}}, True),
        ({"name": "x", "command": {"argv": ["true"]}}, True),
        ({"name": "x", "tcp": {"host": "a", "port": 1}}, False),
    ],
)
def test_what_check_mode_does_not_ask(check, expected):
    assert writes(read([check])[0]) is expected


DOCUMENT = {"status": "UP", "items": [{"n": 1}, {"n": "2"}], "0": "zero", "ok": True}


@pytest.mark.parametrize(
    "wanted, holds",
    [
        ({"status": "UP"}, True),
        ({"$.status": "UP"}, True),
        ({"items[0].n": 1}, True),
        ({"items.1.n": 2}, True),
        ({"items[-1].n": "2"}, True),
        ({"items[2].n": 1}, False),
        ({"ok": True}, True),
        ({"ok": "true"}, True),
        ({"ok": 1}, False),
        ({"none": {"exists": False}}, True),
        ({"status": {"exists": True, "matches": "^U"}}, True),
        ({"items[0].n": {"ge": 1, "lt": 2}}, True),
        ({"status": {"gt": 0}}, False),
        ({"ok": {"gt": 0}}, False),
        ({"status": {"in": ["DOWN", "UP"]}}, True),
        ({"status": {"not_equals": "UP"}}, False),
    ],
)
def test_conditions(wanted, holds):
    assert (jsonpath.conditions(DOCUMENT, wanted) == []) is holds


def test_captured_values_are_escaped_in_addresses_and_keep_their_type_elsewhere():
    assert web.fill("http://a/${id}", {"id": "../x y"}, escape=True) == "http://a/..%2Fx%20y"
    assert web.fill({"n": "${id}", "t": "no ${id}"}, {"id": 7}) == {"n": 7, "t": "no 7"}
    with pytest.raises(web.Refused, match="not captured"):
        web.fill("${id}", {})


def test_a_bomb_is_not_unpacked():
    assert web.unpack(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    with pytest.raises(web.Refused, match="larger than 1000"):
        web.unpack(gzip.compress(b"\0" * 50_000_000), "gzip", 1000)
    with pytest.raises(web.Refused, match="broken"):
        web.unpack(b"not gzip", "gzip", 1000)
    with pytest.raises(web.Refused, match="ends too early"):
        web.unpack(gzip.compress(b"status: UP" * 50)[:-20], "gzip", 1000)


@pytest.mark.parametrize(
    "state, verdict",
    [
        ({"Status": "running"}, "pass"),
        ({"Status": "running", "Health": {"Status": "healthy"}}, "pass"),
        ({"Status": "running", "Health": {"Status": "starting"}}, "fail"),
        ({"Status": "running", "Health": {"Status": "unhealthy", "Log": [{"Output": "refused"}]}}, "fail"),
        ({"Status": "restarting", "Restarting": True, "ExitCode": 1}, "fail"),
        ({"Status": "exited", "ExitCode": 0}, "fail"),
        ({}, "fail"),
    ],
)
def test_containers(state, verdict):
    assert container({"Name": "/x", "State": state})[0] == verdict
