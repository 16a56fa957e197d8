# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What records say: which release is in place, and which to go back to. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..rollout.images import name_of

SCHEMA = 1
OUTCOMES = ("running", "good", "failed", "rolled_back")
# Ids sort by time, so that the order is known even of records that cannot be read.
ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9._+~-]{1,150}\Z")


class Unreadable(ValueError):
    """A document that must not be trusted, and why."""


def digest(body: Dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def encode(body: Dict[str, Any]) -> bytes:
    """A document as it is stored: for people to read, with what shows a change by hand."""
    whole = {"schema": SCHEMA, "sha256": digest(body), **body}
    return (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def decode(data: bytes) -> Dict[str, Any]:
    """The body of a stored document.

    :raises Unreadable: it is truncated, of a newer format, or was changed by hand.
    """
    try:
        whole = json.loads(data.decode())
    except ValueError as error:
        raise Unreadable("it is truncated or no JSON") from error
    if not isinstance(whole, dict):
        raise Unreadable("it is no JSON object")
    schema = whole.pop("schema", None)
    if isinstance(schema, int) and schema > SCHEMA:
        raise Unreadable(f"its format is {schema}, and this version of the collection knows {SCHEMA}")
    if schema != SCHEMA:
        raise Unreadable("it has no format number")
    if whole.pop("sha256", None) != digest(whole):
        raise Unreadable("it was changed by hand (its content does not fit its SHA-256)")
    return whole


def merge(before: Dict[str, Any], after: Dict[str, Any]) -> Dict[str, Any]:
    """``after`` over ``before``, dictionaries merged level by level."""
    merged = dict(before)
    for key, value in after.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


UNTOUCHED = ("unchanged", "skipped", "planned")


class Standing(NamedTuple):
    """What a ledger says. Empty texts and None mean that there is nothing."""

    in_place: str  # the release that serves now, as far as records tell
    newest: str  # the release that was tried last; another one than in place when it failed and was put back
    last_good: Optional[Dict[str, Any]]  # the newest record that ended well
    # A good record, or what a deployment found in place when it began (``release`` and ``images`` only).
    roll_back_to: Optional[Dict[str, Any]]


def services(record: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The services of a record, as a rollout returned them. Who records something else is not misread."""
    listed = record.get("services")
    return [one for one in listed if isinstance(one, dict) and one.get("name")] if isinstance(listed, list) else []


def touched(record: Mapping[str, Any]) -> List[str]:
    """The services of a record that did not stay as they were."""
    return [str(one["name"]) for one in services(record) if one.get("outcome") not in UNTOUCHED]


def undone(record: Mapping[str, Any]) -> bool:
    """Whether a run failed and left everything as it was. One that does not say so may have left something."""
    if record.get("outcome") != "failed" or not isinstance(record.get("services"), list) or record.get("stuck"):
        return False
    # One that runs on several hosts is listed for each.
    stayed = {str(one["name"]) for one in services(record) if one.get("outcome") in ("failed", "rollback_failed")}
    return set(touched(record)) <= set(record.get("put_back") or ()) - stayed


def stands(tried: Sequence[Mapping[str, Any]]) -> str:
    """The release that the latest run left in place.

    :param tried: the newest first. One that failed may have put back what dead runs before it had done, too.
    """
    taken_back = set()
    for record in tried:
        release = str(record.get("release", ""))
        if undone(record):
            if record.get("took_back"):
                taken_back.add(release)
        elif record.get("outcome") != "running" or release not in taken_back:
            return release
    return ""


def took_effect(record: Mapping[str, Any]) -> bool:
    """Whether its release was tried. By a rollback that failed before it touched anything it was not, nor by one that
    put all of it back."""
    if record.get("outcome") == "rolled_back":
        return False
    if record.get("outcome") == "failed" and "rolled_back_from" in record:
        return bool(touched(record)) and not undone(record)
    return True


def found(record: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """What a deployment found in place when it began, as ``release`` and ``images`` by service."""
    if "rolled_back_from" in record:
        return None  # What a rollback found is what it was to leave.
    before = [one for one in services(record) if (one.get("before") or {}).get("images")]
    images = {str(one["name"]): next(iter(one["before"]["images"].values())) for one in before}
    return {"release": name_of(before[0]["before"]), "images": images} if images else None


def same(link: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a deployment found what a link of the chain had brought: by its name, or by its images."""
    images = link.get("images") or {}
    return link["release"] == before["release"] or all(
        images.get(name) == image for name, image in before["images"].items()
    )


def chain(records: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The good releases that stand on each other, the oldest first: what each rollback would go to in turn.

    A deployment adds its release, and before it what it found in place, when the ledger does not know of that. A
    rollback goes back to its release, so that a second one does not bring back what the first one left. One that goes
    to a release which was left undoes a rollback, and adds it again.

    :param records: the newest first.
    """
    known = set()
    links: List[Dict[str, Any]] = []
    for record in reversed(records):
        before = found(record)
        if before and before["release"] not in known and not (links and same(links[-1], before)):
            links.append(before)
        known.add(record.get("release"))
        if record.get("outcome") != "good":
            continue
        places = [place for place, one in enumerate(links) if one["release"] == record.get("release")]
        if places and ("rolled_back_from" in record or places[-1] == len(links) - 1):
            del links[places[-1] :]
        links.append(record)
    return links


def told(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the records reach back far enough to say what each rollback went back to."""
    releases = [record.get("release") for record in records]
    return all(
        record.get("release") in releases[place + 1 :]
        for place, record in enumerate(records)
        if "rolled_back_from" in record
    )


def standing(records: Sequence[Dict[str, Any]], release: str = "") -> Standing:
    """Reads the records.

    :param records: the newest first, all of one target.
    :param release: the one to go back to, where it is named.
    """
    good = [record for record in records if record.get("outcome") == "good"]
    tried = [record for record in records if took_effect(record)]
    newest = str(tried[0].get("release", "")) if tried else ""
    if release:
        ways = [record for record in (*good, *map(found, records)) if record and record.get("release") == release]
    else:
        ways = [record for record in reversed(chain(records)) if record.get("release") != newest]
    return Standing(stands(tried), newest, good[0] if good else None, ways[0] if ways else None)


def doubtful(unreadable: Dict[str, str], records: Sequence[Dict[str, Any]]) -> List[str]:
    """The unreadable records that are newer than the newest good one: with them, nobody knows what is in place."""
    newest_good = next((record["id"] for record in records if record.get("outcome") == "good"), "")
    return sorted(id for id in unreadable if id > newest_good)
