# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a database is and holds, read from its catalogue, and the statements that make another one the same."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from .server import execute, ident, rows, scalar

# Settings whose stored value is a list of quoted names: only the server itself copies those right.
LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}

TABLES = """
SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint, pg_catalog.pg_table_size(c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

# Tables in which migration tools keep their books: name, column, order.
MIGRATION_TABLES: Tuple[Tuple[str, str, str], ...] = (
    ("migrations", "name", "id"),
    ("alembic_version", "version_num", "version_num"),
    ("pgmigrations", "name", "id"),
    ("schema_migrations", "version", "version"),
    ("flyway_schema_history", "version", "installed_rank"),
    ("knex_migrations", "name", "id"),
)


# By this name the server shows the sessions of migration tools.
MIGRATION = "eazepay.ops migration"
# Seconds that the session of a command which has just ended may take to go.
GONE = 5.0


def databases(connection: Any) -> List[str]:
    """The databases that hold anything of a user's."""
    found = rows(
        connection,
        "SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate AND datallowconn "
        "AND datname <> 'postgres' ORDER BY 1",
    )
    return [name for (name,) in found]


def properties(connection: Any, name: str) -> Optional[Dict[str, Any]]:
    """Everything that a dump of a database does not hold: owner, locale, rights, settings. None: no such database."""
    version = connection.info.server_version
    locale = {170000: "d.datlocale", 150000: "d.daticulocale"}
    icu = next((column for since, column in locale.items() if version >= since), "NULL")
    provider = "d.datlocprovider" if version >= 150000 else "'c'"
    found = rows(
        connection,
        "SELECT d.oid::bigint, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), "  # noqa: S608
        f"d.datcollate, d.datctype, {provider}::text, {icu}, d.datconnlimit, d.datallowconn, t.spcname, "
        "pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NULL "
        "FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s",
        name,
    )
    if not found:
        return None
    keys = "oid owner encoding collate ctype provider locale connection_limit allows_connections tablespace comment"
    known: Dict[str, Any] = dict(zip(keys.split(), found[0]))
    default_acl = found[0][-1]
    known["acl"] = None
    if not default_acl:
        known["acl"] = [
            list(one)
            for one in rows(
                connection,
                "SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END, "
                "a.privilege_type, a.is_grantable FROM pg_catalog.pg_database d, "
                "pg_catalog.aclexplode(d.datacl) a WHERE d.oid = %s ORDER BY 1 NULLS FIRST, 2",
                known["oid"],
            )
        ]
    known["settings"] = [
        [role, *entry.split("=", 1)]
        for role, entries in rows(
            connection,
            "SELECT CASE setrole WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(setrole) END, setconfig "
            "FROM pg_catalog.pg_db_role_setting WHERE setdatabase = %s ORDER BY 1 NULLS FIRST",
            known["oid"],
        )
        for entry in entries
    ]
    return known


def may_set(connection: Any, setting: str) -> bool:
    """Whether our role may change a setting that is a superuser's to change."""
    if connection.info.server_version >= 150000:
        return bool(scalar(connection, "SELECT pg_catalog.has_parameter_privilege(%s, 'SET')", setting))
    return bool(scalar(connection, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"))


def create(connection: Any, name: str, like: Dict[str, Any], limit: int = -1) -> None:
    """An empty database with the encoding and locale of another."""
    values = [like["encoding"], like["collate"], like["ctype"]]
    sql = f"CREATE DATABASE {ident(name)} TEMPLATE template0 ENCODING %s LC_COLLATE %s LC_CTYPE %s"
    sql += f" CONNECTION LIMIT {int(limit)}"
    if connection.info.server_version >= 150000:
        sql += " LOCALE_PROVIDER = " + {"c": "libc", "i": "icu", "b": "builtin"}[like["provider"]]
        if like["locale"]:
            sql += " BUILTIN_LOCALE = %s" if like["provider"] == "b" else " ICU_LOCALE = %s"
            values.append(like["locale"])
    if like["tablespace"] != "pg_default":
        sql += f" TABLESPACE {ident(like['tablespace'])}"
    execute(connection, sql, *values)


def apply_properties(connection: Any, name: str, like: Dict[str, Any], comment: Optional[str]) -> None:
    """Gives a database the owner, rights, settings and limits of another. One transaction."""
    quoted = ident(name)
    execute(connection, "BEGIN")
    try:
        execute(connection, f"ALTER DATABASE {quoted} CONNECTION LIMIT {int(like['connection_limit'])}")
        execute(connection, f"COMMENT ON DATABASE {quoted} IS %s", comment)
        for role, setting, value in like["settings"]:
            target = f"ALTER ROLE {ident(role)} IN DATABASE {quoted}" if role else f"ALTER DATABASE {quoted}"
            parameter = ".".join(ident(part) for part in setting.split("."))
            if setting.lower() in LISTS:
                execute(connection, "SELECT pg_catalog.set_config(%s, %s, true)", setting, value)
                execute(connection, f"{target} SET {parameter} FROM CURRENT")
                execute(connection, f"SET LOCAL {parameter} TO DEFAULT")
            else:
                execute(connection, f"{target} SET {parameter} TO %s", value)
        if like["acl"] is not None:
            execute(connection, f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC, CURRENT_USER")
            for role, privilege, grantable in like["acl"]:
                grantee = ident(role) if role else "PUBLIC"
                option = " WITH GRANT OPTION" if grantable and role else ""
                execute(connection, f"GRANT {privilege} ON DATABASE {quoted} TO {grantee}{option}")
        # Last: afterwards it may not be ours to change.
        execute(connection, f"ALTER DATABASE {quoted} OWNER TO {ident(like['owner'])}")
        execute(connection, "COMMIT")
    except BaseException:
        execute(connection, "ROLLBACK")
        raise


def contents(connection: Any, exact: bool = True) -> Dict[str, Any]:
    """What a database holds, to compare a restored one with: rows by table, extensions, owners, what is invalid.

    :raises psycopg2.Error: also where row-level security would hide rows from us.
    """
    execute(connection, "SET row_security = off")
    counted: Dict[str, int] = {}
    for schema, table, estimate, _bytes in rows(connection, TABLES):
        key = f"{ident(schema)}.{ident(table)}"
        counted[key] = scalar(connection, f"SELECT count(*) FROM ONLY {key}") if exact else estimate  # noqa: S608
    names = "c.oid::pg_catalog.regclass::text"
    return {
        "rows": counted,
        "rows_are": "exact" if exact else "estimated",
        "large_objects": scalar(connection, "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"),
        "extensions": dict(rows(connection, "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY 1")),
        "owners": dict(
            rows(
                connection,
                "SELECT pg_catalog.pg_get_userbyid(c.relowner), count(*) FROM pg_catalog.pg_class c "
                "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' "
                "AND n.nspname <> 'information_schema' AND c.relkind IN ('r','p','v','m','S','f') "
                "AND c.relpersistence <> 't' GROUP BY 1 ORDER BY 1",
            )
        ),
        "constraints": scalar(
            connection,
            "SELECT count(*) FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace "
            "WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.contype <> 'n'",
        ),
        "invalid_indexes": [
            name
            for (name,) in rows(
                connection,
                f"SELECT {names} FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "  # noqa: S608
                "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' "
                "AND NOT (i.indisvalid AND i.indisready) ORDER BY 1",
            )
        ],
    }


def analyzable(connection: Any) -> List[str]:
    """The quoted names of all tables that have statistics, the catalogue's included, the largest first."""
    found = rows(
        connection,
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'pg_toast' "
        "ORDER BY pg_catalog.pg_relation_size(c.oid) DESC",
    )
    return [f"{ident(schema)}.{ident(table)}" for schema, table in found]


def extent(connection: Any) -> Tuple[int, int]:
    """Bytes of all tables without their indexes, what a plain dump takes more or less, and how many they are."""
    large = scalar(connection, "SELECT pg_catalog.pg_table_size('pg_catalog.pg_largeobject')")
    tables = rows(connection, TABLES)
    return int(sum(row[3] for row in tables) + large), len(tables)


def qualified(table: str) -> str:
    """A table's name, with or without its schema, as SQL wants it quoted."""
    schema, _dot, name = table.rpartition(".")
    return f"{ident(schema)}.{ident(name)}" if schema else ident(name)


def applied(connection: Any, table: str, column: str, order: str) -> Optional[List[str]]:
    """The names in a tool's migrations table, oldest first; None when there is no such table."""
    where = qualified(table)
    if scalar(connection, "SELECT pg_catalog.to_regclass(%s)", where) is None:
        return None
    found = rows(connection, f"SELECT {ident(column)}::text FROM {where} ORDER BY {ident(order)}")  # noqa: S608
    return [one for (one,) in found if one is not None]


def migrations(connection: Any) -> Dict[str, List[str]]:
    """What every known migration tool has applied, by its table."""
    found = {}
    for table, column, order in MIGRATION_TABLES:
        # A table of that name with other columns is another table.
        columns = scalar(
            connection,
            "SELECT count(DISTINCT attname) FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass(%s) "
            "AND attname IN (%s, %s) AND NOT attisdropped",
            ident(table),
            column,
            order,
        )
        names = applied(connection, table, column, order) if columns == len({column, order}) else None
        if names is not None:
            found[table] = names
    return found


def migrating(connection: Any) -> str:
    """The session of a migration tool in this database, in words; empty when there is none."""
    found = rows(
        connection,
        "SELECT pid, backend_start::timestamp(0)::text FROM pg_catalog.pg_stat_activity "
        "WHERE datname = pg_catalog.current_database() AND application_name = %s ORDER BY backend_start",
        MIGRATION,
    )
    return "process {} of the server, since {}".format(*found[0]) if found else ""


def terminate(connection: Any, name: str) -> int:
    """Ends every session of a database and gives how many are still there."""
    execute(
        connection,
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
        "WHERE datname = %s AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'",
        name,
    )
    return int(
        scalar(
            connection,
            "SELECT count(*) FROM pg_catalog.pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'",
            name,
        )
    )
