"""PostgreSQL by its own words, up to the last connection."""

import contextlib

import psycopg2
import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import read
from ansible_collections.eazepay.ops.plugins.module_utils.gate.probes import probe

from tests.postgres import PASSWORD, Throwaway


@pytest.fixture(scope="module")
def server():
    made = Throwaway(15)
    try:
        yield made
    finally:
        made.stop()


def ask(server, **options):
    login = {key: value for key, value in server.login.items() if key != "bin_dir"}
    [check] = read([{"name": "database", "postgres": {**login, "timeout": 30, **options}}])
    return probe("postgres", check["postgres"])


def test_it_answers(server):
    assert ask(server).verdict == "pass"


def test_a_query_and_its_limits(server):
    assert ask(server, query="SELECT 5", query_limits={"warn": 5}).verdict == "pass"
    assert ask(server, query="SELECT 5", query_limits={"warn": 4}).verdict == "warn"
    assert ask(server, query="SELECT 5", query_limits={"fail": 6, "direction": "below"}).verdict == "fail"
    assert ask(server, query="SELECT NULL", query_limits={"fail": 6}).verdict == "no_data"
    assert ask(server, query="SELECT 1 WHERE false", query_limits={"fail": 6}).verdict == "no_data"
    assert ask(server, query="SELECT 'NaN'::float8", query_limits={"fail": 6}).verdict == "no_data"
    assert ask(server, query="SELECT generate_series(1, 2)", query_limits={"fail": 6}).verdict == "no_data"
    assert ask(server, query="SELECT nothing", query_limits={"fail": 6}).verdict == "error"
    assert ask(server, query="CREATE TABLE t (i int)", query_limits={"fail": 6}).verdict == "error"
    assert ask(server, query="SELECT pg_sleep(60)::text", query_limits={"fail": 6}, timeout=1).verdict == "error"


def test_no_standby_is_no_data(server):
    assert ask(server, replication_lag_limits={"fail": 10}).verdict == "no_data"


def test_the_oldest_transaction(server):
    with contextlib.closing(server.connect()) as held, held.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        assert ask(server, oldest_transaction_limits={"fail": 0}).verdict == "fail"
    assert ask(server, oldest_transaction_limits={"fail": 3600}).verdict == "pass"


def test_an_invalid_index(server):
    server.run("CREATE TABLE IF NOT EXISTS twins AS SELECT 1 AS n FROM generate_series(1, 2)")
    assert ask(server, invalid_indexes=True).verdict == "pass"
    with contextlib.suppress(psycopg2.Error):
        server.run("CREATE UNIQUE INDEX CONCURRENTLY broken ON twins (n)")
    sample = ask(server, invalid_indexes=True)
    assert sample.verdict == "fail"
    assert "broken" in sample.reason
    server.run("DROP INDEX broken")


def test_a_wrong_password_never_shows(server):
    sample = ask(server, login_password=PASSWORD + "x")
    assert sample.verdict == "fail"
    assert PASSWORD not in sample.reason


def test_the_last_connection(server):
    limits = {"warn": 50, "fail": 80}
    assert ask(server, connections_limits=limits).verdict == "pass"
    server.run("DROP ROLE IF EXISTS app")
    server.run(f"CREATE ROLE app LOGIN PASSWORD $pw${PASSWORD}$pw$")
    held = []
    try:
        while True:
            try:
                held.append(server.connect(user="app"))
            except psycopg2.OperationalError as error:
                assert "remaining connection slots" in str(error)
                break
        sample = ask(server, connections_limits=limits)
        assert sample.verdict == "fail", sample
        assert "above the alert of 80 %" in sample.reason
        sample = ask(server, login_user="app")
        assert sample.verdict == "fail"
        assert "no connection" in sample.reason
    finally:
        for one in held:
            one.close()
