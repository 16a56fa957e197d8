# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the document to one HTML page that needs nothing else. No clock, no files."""

from __future__ import annotations

import html
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.eazepay.ops.plugins.module_utils.common.process import distinct

from . import graph

Json = Mapping[str, Any]

STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5b6670;--page:#fff;--card:#f5f6f8;--line:#d9dde2;--good:#1a7f4b;
  --warn:#9a6300;--bad:#c0272d;--info:#2563a8;--goodback:#e4f4ea;--warnback:#fdf1d8;--badback:#fde9e9;--bar:#7aa5d6}
@media (prefers-color-scheme:dark){
  :root{--ink:#e6e9ec;--soft:#9aa5af;--page:#14181c;--card:#1d2329;--line:#333c45;--good:#5cc58c;--warn:#e2b04a;
    --bad:#ff7b7b;--info:#7ab3f0;--goodback:#16301f;--warnback:#33280f;--badback:#3a1a1c;--bar:#3f6fa3}
}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:var(--ink);
  background:var(--page);margin:0 auto;padding:1rem;max-width:66rem}
header{border-left:.45rem solid var(--info);background:var(--card);padding:.8rem 1rem;border-radius:.3rem}
header.good{border-color:var(--good);background:var(--goodback)}
header.failed{border-color:var(--bad);background:var(--badback)}
h1{font-size:1.35rem;margin:0;line-height:1.25}
h2{font-size:1.05rem;margin:1.8rem 0 .5rem}
h3{font-size:.95rem;margin:1rem 0 .3rem}
p{margin:.35rem 0}
.soft{color:var(--soft)}
.small{font-size:.85rem}
.good{color:var(--good)}
.warn{color:var(--warn)}
.bad,.failed{color:var(--bad)}
header h1,header p{color:var(--ink)}
header .word{font-weight:700}
header.good .word{color:var(--good)}
header.failed .word{color:var(--bad)}
.cause{border-left:.2rem solid var(--bad);padding-left:.7rem;margin:.5rem 0}
pre,code{font:13px/1.45 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
code{overflow-wrap:anywhere}
pre{background:var(--card);border:1px solid var(--line);border-radius:.3rem;padding:.5rem .7rem;margin:.3rem 0;
  white-space:pre-wrap;overflow-wrap:anywhere}
.states{display:grid;grid-template-columns:repeat(auto-fill,minmax(15.5rem,1fr));gap:.4rem;padding:0;margin:.4rem 0;
  list-style:none}
.states li{background:var(--card);border:1px solid var(--line);border-left:.3rem solid var(--line);
  border-radius:.25rem;padding:.3rem .6rem;overflow-wrap:anywhere}
.states li.good{border-left-color:var(--good)}
.states li.warn{border-left-color:var(--warn)}
.states li.bad{border-left-color:var(--bad)}
.states li,.states b{color:var(--ink)}
.states .kind{color:var(--soft);font-size:.8rem}
.states.few{color:var(--ink)}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;font-weight:600;color:var(--soft);font-size:.82rem}
td,th{padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}
.time .row{display:grid;grid-template:"name track secs"/minmax(8rem,17rem) 1fr 5.2rem;gap:0 .6rem;
  align-items:center;font-size:.9rem}
.time .step{font-weight:600;margin-top:.45rem;border-bottom:1px solid var(--line)}
.time .name{grid-area:name;overflow-wrap:anywhere}
.time .name.in{padding-left:1.1rem;color:var(--soft)}
.track{grid-area:track;position:relative;height:.85rem;background:var(--card);border-radius:.2rem}
.track i{position:absolute;top:0;bottom:0;min-width:2px;border-radius:.2rem;background:var(--bar)}
.track i.failed{background:var(--bad)}
.track i.back{background:var(--warn)}
.time .secs{grid-area:secs;text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.graphs{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:.8rem}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.3rem;padding:.5rem .6rem;
  break-inside:avoid}
figcaption{font-size:.88rem}
figure svg{width:100%;height:auto;display:block}
svg text{font:10px system-ui,"DejaVu Sans",sans-serif;fill:var(--soft)}
details{margin:.4rem 0}
summary{cursor:pointer;color:var(--soft)}
ul.plain{margin:.2rem 0;padding-left:1.2rem}
li{overflow-wrap:anywhere}
@media (max-width:40rem){
  body{padding:.6rem;font-size:15px}
  .time .row{grid-template:"name secs" "track track"/1fr 5.2rem;margin-bottom:.25rem}
  .states{grid-template-columns:1fr}
  .states.few{grid-template-columns:1fr 1fr;font-size:.88rem}
  table{display:block;overflow-x:auto}
  .graphs{grid-template-columns:1fr}
}
@media print{
  :root{color-scheme:light}
  body{max-width:none;padding:0;font-size:11px}
  details{display:block}
  header,.states li,.track,.track i,pre,figure{print-color-adjust:exact;-webkit-print-color-adjust:exact}
  h2{break-after:avoid}
  tr,figure,.states li{break-inside:avoid}
}
"""


def esc(value: Any) -> str:
    return html.escape("" if value is None else str(value), quote=True)


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%H:%M:%S")


def seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def size(value: Any) -> str:
    number = float(value or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return ""


def tint(outcome: Any) -> str:
    """The class of a word that tells an outcome."""
    word = str(outcome)
    if word in ("healthy", "adopted", "ok", "pass", "published", "good"):
        return "good"
    if word in ("warn", "no_data", "rolled_back", "put back", "skipped", "progressing"):
        return "warn"
    return "bad" if word in ("failed", "fail", "error", "rollback_failed", "failing") else ""


def page(found: Json) -> str:
    """The whole page."""
    title = f"{found['purpose']}: {WORDS[found['outcome']]}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{esc(title)}</title><style>{STYLE}</style></head><body>",
        head(found),
        states(found),
        evidence(found),
        timeline(found),
        changes(found),
        graphs(found),
        checks(found),
        data(found),
        portals(found),
        notices(found),
        commits(found),
        f'<p class="soft small">Times are UTC. {esc(found["name"])}</p></body></html>\n',
    ]
    return "\n".join(part for part in parts if part)


WORDS = {"good": "done", "failed": "FAILED", "checked": "checked, nothing was touched"}


def head(found: Json) -> str:
    where = f" on {found['environment']}" if found["environment"] else ""
    where += f" ({found['target']})" if found["target"] else ""
    began = datetime.fromtimestamp(found["began"], timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    failure = found["failure"]
    word = WORDS[found["outcome"]]
    if failure and failure["step"]:
        word += f" in step {failure['step']}"
    lines = [
        f'<header class="{esc(found["outcome"])}">',
        f'<h1>{esc(found["purpose"])}{esc(where)}: <span class="word">{esc(word)}</span></h1>',
        f'<p class="small">{esc(began)}, {esc(seconds(found["seconds"]))}</p>',
    ]
    if failure:
        shown = [one for one in failure["causes"] if one["text"] or one["stuck"]][:4]
        for one in shown:
            said = esc(one["text"]) + (f"<br><code>{esc(one['last'])}</code>" if one.get("last") else "")
            stuck = f'<br><b class="bad">NOT PUT BACK: {esc(one["stuck"])}</b>' if one["stuck"] else ""
            lines.append(f'<p class="cause"><b>{esc(one["name"])}</b>: {said}{stuck}</p>')
        if not shown:
            lines.append(f'<p class="cause">{esc(failure["message"])}</p>')
        likely = found["diagnostics"].get("likely_cause")
        if likely and not shown:
            lines.append(f'<p class="cause"><b>Likely cause</b>: {esc(likely)}</p>')
        if failure["not_put_back"]:
            lines.append(f'<p class="bad"><b>Not put back: {esc(", ".join(failure["not_put_back"]))}.</b></p>')
        back = ", ".join(failure["put_back"])
        lines.append(f"<p>Put back and proved healthy: {esc(back or 'nothing had to be')}.</p>")
        # A release that was put back on Compose has nothing left to look at but its diagnosis.
        dest = found["diagnostics"].get("dest") or ""
        further = failure["next"] or (f"less {dest}/index.txt" if dest and not dest.endswith(".zip") else "")
        if further:
            lines.append(f"<p>Next: <code>{esc(further)}</code></p>")
    else:
        lines.append(f"<p>{esc(counts(found))}</p>")
    return "".join([*lines, "</header>"])


def many(count: int, thing: str, done: str) -> List[str]:
    return [f"{count} {thing}{'' if count == 1 else 's'} {done}"] if count else []


def judged(checks: Sequence[Json]) -> str:
    """How many were good; what nothing was known of is not among them."""
    blind = sum(bool(one["ok"]) and one["verdict"] == "no_data" for one in checks)
    good = sum(bool(one["ok"]) for one in checks) - blind
    bad = len(checks) - good - blind
    said = [f"{count} {word}" for count, word in ((bad, "bad"), (good, "good"), (blind, "not judged")) if count]
    return ", ".join(said)


def counts(found: Json) -> str:
    moved = [one for one in found["changes"] if one["kind"] == "service"]
    done = "would change" if found["outcome"] == "checked" else "changed"
    said = many(len(moved), "service", done) or ["no service changed"]
    said += many(sum(len(one["applied"]) for one in found["migrations"]), "migration", "applied")
    said += many(sum(len(one["reverted"]) for one in found["migrations"]), "migration", "reverted")
    said += many(sum(one["kind"] == "portal" for one in found["changes"]), "portal", "published")
    asked = found["checks"]
    if asked:
        said.append(f"checks: {judged(asked)}")
    text = ", ".join(said)
    return text[:1].upper() + text[1:] + "."


def states(found: Json) -> str:
    rows = sorted(found["states"], key=lambda one: {"bad": 0, "warn": 1}.get(one["level"], 2))
    if not rows:
        return ""
    items = "".join(
        f'<li class="{esc(one["level"])}"><span class="kind">{esc(one["kind"])}</span> <b>{esc(one["name"])}</b>'
        f"<br>{esc(one['text'])}</li>"
        for one in rows
    )
    few = " few" if all(len(one["text"]) < 48 for one in rows) else ""
    heading = "What would be" if found["outcome"] == "checked" else "Where everything stands now"
    return f'<h2>{heading}</h2><ul class="states{few}">{items}</ul>'


def evidence(found: Json) -> str:
    failure = found["failure"]
    if not failure:
        return ""
    parts = []
    for one in failure["causes"]:
        for log in one["logs"]:
            text = "\n".join(distinct(log["text"].splitlines()))
            parts.append(f"<h3>Last lines of {esc(log['name'])}</h3><pre>{esc(text)}</pre>")
        if one["events"]:
            parts.append(f"<h3>Events of {esc(one['name'])}</h3><pre>{esc(chr(10).join(one['events']))}</pre>")
    parts.append(
        f"<details{'' if parts else ' open'}><summary>The message of the task "
        f"&ldquo;{esc(failure['task'])}&rdquo;</summary><pre>{esc(failure['message'])}</pre></details>"
    )
    for later in failure["later"]:
        parts.append(f'<h3 class="bad">Failed after that, too</h3><pre>{esc(later)}</pre>')
    if found["diagnostics"].get("dest"):
        one = found["diagnostics"]
        likely = f"{one['likely_cause']} " if one["likely_cause"] else ""
        page = "" if one["dest"].endswith(".zip") else "/index.html"
        parts.append(f"<p>Diagnosis: {esc(likely)}<code>{esc(one['dest'])}{page}</code></p>")
    return "<h2>Why</h2>" + "".join(parts)


def timeline(found: Json) -> str:
    lines = found["timeline"]
    if not lines:
        return ""
    begin = found["began"]
    whole = max(found["ended"] - begin, 0.1)
    steps = {one["name"]: one for one in found["steps"]}
    rows: List[str] = []
    before = None
    for one in lines:
        if one["step"] != before:
            before = one["step"]
            step = steps.get(before)
            if step:
                took = seconds(step["ended"] - step["began"])
                failed = ' <span class="bad">failed</span>' if step["outcome"] == "failed" else ""
                began = f'<span class="soft small">{clock(step["began"])}, {took}</span>'
                rows.append(f'<div class="step">{esc(before)} {began}{failed}</div>')
        left = 100 * max(0.0, one["began"] - begin) / whole
        width = 100 * max(0.0, one["ended"] - one["began"]) / whole
        took = seconds(one["ended"] - one["began"])
        note = f' title="{esc(one["text"])}"' if one["text"] else ""
        inner = " in" if one["level"] else ""
        rows.append(
            f'<div class="row"><div class="name{inner}">{esc(one["name"])}</div><div class="track"{note}>'
            f'<i class="{esc(one["outcome"])}" style="left:{min(left, 99.5):.2f}%;width:{min(width, 100 - left):.2f}%">'
            "</i></div>"
            f'<div class="secs">{took}</div></div>'
        )
    return f'<h2>When what happened</h2><div class="time">{"".join(rows)}</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{esc(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def word(outcome: Any) -> str:
    return f'<span class="{tint(outcome)}">{esc(str(outcome).replace("_", " "))}</span>'


def changes(found: Json) -> str:
    rows = [
        [
            f"{esc(one['kind'])} <b>{esc(one['name'])}</b>",
            esc(one["before"] or "-"),
            esc(one["after"]),
            word(one["outcome"]),
        ]
        for one in found["changes"]
    ]
    return "<h2>What changed</h2>" + table(["what", "from", "to", "how it went"], rows) if rows else ""


def graphs(found: Json) -> str:
    drawn = [figure(one, graph.svg(one, found["steps"])) for one in found["graphs"]]
    if not drawn:
        return ""
    first, rest = drawn[:8], drawn[8:]
    more = (
        f"<details><summary>{len(rest)} more</summary><div class='graphs'>{''.join(rest)}</div></details>"
        if rest
        else ""
    )
    return f'<h2>What the gates saw</h2><div class="graphs">{"".join(first)}</div>{more}'


def figure(one: Json, picture: str) -> str:
    kind = f"<span class='soft small'>{esc(one['kind'])}</span>"
    reason = "" if one["ok"] else f'<br><span class="bad">{esc(one["reason"])}</span>'
    return (
        f"<figure><figcaption><b>{esc(one['name'])}</b> {kind} {word(one['verdict'])}{reason}</figcaption>"
        f"{picture}<figcaption class='soft small'>{esc(graph.caption(one))}</figcaption></figure>"
    )


def checks(found: Json) -> str:
    asked = found["checks"]
    if not asked:
        return ""
    heads = ["check", "verdict", "why", "step"]
    bad, good = [one for one in asked if not one["ok"]], [one for one in asked if one["ok"]]
    parts = [table(heads, [check(one) for one in bad])] if bad else []
    if good:
        good.sort(key=lambda one: one["verdict"] != "no_data")
        count = f"The others: {judged(good)}" if bad else judged(good)
        parts.append(f"<details><summary>{count}</summary>{table(heads, [check(one) for one in good])}</details>")
    return f"<h2>Checks</h2>{''.join(parts)}"


def check(one: Json) -> List[str]:
    return [esc(one["name"]), word(one["verdict"]), esc(one["reason"]), f'<span class="soft">{esc(one["step"])}</span>']


def data(found: Json) -> str:
    parts: List[str] = []
    for one in found["backups"]:
        verified = f"verified: {one['verified']}" if one["verified"] else '<span class="bad">not verified</span>'
        names = [str(name.get("name") if isinstance(name, dict) else name) for name in one["databases"] or ()]
        parts.append(
            f"<p>Backup <code>{esc(one['id'])}</code>, {size(one['bytes'])}, {verified}"
            f"{', taken earlier' if one['reused'] else ''}: {esc(', '.join(names))}"
            f'<br><code class="small soft">{esc(one["manifest"])}</code></p>'
        )
    for one in found["restores"]:
        restored = ", ".join(str(database.get("name")) for database in one.get("databases") or ())
        out, lost = seconds(one.get("window") or 0), seconds(one.get("seconds_lost") or 0)
        parts.append(
            f"<p>Restored from <code>{esc(one.get('backup'))}</code>: {esc(restored)}. "
            f"Clients were kept out for {out}; what was written in the last {lost} is lost.</p>"
        )
    rows = [
        [
            esc(one["database"] or one["name"]),
            "<br>".join(esc(name) for name in one["applied"]) or "-",
            "<br>".join(esc(name) for name in one["reverted"]) or "-",
            "<br>".join(esc(name) for name in one["pending"]) or "-",
        ]
        for one in found["migrations"]
        if one["applied"] or one["reverted"] or one["pending"]
    ]
    if rows:
        parts.append(table(["migrations of", "applied", "reverted", "pending"], rows))
    elif found["migrations"]:
        parts.append("<p>No migration was pending.</p>")
    return "<h2>Databases</h2>" + "".join(parts) if parts else ""


def portals(found: Json) -> str:
    parts: List[str] = []
    rows = [
        [
            esc(one["name"]),
            esc(one["action"]),
            f'<code class="small">{esc(str(one["image"]))}</code>',
            esc(one["reason"]),
        ]
        for one in found["images"]
    ]
    if rows:
        parts.append("<h2>Images</h2>" + table(["service", "", "image", "why"], rows))
    rows = [
        [
            esc(one["name"]),
            esc(one["release"]) or '<span class="bad">failed</span>',
            esc(one["previous"]) or "-",
            f"{one['uploaded']} uploaded, {one['deleted']} deleted",
            "<br>".join(
                f"<code>{esc(made['id'])}</code> {esc(' '.join(made['paths'][:6]))}" for made in one["invalidations"]
            )
            or "not needed",
        ]
        for one in found["portals"]
    ]
    if rows:
        parts.append("<h2>Portals</h2>" + table(["portal", "serves", "before", "objects", "invalidation"], rows))
    rows = [
        ["on" if one["enabled"] else "off", esc(one["purpose"]), esc(one["expires"]), clock(one["at"])]
        for one in found["maintenance"]
    ]
    if rows:
        parts.append("<h2>Maintenance</h2>" + table(["", "reason", "lifts itself at", "seen"], rows))
    return "".join(parts)


def notices(found: Json) -> str:
    rows = [
        [
            clock(one["at"]),
            esc(one["by"]),
            esc(", ".join(one["to"]) if isinstance(one["to"], list) else one["to"]),
            esc(one["subject"]),
            word("sent" if one["outcome"] == "ok" else "failed"),
        ]
        for one in found["notices"]
    ]
    return "<h2>Notices</h2>" + table(["at", "by", "to", "what", ""], rows) if rows else ""


def commits(found: Json) -> str:
    one: Dict[str, Any] = dict(found["commits"])
    if not one:
        return ""
    since = f" since {esc(one['previous'])}" if one["previous"] else ""
    items = "".join(f"<li>{esc(change)}</li>" for change in one["changes"])
    commit = f"<code>{esc(one['commit'][:12])}</code>"
    return (
        f"<h2>Commits</h2><p>{esc(one['tag'])} is {commit}; {len(one['changes'])} commits{since}.</p>"
        f'<ul class="plain small">{items}</ul>'
    )
