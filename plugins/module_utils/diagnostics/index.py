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
    "body{font:15px/1.45 system-ui,sans-serif;max-width:64rem;margin:1rem auto;padding:0 1rem;color-scheme:light dark}"
    "h1{font-size:1.35rem;margin:0 0 .6rem}h2{font-size:1.05rem;margin:1rem 0 .3rem}p{margin:.2rem 0}ul{margin:.2rem 0}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.15rem .6rem .15rem 0;"
    "border-bottom:1px solid #8886;vertical-align:top}td:nth-child(2){white-space:nowrap}"
    "td:last-child{width:99%;overflow-wrap:anywhere}"
    "pre,.bad p{overflow-wrap:anywhere}pre{white-space:pre-wrap;font-size:.85rem;margin:.3rem 0}"
    ".bad,.good{border-left:.4rem solid #c33;padding:.1rem 0 .3rem 1rem}.good{border-color:#393}"
    ".bad h2,.good h2{margin-top:0}"
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
    back = [str(one["name"]) for one in then if one.get("outcome") == "rolled_back"]
    bad = any(one.get("cause") or one.get("rollback_cause") for one in then)
    evidence = [name for name in files if name.startswith(AT_FAILURE + "/")]
    said = [_top(first, failure)]
    if bad or (failure and first):
        lines = []
        if back:
            lines.append(f"Put back before this was gathered: {', '.join(back)}. All else below is of afterwards.")
        if evidence:
            lines.append(f"Last lines and events of the release that failed: {', '.join(sorted(evidence))}.")
        # What only went back with the others is in the line above.
        own = [one for one in then if _why(one) or one.get("outcome") != "rolled_back"]
        rows = [(str(one["name"]), _outcome(one), _why(one)) for one in own] if bad else []
        said.append(Section("At the failure", "", lines, rows, failure if first else ""))
    said.append(Section("Also seen", "", [_sentence(one) for one in found if one is not first]))
    now = [(str(one["name"]), str(one["outcome"]), _why(one) or one.get("detail") or "") for one in services]
    said.append(Section("Services now", rows=now))
    said.append(Section("Released", block=released))
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
    links = {esc(name): f'<a href="{esc(name, quote=True)}">{esc(name)}</a>' for one in said for name in one.files}
    for one in said:
        body = "".join(f"<p>{_linked(esc(line), links)}</p>" for line in one.lines)
        if one.rows:
            rows = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in one.rows)
            body += f"<table><tr><th>service<th>stands<th>why</tr>{rows}</table>"
        if one.block:
            body += f"<pre>{esc(one.block)}</pre>"
        if one.files:
            body += f"<ul>{''.join(f'<li>{links[esc(name)]}</li>' for name in one.files)}</ul>"
        parts.append(f'<div class="{one.level}"><h2>{esc(one.heading)}</h2>{body}</div>')
    return "".join(parts) + "</html>\n"


def _linked(line: str, links: Mapping[str, str]) -> str:
    """With a link at each word that is a file's name."""
    return " ".join(
        links[word.rstrip(".,")] + word[len(word.rstrip(".,")) :] if word.rstrip(".,") in links else word
        for word in line.split(" ")
    )


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
