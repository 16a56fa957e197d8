# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the events of a run to the document that a page shows. No clock, no files, no Ansible."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics.rules import message, nearest

Json = Dict[str, Any]

COLLECTION = "eazepay.ops."
GOOD, WARN, BAD, PLAIN = "good", "warn", "bad", "plain"

# What is kept of each module's result. What is not named here never reaches a page.
KEPT: Dict[str, Tuple[str, ...]] = {
    "service_rollout": ("services", "rolled_back", "monitor", "seconds"),
    "health_gate": ("verdict", "checks", "seconds"),
    "pg_backup": ("backup", "reused", "pruned"),
    "pg_restore": ("backup", "databases", "loss", "seconds_lost", "window", "dropped"),
    "db_migration": ("services",),
    "release_images": ("images",),
    "site_publish": ("sites", "release", "previous", "uploaded", "deleted"),
    "cf_invalidate": ("sites", "distribution_id", "invalidation", "invalidations", "paths", "cost"),
    "maintenance_mode": ("enabled", "overdue", "lease"),
    "release_ledger": ("lock", "taken_from", "in_place"),
    "release_source": ("tag", "commit", "previous", "changes"),
    "diagnostics": ("dest", "likely_cause"),
}
# Only these make a run worth a page, and only in states that act.
ACTS = {
    "service_rollout": {"observed"},
    "pg_backup": {"listed", "verified"},
    "pg_restore": {"listed"},
    "db_migration": {"shown", "listed"},
    "site_publish": {"verified"},
    "maintenance_mode": {"status"},
}
NOTICES = {"community.general.mail", "community.general.slack"}
WELL = {"healthy", "adopted", "unchanged"}


def event(
    task: str, action: str, host: str, step: str, began: float, ended: float, outcome: str, result: Mapping[str, Any]
) -> Optional[Json]:
    """What is kept of a task's result; None when a page has no use for it.

    :param outcome: ``ok``, ``failed`` or ``ignored``.
    """
    short = action[len(COLLECTION) :] if action.startswith(COLLECTION) else ""
    # A role may leave it to its next task to fail, as results with all samples are long. All our failures begin alike.
    told = short in KEPT and str(result.get("msg") or "").startswith(("Failed ", "Interrupted "))
    if outcome == "ok" and told:
        outcome = "failed"
    failed = outcome == "failed"
    if short not in KEPT and action not in NOTICES and not failed:
        return None
    arguments = (result.get("invocation") or {}).get("module_args") or {}
    kept = {key: result[key] for key in KEPT.get(short, ()) if key in result}
    if "sites" in kept:
        of_each = ("name", "failed", "changed", *KEPT[short])
        kept["sites"] = [{key: site[key] for key in of_each if key in site} for site in kept["sites"]]
    if failed:
        # A file that cannot be included has a reason and no message.
        kept["msg"] = str(result.get("msg") or result.get("reason") or "")
        for stream in ("stderr", "stdout"):
            if not short and result.get(stream):
                kept["output"] = "\n".join(str(result[stream]).rstrip().splitlines()[-15:])
                break
    if action in NOTICES:
        kept["to"] = arguments.get("to") or arguments.get("channel") or ""
        kept["subject"] = arguments.get("subject") or ""
    return {
        "task": task.rsplit(" : ", 1)[-1],
        "action": short or action,
        "host": host,
        "step": step,
        "began": began,
        "ended": ended,
        "outcome": outcome,
        "changed": bool(result.get("changed")),
        "state": str(arguments.get("state") or ""),
        "object": str(arguments.get("bucket") or arguments.get("alias") or ""),
        "result": kept,
    }


def acting(one: Mapping[str, Any]) -> bool:
    return one["action"] in ACTS and one["state"] not in ACTS[one["action"]]


def document(run: Mapping[str, Any], events: Sequence[Json]) -> Optional[Json]:
    """The document; None when nothing was done that is worth one.

    :param run: ``began`` and ``ended`` in seconds since 1970, ``failed``, ``check``, ``playbook``, ``environment``,
        ``name``, ``steps`` with ``name``, ``began`` and ``seconds`` as the playbook took them, and ``stat``, what the
        playbook itself says of the run.
    """
    # A run that says what it is has its page even when it failed before it did anything.
    if not run.get("stat") and not any(acting(one) for one in events):
        return None
    events = [dict(one) for one in events]
    root = _root(events) if run.get("failed") else None
    if root is not None:
        for one in events[events.index(root) + 1 :]:
            if acting(one) or one["action"] == "health_gate":
                one["step"] = "put back"
            elif one["action"] == "diagnostics":
                one["step"] = "diagnosis"
    stat = run.get("stat") or {}
    release = _release(events, stat)
    purpose = stat.get("purpose") or " ".join(part for part in (run.get("playbook"), release) if part) or "run"
    outcome = "failed" if run.get("failed") else "checked" if run.get("check") else "good"
    found: Json = {
        "version": 1,
        "name": run.get("name") or "",
        "playbook": run.get("playbook") or "",
        "purpose": purpose,
        "environment": stat.get("environment") or run.get("environment") or "",
        "target": stat.get("target") or "",
        "release": release,
        "outcome": outcome,
        "began": run["began"],
        "ended": run["ended"],
        "seconds": round(run["ended"] - run["began"], 1),
        "failure": _failure(root, events, stat) if root is not None else None,
        "states": _states(events, stat),
        "changes": _changes(events),
        "steps": _steps(events, root, run.get("steps") or ()),
        "timeline": _timeline(events),
        "graphs": _graphs(events),
        "checks": _checks(events),
        "backups": _backups(events),
        "migrations": _migrations(events),
        "restores": [one["result"] for one in events if one["action"] == "pg_restore" and one["outcome"] == "ok"],
        "images": _images(events),
        "portals": _portals(events),
        "maintenance": _maintenance(events),
        "notices": _notices(events),
        "commits": _commits(events),
        "diagnostics": _diagnostics(events),
    }
    return found


def stem(found: Mapping[str, Any]) -> str:
    """The name of the files, without what follows the point."""
    began = datetime.fromtimestamp(found["began"], timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    name = found["name"] or found["playbook"] or "run"
    if not re.match(r"\d{8}T\d{6}Z-", name):
        name = f"{began}-{name}"
    return re.sub(r"[^\w.+-]+", "-", name)[:120].strip(".-")


def _root(events: Sequence[Json]) -> Optional[Json]:
    """The failure that explains the run: the first one that was not expected."""
    failed = [one for one in events if one["outcome"] == "failed"]
    ours = [one for one in failed if one["action"] in KEPT]
    return next(iter(ours or failed), None)


def _one_by_one(events: Sequence[Json]) -> List[Json]:
    """A task that saw to several sites as one event for each of them."""
    found: List[Json] = []
    for one in events:
        sites = one["result"].get("sites")
        if sites is None:
            found.append(one)
        for site in sites or ():
            outcome = "failed" if site.get("failed") else "ok"
            found.append(
                {
                    **one,
                    "object": site["name"],
                    "outcome": outcome,
                    "changed": bool(site.get("changed")),
                    "result": site,
                }
            )
    return found


def _last(events: Sequence[Json], action: str) -> List[Json]:
    return [one for one in events if one["action"] == action]


def _release(events: Sequence[Json], stat: Mapping[str, Any]) -> str:
    if stat.get("release"):
        return str(stat["release"])
    for one in _last(events, "service_rollout"):
        if acting(one):
            for service in one["result"].get("services") or ():
                if (service.get("after") or {}).get("release"):
                    return str(service["after"]["release"])
    for one in _last(events, "release_source"):
        if one["result"].get("tag"):
            return str(one["result"]["tag"])
    return ""


def _failure(root: Json, events: Sequence[Json], stat: Mapping[str, Any]) -> Json:
    result = root["result"]
    message = result.get("msg") or root["task"]
    step = root["step"]
    if root["action"] not in KEPT and stat.get("reason"):
        # Another's task, perhaps a secret one: the playbook itself says what it was.
        message, step = str(stat["reason"]), str(stat.get("failed_step") or step)
    message, _sep, further = message.partition("\nNext:") if "\nNext:" in message else message.partition(" Next: ")
    causes = []
    for service in result.get("services") or ():
        cause, stuck = service.get("cause") or {}, service.get("rollback_cause") or {}
        if root["action"] != "service_rollout" or not (cause or stuck):
            continue
        causes.append(
            {
                "name": service["name"],
                "text": cause.get("text") or "",
                "stuck": stuck.get("text") or "",
                "last": _last_words(service.get("logs") or ()),
                "logs": [
                    {"name": log["container"], "text": "\n".join(log["text"].rstrip().splitlines()[-6:])}
                    for log in service.get("logs") or ()
                    if log.get("text")
                ],
                "events": nearest(service.get("events") or (), cause.get("text") or "")[:5]
                if not service.get("logs")
                else [],
            }
        )
    # A gate's checks, or what was watched during the rollout.
    for check in [*(result.get("checks") or ()), *(result.get("monitor") or ())]:
        if not check.get("ok"):
            causes.append({"name": check["name"], "text": check["reason"], "stuck": "", "logs": [], "events": []})
    if not causes and result.get("output"):
        causes.append(
            {
                "name": root["task"],
                "text": message,
                "stuck": "",
                "logs": [{"name": "output", "text": result["output"]}],
                "events": [],
            }
        )
    back = list(stat.get("put_back") or ())
    left = [str(name) for name in stat.get("not_put_back") or ()]
    for one in _last(events, "service_rollout"):
        back += [name for name in one["result"].get("rolled_back") or () if name not in back]
        left += [
            service["name"]
            for service in one["result"].get("services") or ()
            if service.get("outcome") == "rollback_failed"
        ]
        if one["step"] == "put back":
            back += [
                service["name"]
                for service in one["result"].get("services") or ()
                if service.get("outcome") == "healthy" and service["name"] not in back
            ]
    return {
        "step": step,
        "task": root["task"],
        "message": message.strip(),
        "next": further.strip(),
        "causes": causes,
        "put_back": back,
        "not_put_back": left,
        "later": [
            one["result"].get("msg") or one["task"]
            for one in events
            if one["outcome"] == "failed" and one is not root and one["action"] in KEPT
        ],
    }


def _last_words(logs: Sequence[Mapping[str, Any]]) -> str:
    """The last line that says something; of a line in JSON its message."""
    for log in logs:
        lines = [line.strip() for line in str(log.get("text") or "").splitlines() if line.strip()]
        if lines:
            return message(lines[-1])[:300]
    return ""


def _state(kind: str, name: str, level: str, text: str) -> Json:
    return {"kind": kind, "name": name, "level": level, "text": text}


def _states(events: Sequence[Json], stat: Mapping[str, Any]) -> List[Json]:
    """Where everything stands at the end, as far as the run saw it."""
    found: Dict[Tuple[str, str], Json] = {}
    for name in stat.get("portals") or ():
        found["portal", name] = _state("portal", name, PLAIN, "not touched")
    for one in _one_by_one(events):
        result = one["result"]
        if one["action"] == "service_rollout":
            for service in result.get("services") or ():
                row = _service_state(service, one["state"] == "observed")
                if row is not None:
                    found["service", service["name"]] = row
        elif one["action"] == "db_migration" and acting(one):
            for service in result.get("services") or ():
                applied, reverted = service.get("applied") or (), service.get("reverted") or ()
                text = f"{len(applied)} migrations applied" if applied else "schema unchanged"
                text = f"{len(reverted)} migrations reverted" if reverted else text
                text = text.replace("1 migrations", "1 migration")
                name = service.get("database") or service["name"]
                if applied or reverted or ("database", name) not in found:
                    found["database", name] = _state("database", name, PLAIN, text)
        elif one["action"] == "pg_restore" and one["outcome"] == "ok":
            for database in result.get("databases") or ():
                text = f"restored from {result.get('backup') or 'a backup'}"
                found["database", database["name"]] = _state("database", database["name"], WARN, text)
        elif one["action"] == "site_publish" and acting(one):
            level = BAD if one["outcome"] == "failed" else GOOD
            text = (
                f"serves {_published(result['release'])}" if result.get("release") else "not published: see the failure"
            )
            found["portal", one["object"]] = _state("portal", one["object"], level, text)
        elif one["action"] == "maintenance_mode" and "enabled" in result:
            text = "maintenance is on: users see the maintenance page" if result["enabled"] else "maintenance is off"
            found["maintenance", ""] = _state("traffic", "", WARN if result["enabled"] else GOOD, text)
    order = ["traffic", "service", "database", "portal"]
    return sorted(found.values(), key=lambda row: order.index(row["kind"]))


def _service_state(service: Mapping[str, Any], observed: bool) -> Optional[Json]:
    name, outcome = service["name"], str(service.get("outcome"))
    before = (service.get("before") or {}).get("release") or ""
    after = (service.get("after") or {}).get("release") or ""
    if outcome == "skipped":
        return None  # never started: what was known of it holds
    if outcome in WELL:
        release = before if observed else after or before
        return _state("service", name, GOOD, f"healthy at {release}" if release else "healthy")
    if outcome == "rolled_back":
        return _state("service", name, GOOD, f"put back to {before}, proved healthy" if before else "put back, healthy")
    if outcome == "planned":
        return _state("service", name, PLAIN, f"would go from {before or 'nothing'} to {after}")
    why = ((service.get("rollback_cause") or service.get("cause")) or {}).get("text") or service.get("detail") or ""
    said = {"rollback_failed": "NOT PUT BACK"}.get(outcome, outcome)
    return _state("service", name, WARN if outcome == "progressing" else BAD, f"{said}: {why}" if why else said)


def _changes(events: Sequence[Json]) -> List[Json]:
    found = []
    for one in _one_by_one(events):
        result, step = one["result"], one["step"]
        if one["action"] == "service_rollout" and acting(one):
            for service in result.get("services") or ():
                if service.get("action", "none") == "none" or service.get("outcome") == "skipped":
                    continue
                before, after = service.get("before") or {}, service.get("after") or {}
                found.append(
                    {
                        "kind": "service",
                        "name": service["name"],
                        "before": before.get("release") or _images_of(before),
                        "after": after.get("release") or _images_of(after),
                        "outcome": service.get("outcome"),
                        "step": step,
                        "seconds": (service.get("seconds") or {}).get("rolling"),
                    }
                )
        elif one["action"] == "site_publish" and acting(one) and one["changed"]:
            found.append(
                {
                    "kind": "portal",
                    "name": one["object"],
                    "before": _published(result.get("previous")),
                    "after": _published(result.get("release")),
                    "outcome": "published" if one["state"] != "rolled_back" else "put back",
                    "step": step,
                    "seconds": None,
                }
            )
    return found


def _published(release: Any) -> str:
    """The release of a portal; ``found`` is what site_publish calls that which stood there before its first one."""
    return "unrecorded" if release == "found" else str(release or "")


def _images_of(side: Mapping[str, Any]) -> str:
    return ", ".join(str(image).rsplit("/", 1)[-1][:60] for image in (side.get("images") or {}).values())


def _steps(events: Sequence[Json], root: Optional[Json], timed: Sequence[Json] = ()) -> List[Json]:
    """From the first event of each to its last one, or as long as the playbook itself says."""
    found: Dict[str, Json] = {}
    for one in events:
        if not one["step"]:
            continue
        step = found.setdefault(
            one["step"], {"name": one["step"], "began": one["began"], "ended": one["ended"], "outcome": "ok"}
        )
        step["ended"] = max(step["ended"], one["ended"])
        if root is one:
            step["outcome"] = "failed"
    for one in timed:
        if one["name"] in found:
            found[one["name"]].update(began=one["began"], ended=one["began"] + one["seconds"])
    return list(found.values())


def _timeline(events: Sequence[Json]) -> List[Json]:
    """Bars: every task that is worth one, and below a rollout its services."""
    found = []
    for one in events:
        short = one["ended"] - one["began"] < 0.3
        if one["action"] in ("release_ledger", "ansible.builtin.fail", *NOTICES) or (
            short and one["outcome"] == "ok" and not acting(one)
        ):
            continue
        row = {key: one[key] for key in ("step", "began", "ended", "outcome")}
        name = "Look at the services" if one["action"] == "service_rollout" and not acting(one) else one["task"]
        found.append({**row, "name": name, "level": 0, "text": ""})
        if not acting(one) or one["action"] != "service_rollout":
            continue
        for service in one["result"].get("services") or ():
            seconds = service.get("seconds") or {}
            if "rolling" not in seconds or "waiting" not in seconds or service.get("outcome") == "skipped":
                continue
            # The rollout ends when the task does, give or take the module's own end.
            began = one["ended"] - min(one["ended"] - one["began"], one["result"].get("seconds") or 0)
            start = began + seconds["waiting"]
            text = f"{service.get('outcome')} after {seconds['rolling']:g} s"
            if "putting_back" in seconds:
                text += f", put back in {seconds['putting_back']:g} s"
            found.append(
                {
                    "step": one["step"],
                    "name": service["name"],
                    "began": start,
                    "ended": min(one["ended"], start + seconds["rolling"]),
                    "outcome": "ok" if service.get("outcome") in WELL else "failed" if service.get("cause") else "back",
                    "level": 1,
                    "text": text,
                }
            )
    return found


def _all_checks(events: Sequence[Json]) -> List[Tuple[Json, Json]]:
    found = []
    for one in events:
        for check in [*(one["result"].get("checks") or ()), *(one["result"].get("monitor") or ())]:
            found.append((one, check))
    return found


def _graphs(events: Sequence[Json]) -> List[Json]:
    """A graph for each check that was asked often enough; the same check of several gates is one graph."""
    merged: Dict[Tuple[str, str], Json] = {}
    for _one, check in _all_checks(events):
        points = [
            [sample["at"], sample["value"], sample["verdict"]]
            for sample in check.get("samples") or ()
            if isinstance(sample.get("value"), (int, float)) and sample["value"] == sample["value"]
        ]
        graph = merged.setdefault(
            (check["name"], str(check.get("kind"))),
            {"name": check["name"], "kind": str(check.get("kind")), "points": [], "limits": {}, "unit": ""},
        )
        graph["points"] += points
        graph["limits"] = {
            key: value for key, value in (check.get("limits") or {}).items() if isinstance(value, (int, float))
        } or graph["limits"]
        graph["unit"] = check.get("unit") or graph["unit"]
        graph["verdict"], graph["reason"], graph["ok"] = check["verdict"], check["reason"], bool(check.get("ok"))
    graphs = [graph for graph in merged.values() if len(graph["points"]) >= 3]
    for graph in graphs:
        graph["points"].sort(key=lambda point: point[0])
    return sorted(graphs, key=lambda graph: (graph["ok"], graph["kind"] != "prometheus"))


def _checks(events: Sequence[Json]) -> List[Json]:
    return [
        {
            "step": one["step"],
            "name": check["name"],
            "kind": str(check.get("kind")),
            "verdict": check["verdict"],
            "ok": bool(check.get("ok")),
            "reason": check["reason"],
            "attempts": check.get("attempts"),
        }
        for one, check in _all_checks(events)
    ]


def _backups(events: Sequence[Json]) -> List[Json]:
    found = []
    for one in _last(events, "pg_backup"):
        backup = one["result"].get("backup")
        if backup and acting(one):
            kept = ("id", "created", "bytes", "verified", "databases", "manifest", "broken")
            found.append({**{key: backup.get(key) for key in kept}, "reused": bool(one["result"].get("reused"))})
    return found


def _migrations(events: Sequence[Json]) -> List[Json]:
    return [
        {
            key: service.get(key) or ([] if key in ("applied", "reverted", "pending") else "")
            for key in ("name", "database", "applied", "reverted", "pending")
        }
        for one in _last(events, "db_migration")
        for service in one["result"].get("services") or ()
    ]


def _images(events: Sequence[Json]) -> List[Json]:
    return [
        {key: image.get(key) for key in ("name", "image", "action", "reason", "digest", "seconds")}
        for one in _last(events, "release_images")
        for image in one["result"].get("images") or ()
    ]


def _portals(events: Sequence[Json]) -> List[Json]:
    found: List[Json] = []
    for one in _one_by_one(events):
        result = one["result"]
        if one["action"] == "site_publish" and acting(one):
            found.append(
                {
                    "name": one["object"],
                    "release": _published(result.get("release")),
                    "previous": _published(result.get("previous")),
                    "uploaded": len(result.get("uploaded") or ()),
                    "deleted": len(result.get("deleted") or ()),
                    "invalidations": [],
                    "verified": 0,
                    "failed": one["outcome"] == "failed",
                }
            )
        elif one["action"] == "cf_invalidate" and found:
            # Of the site of that name; a task for one site has no name, and follows its publication.
            of = next((portal for portal in reversed(found) if portal["name"] == one["object"]), found[-1])
            for made in result.get("invalidations") or [result.get("invalidation") or {}]:
                if made.get("id"):
                    paths = made.get("paths") or result.get("paths") or ()
                    of["invalidations"].append(
                        {"id": made["id"], "status": made.get("status"), "paths": list(paths)[:20]}
                    )
    return found


def _maintenance(events: Sequence[Json]) -> List[Json]:
    return [
        {
            "enabled": bool(one["result"]["enabled"]),
            "changed": one["changed"],
            "purpose": (one["result"].get("lease") or {}).get("purpose") or "",
            "expires": (one["result"].get("lease") or {}).get("expires") or "",
            "at": one["ended"],
        }
        for one in _last(events, "maintenance_mode")
        if "enabled" in one["result"]
    ]


def _notices(events: Sequence[Json]) -> List[Json]:
    return [
        {
            "at": one["ended"],
            "by": one["action"].rsplit(".", 1)[-1],
            "to": one["result"].get("to") or "",
            "subject": one["result"].get("subject") or one["task"],
            "outcome": one["outcome"],
        }
        for one in events
        if one["action"] in NOTICES
    ]


def _commits(events: Sequence[Json]) -> Json:
    for one in reversed(_last(events, "release_source")):
        if one["result"].get("commit"):
            return {
                "tag": one["result"].get("tag"),
                "commit": one["result"]["commit"],
                "previous": one["result"].get("previous") or "",
                "changes": list(one["result"].get("changes") or ()),
            }
    return {}


def _diagnostics(events: Sequence[Json]) -> Json:
    for one in reversed(_last(events, "diagnostics")):
        return {key: one["result"].get(key) or "" for key in ("dest", "likely_cause")}
    return {}
