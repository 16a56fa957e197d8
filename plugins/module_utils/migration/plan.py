# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What migration tools say, and what follows from their tables. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence


class Way(NamedTuple):
    """How a database gets back to a point: ``nothing``, ``revert`` or ``restore``.

    ``migrations`` are those that go with it, newest first.
    """

    way: str
    migrations: List[str]
    reason: str


class Tool(NamedTuple):
    """How a migration tool is driven, and where it keeps its books.

    ``pattern`` finds in the output of ``show`` the name of each migration that the code has. ``books`` is ``list``
    when the table has a row for each applied migration, and ``head`` when it has the newest alone.
    """

    run: List[str]
    show: List[str]
    revert: List[str]
    table: str
    column: str
    order: str
    pattern: str
    newest_first: bool
    books: str
    show_writes: bool  # showing makes the table when it is missing
    bare: List[str]  # what ``revert`` takes to work without a transaction


TOOLS = {
    "typeorm": Tool(
        run=["npm", "run", "--silent", "migration:run"],
        show=["npm", "run", "--silent", "migration:show"],
        revert=["npm", "run", "--silent", "migration:revert"],
        table="migrations",
        column="name",
        order="id",
        pattern=r"^\s*\[[ X]\]\s+(?:\d+\s+)?(\S+)\s*$",
        newest_first=False,
        books="list",
        show_writes=True,
        bare=["--", "-t", "none"],
    ),
    "alembic": Tool(
        run=["alembic", "upgrade", "head"],
        show=["alembic", "history"],
        revert=["alembic", "downgrade", "-1"],
        table="alembic_version",
        column="version_num",
        order="version_num",
        pattern=r"^\S+ -> (\w+)",
        newest_first=True,
        books="head",
        show_writes=False,
        bare=[],
    ),
    "command": Tool([], [], [], "", "", "", r"^(\S+)\s*$", False, "list", False, []),
}
# Tools colour what they print where they believe that a person looks on, under CI=true for one.
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CLASS = re.compile(r"\bclass\s+([A-Za-z_$][\w$]*\d{13})\b")
TELLING = re.compile(r"\b(error|exception)\b *:|\bfailed\b|does not exist", re.I)
# As PostgreSQL says it of CREATE INDEX CONCURRENTLY and others.
TRANSACTION = re.compile(r"cannot run inside a transaction block|cannot be executed from a function", re.I)
STACK = re.compile(r"^\s+at .+:\d+:\d+\)?\n?", re.M)
PARAMETERS = re.compile(r"(--\s*PARAMETERS:|\[?parameters:).*", re.I)
# The same as Node prints it when it does not fit in a line: up to the bracket that stands where the name stands.
LIST = re.compile(r"^( *)(parameters:) \[\n(?:.*\n)*?\1\]", re.I | re.M)
# What PostgreSQL says of a row that breaks a constraint.
ROWS = re.compile(r"(Key \([^()]*\)=|Failing row contains )\(.*\)", re.I)


def known_names(tool: Tool, output: str) -> List[str]:
    """The migrations that the code has, oldest first, from what ``show`` printed."""
    names = list(dict.fromkeys(re.findall(tool.pattern, ANSI.sub("", output), re.M)))
    return names[::-1] if tool.newest_first else names


def class_names(sources: Sequence[str]) -> List[str]:
    """The same from the source of TypeORM's migrations, oldest first."""
    names = {name for source in sources for name in CLASS.findall(source)}
    return sorted(names, key=lambda name: name[-13:])


def applied_names(tool: Tool, rows: Sequence[str], known: Sequence[str]) -> List[str]:
    """What is applied, oldest first. :raises ValueError: the books have several newest ones."""
    if tool.books == "list":
        return list(rows)
    if len(rows) > 1:
        raise ValueError(f"the history has several heads ({', '.join(rows)})")
    if rows and rows[0] in known:
        return list(known[: known.index(rows[0]) + 1])
    return list(rows)


def refusal(known: Optional[Sequence[str]], applied: Sequence[str]) -> str:
    """Why nothing must be run; empty when it may be."""
    if known is not None and not known:
        return "the code has no migration at all, as when a pattern of files matches none"
    unknown = [name for name in applied if known is not None and name not in known]
    if unknown:
        return f"the database has {', '.join(unknown)}, which this code does not know"
    return ""


def pending(known: Sequence[str], applied: Sequence[str]) -> List[str]:
    return [name for name in known if name not in applied]


def run_problem(before: Sequence[str], after: Sequence[str], known: Sequence[str]) -> str:
    """What is wrong after a run that claims to have succeeded; empty when nothing is."""
    if list(after[: len(before)]) != list(before):
        return f"what was applied before is so no longer: {', '.join(before)} became {', '.join(after)}"
    if len(set(after)) != len(after):
        twice = sorted({name for name in after if list(after).count(name) > 1})
        return f"{', '.join(twice)} was applied twice: did another run get in?"
    left = pending(known, after)
    return f"it says that it succeeded, but {', '.join(left)} was not applied" if left else ""


def reverts(applied: Sequence[str], point: Sequence[str]) -> List[str]:
    """What to revert to get back to a point, newest first.

    Nothing when the database is at the point, or before it, as after the restore of an older backup: a blind revert
    would then undo the release before.

    :raises ValueError: the point is on another history than the database.
    """
    common = min(len(applied), len(point))
    if list(applied[:common]) != list(point[:common]):
        raise ValueError(
            f"the database has {', '.join(applied) or 'nothing'} applied, and that does not continue the point "
            f"{', '.join(point) or '(nothing)'}"
        )
    return list(applied[len(point) :])[::-1]


def way_back(
    applied: Sequence[str],
    point: Sequence[str],
    known: Optional[Sequence[str]],
    revertible: bool,
    backup: Optional[Sequence[str]],
    prefer: str = "revert",
) -> Way:
    """Whether a database has to be reverted, restored, or left alone to get back to a point.

    Never two of them: after the restore of a backup from before the migrations there is nothing left to revert.

    :param known: the migrations of the code at hand; None when that cannot be told.
    :param revertible: whether the tool can revert.
    :param backup: what the backup has applied; None when there is none, or it does not say.
    :param prefer: ``revert``, which loses no rows, or ``restore``, when both lead there.
    :raises ValueError: neither does.
    """
    try:
        todo = reverts(applied, point)
        obstacle = ""
    except ValueError as error:
        todo = [name for name in applied if name not in point][::-1]
        obstacle = str(error)
    if not obstacle and not todo:
        behind = len(point) - len(applied)
        return Way("nothing", [], f"it is {behind} migrations before the point" if behind else "it is at the point")
    strange = [name for name in todo if name not in (known or [])]
    if not obstacle and strange:
        obstacle = f"this code does not have {', '.join(strange)}"
    if not obstacle and not revertible:
        obstacle = "there is no command that reverts"
    if not obstacle and prefer == "revert":
        return Way("revert", todo, f"{', '.join(todo)} came after the point")
    obstacle = obstacle or "a restore is preferred"
    if backup is not None and list(backup) == list(point):
        return Way("restore", todo, obstacle)
    if backup is None:
        raise ValueError(f"{obstacle}, and no backup says that it is at the point")
    raise ValueError(f"{obstacle}, and the backup is not at the point: it has {', '.join(backup) or 'nothing'} applied")


def together(ways: Sequence[Way]) -> str:
    """What becomes of a database that several services share: the restore of one is that of all."""
    found = {one.way for one in ways}
    return next((way for way in ("restore", "revert") if way in found), "nothing")


def since(records: Sequence[Dict[str, Any]], release: str) -> Dict[str, Any]:
    """What deployments did to the databases since a release was in place, from the ledger's records.

    :param records: the newest first.
    :param release: the one to go back to.
    :return: ``release``, the newest that came as far as migrations, whose code can revert; ``point`` by service, where
        the databases were before the first of those deployments; ``backup`` and ``backup_migrations``, what was backed
        up then. Empty when there was no such deployment.
    """
    found: Dict[str, Any] = {"release": "", "point": {}, "backup": "", "backup_migrations": {}}
    for record in records:
        points = record.get("migration_point")
        if not points:
            continue
        if record.get("release") == release:
            if record.get("outcome") == "good":
                break
            continue  # an attempt to go back by deploying the old release
        databases, migrated = record.get("migration_databases") or {}, record.get("migrated") or {}
        for service, names in points.items():
            # A second run of the same release began where the first one had ended.
            own = migrated.get(databases.get(service, service)) or []
            found["point"][service] = [name for name in names if name not in own]
        found["release"] = found["release"] or record.get("release", "")
        found["backup"] = record.get("backup") or ""
        found["backup_migrations"] = record.get("backup_migrations") or {}
    return found


def summary(rehearsed: Dict[str, Any]) -> str:
    """One line about a rehearsal."""
    if not rehearsed["migrations"]:
        return "nothing was pending"
    words = [f"{word} {rehearsed[word]['seconds']:.1f} s" for word in ("run", "revert", "again")]
    locks = [f"{one['relation']} {one['mode']} {one['seconds']:.2f} s" for one in rehearsed["run"]["locks"][:3]]
    return f"{', '.join(words)}; locked: {', '.join(locks) or 'nothing that was seen'}"


def needs_no_transaction(output: str) -> bool:
    """Whether a revert failed because it ran in a transaction, which then has undone all of it.

    TypeORM takes no notice of a migration's own ``transaction = false`` when it reverts.
    """
    return bool(TRANSACTION.search(output))


def quiet(output: str) -> str:
    """A tool's output without the parameters of its queries, which are people's data, and without stack traces."""
    output = STACK.sub("", output)
    output = ROWS.sub(lambda match: match.group(1) + "(********)", output)
    output = LIST.sub(lambda match: match.group(2), output)
    return PARAMETERS.sub(lambda match: match.group(1) + " ********", output)


def last_lines(output: str, lines: int = 100) -> str:
    """The end of an output, for a result."""
    return "\n".join(quiet(ANSI.sub("", output)).strip().splitlines()[-lines:])


def cause_of(output: str, lines: int = 12) -> str:
    """The lines of an output that say what went wrong, or else its end."""
    telling = [line.strip() for line in quiet(output).splitlines() if TELLING.search(line)]
    found = list(dict.fromkeys(telling))[:3] or quiet(output).strip().splitlines()[-lines:]
    return "; ".join(found) or "it said nothing"


def merged(tool: str, given: Dict[str, Any]) -> Tool:
    """A known tool with what a service says otherwise. :raises ValueError: something is missing."""
    commands = given.get("commands") or {}
    changes = {name: commands[name] for name in ("run", "show", "revert") if commands.get(name)}
    for option, field in (("table", "table"), ("column", "column"), ("order_by", "order"), ("pattern", "pattern")):
        if given.get(option):
            changes[field] = given[option]
    if "revert" in changes:
        changes["bare"] = []
    if given.get("books"):
        changes["books"] = given["books"]
    result = TOOLS[tool]._replace(**changes)
    if not result.order:
        result = result._replace(order=result.column)
    missing = [field for field in ("run", "show", "table", "column") if not getattr(result, field)]
    if missing:
        raise ValueError(f"tool {tool!r} needs {', '.join(missing)}")
    return result
