# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Puts restored databases in the place of live ones, in one transaction, and back."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from ..postgres import catalog
from ..postgres.server import Server, database_error, execute, ident, rows, said, scalar
from .side import MARK


class Move(NamedTuple):
    """``new`` becomes ``name``; what was ``name`` becomes ``old``, unless there is none."""

    name: str
    new: str
    old: Optional[str]
    note: Dict[str, Any]  # about the old one, for whoever undoes or prunes


def allow(connection: Any, name: str, yes: bool) -> None:
    execute(connection, f"ALTER DATABASE {ident(name)} ALLOW_CONNECTIONS {'true' if yes else 'false'}")


@contextlib.contextmanager
def fenced(server: Server, connection: Any, names: List[str], timeout: float) -> Iterator[None]:
    """Keeps everybody out of the databases of these names, and lets them in again whatever happens.

    :param timeout: seconds in which the last session must be gone.
    :raises OpsError: a session does not end.
    """
    marks = {name: scalar(connection, "SELECT oid::bigint FROM pg_database WHERE datname = %s", name) for name in names}
    try:
        for name in names:
            fence = json.dumps({"by": MARK, "kind": "fence", "comment": comment_of(connection, name)}, sort_keys=True)
            execute(connection, f"COMMENT ON DATABASE {ident(name)} IS %s", fence)
            allow(connection, name, False)
        deadline = time.monotonic() + timeout
        # Again and again: a client may have passed the gate just before it closed.
        while True:
            left = {name: catalog.terminate(connection, name) for name in names}
            if not any(left.values()):
                break
            if time.monotonic() > deadline:
                busy = ", ".join(f"{count} of {name!r}" for name, count in left.items() if count)
                raise server.error(f"sessions do not end: {busy}", "The live database is open again, and unchanged.")
            time.sleep(0.02)
        yield
    finally:
        try:
            open_again(connection, marks)
        except database_error():  # our session may be what was lost
            with server.session() as another:
                open_again(another, marks)


def open_again(connection: Any, marks: Dict[str, int]) -> None:
    """Lifts the fences of databases that were not swapped: those have their old number under their name."""
    for name, oid in marks.items():
        if scalar(connection, "SELECT oid::bigint FROM pg_database WHERE datname = %s", name) == oid:
            lift(connection, name)


def comment_of(connection: Any, name: str) -> Optional[str]:
    return scalar(
        connection, "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", name
    )


def lift(connection: Any, name: str) -> bool:
    """Opens a database that a fence of ours closed, and gives it its comment back."""
    try:
        known = json.loads(comment_of(connection, name) or "")
    except ValueError:
        return False
    if not isinstance(known, dict) or known.get("by") != MARK or known.get("kind") != "fence":
        return False
    allow(connection, name, True)
    execute(connection, f"COMMENT ON DATABASE {ident(name)} IS %s", known["comment"])
    return True


def swap(
    server: Server,
    moves: List[Move],
    timeout: float,
    connection: Any,
    before_commit: Callable[[], None] = lambda: None,
) -> float:
    """Makes every move or none, and gives the seconds for which clients were kept out.

    :param before_commit: for tests: called when all is done but for the commit.
    """
    live = {move.name: catalog.properties(connection, move.name) for move in moves if move.old}
    for move in moves:
        known = live.get(move.name)
        if known and "copied" not in move.note:
            # While clients still work: rights and settings take time that the window does not have.
            catalog.apply_properties(connection, move.new, known, comment_of(connection, move.new))
    started = time.monotonic()
    try:
        # What is about to take the place has no sessions either.
        for move in moves:
            allow(connection, move.new, False)
            catalog.terminate(connection, move.new)
        with fenced(server, connection, [move.name for move in moves if move.old], timeout):
            execute(connection, "BEGIN")
            try:
                for move in moves:
                    final = live[move.name]["comment"] if move.old else None  # type: ignore[index]
                    if move.old:
                        execute(connection, f"ALTER DATABASE {ident(move.name)} RENAME TO {ident(move.old)}")
                        text = json.dumps(dict(move.note, by=MARK, of=move.name, comment=final), sort_keys=True)
                        execute(connection, f"COMMENT ON DATABASE {ident(move.old)} IS %s", text)
                    execute(connection, f"ALTER DATABASE {ident(move.new)} RENAME TO {ident(move.name)}")
                    execute(connection, f"COMMENT ON DATABASE {ident(move.name)} IS %s", move.note.get("final", final))
                    allow(connection, move.name, True)
                before_commit()
                execute(connection, "COMMIT")
            except BaseException:
                execute(connection, "ROLLBACK")
                raise
    except database_error() as error:
        raise server.error(said(error), "The live database is open again, and unchanged.") from error
    return time.monotonic() - started


def names(connection: Any) -> List[str]:
    return [name for (name,) in rows(connection, "SELECT datname FROM pg_catalog.pg_database")]
