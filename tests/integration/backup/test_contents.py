"""What is backed up comes back: the restored database, dumped again, gives the same dump."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.modules import run_module
from tests.postgres import PASSWORD

ODD = "odd \"name' = ö; --"
CONTENTS = r"""
CREATE SCHEMA "Ω schema"; CREATE SCHEMA shop AUTHORIZATION t_shop;
CREATE TYPE shop.state AS ENUM ('new', 'it''s paid'); CREATE DOMAIN shop.cents AS bigint CHECK (VALUE >= 0);
CREATE TABLE shop."Bestellung 1" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  state shop.state NOT NULL DEFAULT 'new',
  amount shop.cents NOT NULL, doubled bigint GENERATED ALWAYS AS (amount * 2) STORED,
  body jsonb, raw bytea, names text[],
  at tstzrange, CONSTRAINT "no 'overlap'" EXCLUDE USING gist (at WITH &&));
INSERT INTO shop."Bestellung 1" (amount, body, raw, names, at)
  SELECT i, jsonb_build_object('ключ', i), decode(md5(i::text), 'hex'),
  ARRAY['a''b', 'c"d', NULL],
  tstzrange('2026-01-01'::timestamptz + i * interval '1 h', '2026-01-01'::timestamptz + (i + 1) * interval '1 h')
  FROM generate_series(1, 200) i;
CREATE TABLE shop.line (id int PRIMARY KEY, of bigint REFERENCES shop."Bestellung 1" ON DELETE CASCADE DEFERRABLE);
INSERT INTO shop.line SELECT i, i FROM generate_series(1, 200) i;
CREATE INDEX CONCURRENTLY late ON shop.line (of) WHERE id > 10;
CREATE TABLE log (at date NOT NULL, n int) PARTITION BY RANGE (at);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2026-07-01') PARTITION BY HASH (n);
CREATE TABLE log_1_a PARTITION OF log_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE log_1_b PARTITION OF log_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE log_rest PARTITION OF log DEFAULT;
INSERT INTO log SELECT '2026-01-01'::date + i, i FROM generate_series(1, 300) i;
CREATE UNLOGGED TABLE volatile AS SELECT i FROM generate_series(1, 10) i;
CREATE TABLE owned (id int, tenant text); INSERT INTO owned VALUES (1, 't_shop'), (2, 'else');
ALTER TABLE owned ENABLE ROW LEVEL SECURITY; ALTER TABLE owned FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON owned USING (tenant = current_user);
GRANT SELECT (id) ON owned TO t_shop; GRANT INSERT ON owned TO t_shop WITH GRANT OPTION;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO t_shop;
CREATE SEQUENCE tickets START 100 INCREMENT 7; SELECT nextval('tickets'), nextval('tickets');
CREATE FUNCTION shop.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := coalesce(NEW.n, 1); RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION shop.f();
CREATE VIEW seen AS SELECT n FROM log; CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM log;
COMMENT ON TABLE log IS 'E''s "log"; \ö';
DO $$ BEGIN PERFORM lo_from_bytea(7001, decode(repeat('ab', 5000), 'hex')), lo_from_bytea(7002, 'small'); END $$;
GRANT SELECT ON LARGE OBJECT 7001 TO t_shop; COMMENT ON LARGE OBJECT 7002 IS 'the small one';
"""


def dump(pg, name):
    """All of a database as text, but for what says which database and which moment it is."""
    env = {"PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}
    quoted = "dbname='" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    argv = [f"{pg.bin}/pg_dump", "-h", "127.0.0.1", "-p", str(pg.port), "-U", "super", "-d", quoted]
    text = subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", text)


@pytest.mark.parametrize("format", ["directory", "custom"])
def test_the_restored_database_dumps_the_same(both, tmp_path, format):
    password = PASSWORD.replace("'", "''")
    quoted = '"' + ODD.replace('"', '""') + '"'
    for name in both.databases():
        if name.startswith("odd "):
            again = name.replace('"', '""')
            both.run(f'ALTER DATABASE "{again}" ALLOW_CONNECTIONS true')
            both.run(f'DROP DATABASE "{again}" WITH (FORCE)')
    both.run(f"DROP ROLE IF EXISTS t_shop; CREATE ROLE t_shop LOGIN PASSWORD '{password}'")
    both.run(f"CREATE DATABASE {quoted}")
    try:
        for statement in re.split(r";\n", CONTENTS):
            if statement.strip():
                both.run(statement, ODD)
        both.run(
            f'ALTER DATABASE {quoted} SET search_path = shop, "Ω schema"; GRANT CREATE ON DATABASE {quoted} TO t_shop'
        )
        before = dump(both, ODD)
        made = run_module(
            "pg_backup", dest=str(tmp_path), databases=[ODD], format=format, verify="restore", **both.login
        )
        assert not made["failed"], made
        both.run("DROP TABLE shop.line, public.log CASCADE; SELECT lo_unlink(7001); DELETE FROM public.owned", ODD)
        restored = run_module("pg_restore", manifest=made["backup"]["manifest"], **both.login)
        assert not restored["failed"], restored
        assert dump(both, ODD) == before
        assert both.run("SHOW search_path", ODD) == [('shop, "Ω schema"',)]
        assert both.run("SELECT nextval('public.tickets')", ODD) == [(114,)]
    finally:
        for name in both.databases():
            if name.startswith("odd "):
                again = name.replace('"', '""')
                both.run(f'ALTER DATABASE "{again}" ALLOW_CONNECTIONS true')
                both.run(f'DROP DATABASE "{again}" WITH (FORCE)')
        both.run("DROP ROLE t_shop")
