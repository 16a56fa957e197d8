"""HTTP, TLS and TCP checks against servers that misbehave."""

import ipaddress
import socket

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import read
from ansible_collections.eazepay.ops.plugins.module_utils.gate.probes import probe
from cryptography import x509

from tests.integration.gate.servers import Authority, serving


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


def ask(kind, **options):
    [check] = read([{"name": "it", kind: options}])
    return probe(kind, check[kind])


@pytest.mark.parametrize(
    "path, options, verdict, said",
    [
        ("ok", {}, "pass", "status 200"),
        ("ok", {"json": {"status": "UP", "parts[0].n": {"ge": 3}}}, "pass", "status 200"),
        ("ok", {"json": {"status": "DOWN"}}, "fail", "status is 'UP', not equals 'DOWN'"),
        ("ok", {"body_matches": '"UP"'}, "pass", ""),
        ("ok", {"body_matches": "DOWN"}, "fail", "does not match the body"),
        ("ok", {"headers_match": {"Content-Length": "^[0-9]+$"}}, "pass", ""),
        ("ok", {"headers_match": {"X-None": "."}}, "fail", "header X-None is missing"),
        ("ok", {"method": "HEAD"}, "pass", ""),
        ("ok", {"warn_seconds": 0}, "warn", "above the target"),
        ("ok", {"fail_seconds": 0}, "fail", "above the alert"),
        ("zipped", {"json": {"status": "UP"}}, "pass", ""),
        ("down", {}, "fail", "status 503, not 200"),
        ("down", {"status": [200, 503]}, "pass", "status 503"),
        ("html", {"json": {"status": "UP"}}, "fail", "no JSON"),
        ("deep", {"json": {"status": "UP"}}, "fail", ""),
        ("slow", {"timeout": 1}, "fail", "not done within 1 s|time-out"),
        ("drip", {"timeout": 1}, "fail", "not done within 1 s|time-out"),
        ("drip-header", {"timeout": 1}, "fail", "not done within 1 s|time-out"),
        ("endless", {"timeout": 60}, "fail", "larger than 1048576 bytes"),
        ("headers", {}, "fail", "more than|HTTPException|reset"),
        ("bomb", {}, "fail", "larger than 1048576 bytes once unpacked"),
        ("short", {}, "fail", "too early|IncompleteRead"),
        ("reset", {}, "fail", "reset"),
        ("nothing", {}, "fail", "closed connection"),
        ("nonsense", {}, "fail", "BadStatusLine"),
        ("moved", {}, "fail", "status 302 to /ok"),
        ("moved", {"redirects": "follow"}, "pass", "status 200"),
        ("moved", {"status": [302]}, "pass", ""),
        ("loop", {"redirects": "follow", "timeout": 60}, "fail", "more than 5 redirects"),
    ],
)
def test_answers(server, path, options, verdict, said):
    import re

    sample = ask("http", url=f"{server.url}/{path}", **{"timeout": 30, **options})
    assert sample.verdict == verdict, sample
    assert re.search(said, sample.reason), sample.reason


def test_nobody_answers():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but it does not listen
        port = bound.getsockname()[1]
        assert "refused" in ask("http", url=f"http://127.0.0.1:{port}/").reason
        assert ask("tcp", host="127.0.0.1", port=port).verdict == "fail"
        bound.listen()
        assert ask("tcp", host="127.0.0.1", port=port).verdict == "pass"
        silent = ask("http", url=f"http://127.0.0.1:{port}/", timeout=1)
        assert silent.verdict == "fail"


def test_an_unknown_name():
    assert ask("http", url="http://nothing.invalid/").verdict == "fail"
    assert ask("http", url="ftp://127.0.0.1/").verdict == "fail"


def test_a_redirect_elsewhere_takes_no_credentials_along(server):
    with serving() as other:
        server.elsewhere = f"{other.url}/ok"
        sample = ask("http", url=f"{server.url}/away", redirects="follow", bearer_token="geheim", host="a.example.com")
        assert sample.verdict == "pass"
        [(_method, _path, headers)] = other.seen
        assert "Authorization" not in headers
        assert headers["Host"] == f"127.0.0.1:{other.port}"


def test_host_and_headers_are_sent(server):
    ask("http", url=f"{server.url}/ok?host", host="identity.example.com", headers={"X-A": "b"}, bearer_token="t0ken")
    [headers] = [headers for _method, path, headers in server.seen if path == "/ok?host"]
    assert headers["Host"] == "identity.example.com"
    assert headers["X-A"] == "b"
    assert headers["Authorization"] == "Bearer t0ken"


def test_ipv6():
    try:
        with serving(address="::1") as made:
            assert ask("http", url=f"{made.url}/ok", ip_version="6").verdict == "pass"
            assert ask("http", url=f"{made.url}/ok", ip_version="4").verdict == "fail"
    except OSError:
        # The machine has no IPv6: then the address must be said to fail, and nothing else happens.
        assert ask("http", url="http://[::1]:9/").verdict == "fail"


def test_a_scenario_carries_values_from_step_to_step(server):
    steps = [
        {"name": "open", "method": "POST", "body_json": {"owner": "smoke"}, "status": [201], "capture": {"w": "id"}},
        {
            "name": "deposit",
            "url": f"{server.url}/wallets/${{w}}",
            "method": "POST",
            "body_json": {"amount": 250},
            "json": {"balance": 250, "id": "${w}"},
        },
    ]
    sample = ask("http", url=f"{server.url}/wallets", steps=steps, timeout=60)
    assert sample.verdict == "pass", sample.reason
    assert sample.reason == "2 steps answered as wanted"


def test_a_scenario_ends_at_the_first_step_that_fails(server):
    server.seen.clear()
    steps = [{"name": "first"}, {"name": "second", "url": f"{server.url}/ok"}]
    sample = ask("http", url=f"{server.url}/down", steps=steps, timeout=60)
    assert sample.verdict == "fail"
    assert sample.reason.startswith("step first: status 503")
    assert [path for _method, path, _headers in server.seen] == ["/down"]


@pytest.mark.parametrize(
    "name, days, names, verdict, said",
    [
        ("good", 90, None, "pass", "what is left of the certificate"),
        ("soon", 20, None, "warn", "what is left of the certificate is"),
        ("tomorrow", 2, None, "fail", "below the alert of 7 days"),
        ("expired", -3, None, "fail", "expired"),
        ("other", 90, [x509.DNSName("elsewhere.example.com")], "fail", "127.0.0.1"),
    ],
)
def test_certificates(authority, name, days, names, verdict, said):
    with serving(tls=authority.context(name, days, names)) as made:
        options = {"ca_cert": authority.file, "warn_days": 30, "fail_days": 7, "timeout": 30}
        sample = ask("http", url=f"{made.url}/ok", **options)
        assert sample.verdict == verdict, sample
        assert said in sample.reason
        sample = ask("tls", host="127.0.0.1", port=made.port, ca_cert=authority.file, timeout=30)
        assert sample.verdict == verdict, sample


def test_an_unknown_authority_is_not_trusted_unless_told_so(authority):
    with serving(tls=authority.context("self")) as made:
        assert "not trusted" in ask("http", url=f"{made.url}/ok", timeout=30).reason
        assert ask("http", url=f"{made.url}/ok", timeout=30, validate_certs=False).verdict == "pass"


def test_the_certificate_must_be_for_the_host_that_is_asked_for(authority):
    names = [x509.DNSName("identity.example.com")]
    with serving(tls=authority.context("identity", names=names)) as made:
        options = {"url": f"{made.url}/ok", "ca_cert": authority.file, "timeout": 30}
        assert ask("http", host="identity.example.com", **options).verdict == "pass"
        assert ask("http", host="wallet.example.com", **options).verdict == "fail"
        tls = {"host": "127.0.0.1", "port": made.port, "ca_cert": authority.file, "timeout": 30}
        assert ask("tls", server_name="identity.example.com", **tls).verdict == "pass"


def test_client_certificates(authority):
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    with serving(tls=authority.context("mutual", names=names, client=True)) as made:
        options = {"url": f"{made.url}/ok", "ca_cert": authority.file, "timeout": 30}
        own = authority.issue("client")
        assert ask("http", client_cert=own, client_key=own, **options).verdict == "pass"
        assert ask("http", **options).verdict == "fail"


def test_a_server_that_speaks_no_tls(server):
    assert ask("tls", host="127.0.0.1", port=server.port).verdict == "fail"
    assert ask("http", url=f"https://127.0.0.1:{server.port}/ok").verdict == "fail"


def test_a_file_of_ours_that_is_missing_is_an_error(authority):
    with serving(tls=authority.context("mine")) as made:
        assert ask("http", url=f"{made.url}/ok", ca_cert="/nonexistent").verdict == "error"
        assert ask("tls", host="127.0.0.1", port=made.port, ca_cert="/nonexistent").verdict == "error"


def test_redirects_never_leave_https(authority, server):
    with serving(tls=authority.context("leaving")) as made:
        made.elsewhere = f"{server.url}/ok"
        sample = ask("http", url=f"{made.url}/away", redirects="follow", ca_cert=authority.file, timeout=30)
        assert "redirected from https" in sample.reason
