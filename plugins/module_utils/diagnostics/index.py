# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The bundle's first page, for a browser and for a terminal: what was at the failure, and what is now. Pure."""

from __future__ import annotations

import html
import textwrap
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .rules import Finding, likely

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;"
    "vertical-align:top;overflow-wrap:anywhere}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".bad{border-left:.4rem solid #c33;padding-left:1rem}.good{border-left:.4rem solid #393;padding-left:1rem}"
)
WIDTH = 110
# Where the words of a release are that no longer runs.
AT_FAILURE = "at_failure"


class Section(NamedTuple):
    """One part of the page; what is empty is not shown."""

    heading: str
    level: str = ""  # bad or good
    lines: Sequence[str] = ()
    rows: Sequence[Tuple[str, str, str]] = ()  # service, how it stands, why
    block: str = ""  # as it is, line by line
    files: Sequence[str] = ()


def sections(
    found: Sequence[Finding],
    services: Sequence[Mapping[str, Any]],
    files: Sequence[str],
    released: str = "",
    rollout: Sequence[Mapping[str, Any]] = (),
    failure: str = "",
) -> List[Section]:
    """What the page says, the likely cause first.

    :param services: how each service stands now.
    :param released: what the ledger says.
    :param rollout: the services of a rollout that failed, as it returned them.
    :param failure: the message with which a run failed.
    """
    first = likely(found, bool(failure))
    then = [one for one in rollout if one.get("outcome") not in ("unchanged", "skipped", "planned")]
    bad = any(one.get("cause") or one.get("rollback_cause") for one in then)
    evidence = [name for name in files if name.startswith(AT_FAILURE + "/")]
    said = [_top(first, failure)]
    if bad or (failure and first):
        lines = []
        if any(one.get("outcome") == "rolled_back" for one in then):
            lines.append("What was rolled out was put back before this was gathered; all else below is of afterwards.")
        if evidence:
            lines.append(f"Last lines and events of the release that failed: {', '.join(sorted(evidence))}.")
        rows = [(str(one["name"]), _outcome(one), _why(one)) for one in then] if bad else []
        said.append(Section("At the failure", "", lines, rows, failure if first else ""))
    more = [_sentence(one) for one in found if one is not first]
    said.append(Section("Also seen", "", more))
    said.append(Section("Released", block=released))
    now = [(str(one["name"]), str(one["outcome"]), _why(one) or one.get("detail") or "") for one in services]
    said.append(Section("Services now", rows=now))
    said.append(Section("Files", files=sorted(files)))
    return [one for one in said if one.level or any(one[2:])]


def _top(first: Optional[Finding], failure: str) -> Section:
    if first:
        who = f"{first.service}: " if first.service else ""
        return Section("Likely cause", "bad", [f"{who}{first.text}", first.next])
    if failure:
        return Section("Why it failed", "bad", block=failure)
    return Section("Nothing wrong was found", "good")


def _sentence(one: Finding) -> str:
    when = "at the failure, " if one.at == "failure" else ""
    return f"{when}{one.service or 'all'}: {one.text}. {one.next}"


def _outcome(service: Mapping[str, Any]) -> str:
    outcome = str(service.get("outcome"))
    return {"rolled_back": "put back", "rollback_failed": "NOT PUT BACK"}.get(outcome, outcome)


def _why(service: Mapping[str, Any]) -> str:
    cause, stuck = service.get("cause") or {}, service.get("rollback_cause") or {}
    told = [cause.get("text") or ""] + ([f"not put back: {stuck['text']}"] if stuck.get("text") else [])
    return "; ".join(one for one in told if one)


def page(title: str, said: Sequence[Section]) -> str:
    """For a browser."""
    esc = html.escape
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{esc(title)}</title><style>{STYLE}</style><h1>{esc(title)}</h1>"
    ]
    for one in said:
        body = "".join(f"<p>{esc(line)}</p>" for line in one.lines)
        if one.rows:
            rows = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in one.rows)
            body += f"<table><tr><th>service<th>stands<th>why</tr>{rows}</table>"
        if one.block:
            body += f"<pre>{esc(one.block)}</pre>"
        if one.files:
            links = "".join(f'<li><a href="{esc(name, quote=True)}">{esc(name)}</a></li>' for name in one.files)
            body += f"<ul>{links}</ul>"
        parts.append(f'<div class="{one.level}"><h2>{esc(one.heading)}</h2>{body}</div>')
    return "".join(parts) + "</html>\n"


def text(title: str, said: Sequence[Section]) -> str:
    """The same for a terminal."""
    parts = [title, "=" * len(title)]
    for one in said:
        parts += ["", one.heading.upper() if one.level == "bad" else one.heading]
        parts += [_wrapped(line, "  ") for line in one.lines]
        wide = max((len(row[0]) for row in one.rows), default=0)
        parts += [_wrapped(f"{row[0]:{wide}}  {row[1]:12}  {row[2]}".rstrip(), "  ", " " * 4) for row in one.rows]
        parts += [_wrapped(line, "  ", " " * 6) for line in one.block.splitlines()]
        parts += [f"  {name}" for name in one.files]
    return "\n".join(parts) + "\n"


def _wrapped(line: str, indent: str, further: str = "") -> str:
    lead = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.lstrip(),
        WIDTH,
        initial_indent=indent + lead,
        subsequent_indent=further or indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
