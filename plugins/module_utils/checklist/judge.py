# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a piece of evidence says about an item of the checklist. Pure; times are seconds since 1970.

Each function gives a verdict and the reason in a sentence. What cannot be known is never green.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

PASS, WARN, FAIL, ERROR = "pass", "warn", "fail", "error"
SEVERITY = (PASS, WARN, FAIL, ERROR)
GOOD_STATES = ("success", "passed", "pass", "ok")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Said = Tuple[str, str]


class Item(NamedTuple):
    """One line of the table. ``waived`` is the reason for going on although it is red."""

    name: str
    verdict: str
    reason: str
    waived: str = ""
    seconds: float = 0.0

    @property
    def go(self) -> bool:
        return self.verdict in (PASS, WARN) or bool(self.waived)


def waive(items: Sequence[Item], reasons: Mapping[str, str]) -> List[Item]:
    """The items, those that are red with the reason for going on. What is not red needs none."""
    return [
        one._replace(waived=reasons[one.name]) if one.name in reasons and one.verdict in (FAIL, ERROR) else one
        for one in items
    ]


def bad_waivers(names: Iterable[str], reasons: Mapping[str, Any]) -> str:
    """What is wrong with what is to be waived; empty when nothing is."""
    known = list(names)
    for name, reason in reasons.items():
        if name not in known:
            return f"{name!r} is no item of this checklist; there are {', '.join(known)}"
        if not isinstance(reason, str) or not reason.strip():
            return f"{name!r} is waived without a reason"
    return ""


def table(items: Sequence[Item]) -> str:
    """The items in lines, in their order."""
    width = max((len(one.name) for one in items), default=0)
    lines = []
    for one in items:
        word = "waived" if one.waived else {PASS: "ok", WARN: "warn", FAIL: "RED", ERROR: "UNKNOWN"}[one.verdict]
        reason = " ".join(one.reason.split())
        why = f" (waived: {one.waived})" if one.waived else ""
        lines.append(f"  {word:<7}  {one.name:<{width}}  {reason}{why}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A duration in the largest unit that says it in two digits."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(text: Any) -> float:
    """An ISO 8601 moment, or seconds since 1970. :raises ValueError: it is neither, or has no offset from UTC."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    parsed = datetime.fromisoformat(str(text).strip().replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC, such as Z or +03:00")
    return parsed.timestamp()


def evidence(text: str, revision: str, max_age: float, now: float) -> Said:
    """A file that somebody left: ``{"state": "success", "revision": "<commit>", "at": "<ISO 8601>"}``.

    :param revision: the commit it must be about; a shorter name of it will do, from 7 digits. Empty accepts any.
    :param max_age: in seconds.
    """
    try:
        document = json.loads(text)
        state, at = str(document["state"]).lower(), moment(document["at"])
        about = str(document.get("revision") or "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return ERROR, f"the evidence cannot be read ({type(error).__name__}: {error})"
    detail = f": {document['detail']}" if document.get("detail") else ""
    if revision and (len(about) < 7 or not revision.startswith(about)):
        return FAIL, f"the evidence is about {about[:12] or 'no revision'}, not about {revision[:12]}"
    if at > now + 300:
        return ERROR, f"the evidence is dated {duration(at - now)} ahead"
    if now - at > max_age:
        return FAIL, f"the evidence is {duration(now - at)} old, {duration(max_age)} at most are allowed"
    if state not in GOOD_STATES:
        return FAIL, f"it says {state!r}{detail}"
    return PASS, f"{state}, {duration(max(0.0, now - at))} ago{detail}"


def migrated(records: Sequence[Mapping[str, Any]], release: str, where: str) -> Said:
    """Whether another environment's ledger says that this release was deployed there, with its migrations.

    :param records: the newest first.
    """
    mine = [one for one in records if one.get("release") == release]
    good = next((one for one in mine if one.get("outcome") == "good"), None)
    if good is None:
        how = f"its last run there {mine[0].get('outcome')}" if mine else "it was never there"
        return FAIL, f"{release} was not deployed and verified in {where}: {how}"
    if not good.get("target") and "migrated" not in good:
        return FAIL, f"{good['id']} in {where} was no deployment"
    names = sorted((good.get("migrated") or {}).items())
    done = ", ".join(f"{name} {len(steps)}" for name, steps in names if steps) or "it brings none"
    return PASS, f"{good['id']} in {where}: migrations {done}"


def newest_backup(backups: Sequence[Dict[str, Any]], databases: Sequence[str]) -> Optional[Dict[str, Any]]:
    """The newest verified backup of all these databases. ``created`` is ISO 8601 or seconds."""
    whole = [
        one
        for one in backups
        if one.get("verified") and not one.get("broken") and set(databases) <= set(one["databases"])
    ]
    return max(whole, key=lambda one: moment(one["created"]), default=None)


def backup(backups: Sequence[Dict[str, Any]], databases: Sequence[str], max_age: float, now: float) -> Said:
    """Whether the newest verified backup of all these databases is young enough."""
    newest = newest_backup(backups, databases)
    if newest is None:
        broken = "".join(f"; {one['id']} is none: {one['broken']}" for one in backups if one.get("broken"))
        return FAIL, f"there is no verified backup of {', '.join(databases)} among {len(backups)}{broken[:400]}"
    age = now - moment(newest["created"])
    if age > max_age:
        return FAIL, f"the last verified backup, {newest['id']}, is {duration(age)} old; {duration(max_age)} at most"
    return PASS, f"{newest['id']}, verified by {newest['verified']}, {duration(max(0.0, age))} old"


def secret(found: Mapping[str, Any]) -> str:
    """What is wrong with a secret, by what Secrets Manager says *about* it; empty when nothing is."""
    if found.get("DeletedDate"):
        return "is to be deleted"
    versions = found.get("VersionIdsToStages") or {}
    if not any("AWSCURRENT" in stages for stages in versions.values()):
        return "has no current value"
    return ""


def notified(
    notices: Sequence[Mapping[str, Any]], kind: str, release: str, notice: float, max_age: float, now: float
) -> Said:
    """Whether people were told early enough, of this release, and not so long ago that they forgot.

    :param notices: ``kind``, ``release``, ``at``, ``delivered``, and perhaps ``starts`` and ``until`` (ISO 8601).
    :param notice: seconds that must lie between the notice and now.
    """
    about = [one for one in notices if one.get("kind") == kind and (not release or one.get("release") == release)]
    what = f"{kind} of {release}" if release else kind
    if not about:
        return FAIL, f"nobody was told of the {what}: announce it {duration(notice)} before"
    told = [one for one in about if one.get("delivered")]
    if not told:
        return FAIL, f"the notice of the {what} reached nobody"
    recent = [one for one in told if now - moment(one["at"]) <= max_age]
    if not recent:
        return FAIL, f"the notice of the {what} is older than {duration(max_age)}: tell them again"
    first = min(moment(one["at"]) for one in recent)
    if now - first < notice:
        return FAIL, (
            f"people were told {duration(now - first)} ago, and {duration(notice)} are asked for: "
            f"not before {stamp(first + notice)}"
        )
    newest = max(recent, key=lambda one: moment(one["at"]))
    if newest.get("starts") and moment(newest["starts"]) > now + 60:
        return FAIL, f"it was announced for {stamp(moment(newest['starts']))}, which is still to come"
    if newest.get("until") and moment(newest["until"]) <= now:
        return FAIL, f"its window was over at {stamp(moment(newest['until']))}: announce another"
    return PASS, f"people were told {duration(now - first)} ago, by {', '.join(newest['delivered'])}"


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%MZ")


def frozen(windows: Sequence[Mapping[str, Any]], now: float) -> Said:
    """Whether now lies in a time in which nothing is deployed.

    A window is ``{from, until, reason}`` in ISO 8601, or, every week, ``{days: [fri], from: "15:00", until: "24:00",
    offset: "+03:00", reason}``. One that cannot be read freezes.
    """
    for window in windows:
        why = window.get("reason") or "no reason is given"
        try:
            inside = (
                weekly(window, now) if window.get("days") else moment(window["from"]) <= now < moment(window["until"])
            )
        except (ValueError, KeyError, TypeError) as error:
            return ERROR, f"a freeze window cannot be read ({error}): {dict(window)}"
        if inside:
            until = window.get("until", "24:00") if window.get("days") else stamp(moment(window["until"]))
            return FAIL, f"nothing is deployed until {until}: {why}"
    return PASS, f"none of {len(windows)} freeze windows is now" if windows else "no freeze windows are set"


def weekly(window: Mapping[str, Any], now: float) -> bool:
    offset = datetime.strptime(str(window.get("offset", "+00:00")), "%z").utcoffset() or timedelta()
    local = datetime.fromtimestamp(now, timezone.utc) + offset
    days = [str(day).lower()[:3] for day in window["days"]]
    unknown = sorted(set(days) - set(DAYS))
    if unknown:
        raise ValueError(f"{unknown[0]} is no day")
    minute = local.hour * 60 + local.minute
    start, end = minutes(window.get("from", "00:00")), minutes(window.get("until", "24:00"))
    if start >= end:
        raise ValueError("from is not before until; name the next day in a window of its own")
    return DAYS[local.weekday()] in days and start <= minute < end


def minutes(text: Any) -> int:
    hour, _colon, minute = str(text).partition(":")
    found = int(hour) * 60 + int(minute or 0)
    if not 0 <= found <= 1440:
        raise ValueError(f"{text!r} is no time of a day")
    return found


def possible(
    target: Optional[Mapping[str, Any]], missing: Sequence[str], safe: Optional[bool], allow_first: bool
) -> Said:
    """Whether there is something to go back to, whole.

    :param target: the record of the last good release; None without one.
    :param missing: images and manifests of it that are gone.
    :param safe: whether a backup exists that was made with it or since; None when none has to.
    """
    if target is None:
        if allow_first:
            return WARN, "no good release is recorded yet: a failure goes back to what runs now"
        return FAIL, "the ledger knows no good release to go back to"
    if missing:
        return FAIL, f"{target['release']} could not be brought back: {'; '.join(missing)}"
    if not target.get("images"):
        return FAIL, f"the record of {target['release']} names no images"
    if safe is False:
        return FAIL, f"no backup is left that was made with {target['release']} or since"
    return PASS, f"{target['release']}: {len(target['images'])} images, its portals and a backup are there"


def worst(said: Iterable[Said]) -> Said:
    """The gravest verdict, with the reasons of those that have it."""
    found = list(said)
    if not found:
        return ERROR, "there was nothing to ask"
    verdict = max((one for one, _reason in found), key=SEVERITY.index)
    return verdict, "; ".join(reason for one, reason in found if one == verdict)


def result(items: Sequence[Item]) -> Dict[str, Any]:
    """The items as a module returns them."""
    return {
        # Not "items": that is a dictionary's method for a template.
        "checklist": [{**one._asdict(), "go": one.go} for one in items],
        "go": all(one.go for one in items) and bool(items),
        "waived": {one.name: one.waived for one in items if one.waived},
    }
