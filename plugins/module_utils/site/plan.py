# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a publication does to each object, and why. Pure."""

from __future__ import annotations

from typing import Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

from ..common.errors import OpsError
from .rules import HASHED, KINDS, PAGE, Headers, matching

# What the collection keeps in the bucket, below the site's prefix.
OWN = ".releases/"


class File(NamedTuple):
    """A file that the site is to have. ``key`` is relative to the prefix."""

    key: str
    sha256: str
    size: int
    headers: Headers
    kind: int


class Object(NamedTuple):
    """An object that the bucket has. ``sha256`` is empty where it is not known."""

    key: str
    sha256: str
    size: int
    headers: Headers


class Step(NamedTuple):
    key: str
    reason: str


class Plan(NamedTuple):
    upload: List[Step]
    rehead: List[Step]  # right content, wrong headers: mended by a copy onto itself
    keep: List[Step]
    delete: List[Step]
    preserve: List[Tuple[str, str]]  # (key, sha256) to copy away first: an earlier release needs it for its rollback

    @property
    def changes(self) -> bool:
        return bool(self.upload or self.rehead or self.delete)

    def steps(self) -> List[Dict[str, str]]:
        """Everything but what stays as it is, for people."""
        return [
            {"key": step.key, "action": action, "reason": step.reason}
            for action, steps in (("upload", self.upload), ("rehead", self.rehead), ("delete", self.delete))
            for step in steps
        ]


def decide(
    wanted: Dict[str, File],
    present: Dict[str, Object],
    releases: Dict[str, Dict[str, str]],
    blobs: Set[str],
    kind_of: Dict[str, int],
    delete: bool = True,
    protect: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Plan:
    """The plan of a publication.

    :param releases: the earlier releases that are kept: release -> key -> SHA-256.
    :param blobs: SHA-256 of the contents that are kept aside already.
    :param kind_of: the kind of each key that is present.
    :param protect: globs of what is never deleted.
    :param exclude: globs of what the publication is not about: neither put nor deleted.
    """
    plan = Plan([], [], [], [], [])
    for key in sorted(wanted):
        file, there = wanted[key], present.get(key)
        if there is None:
            plan.upload.append(Step(key, f"new {KINDS[file.kind]}"))
        elif there.sha256 != file.sha256:
            why = "its content differs" if there.sha256 else "its content is not known to be the same"
            plan.upload.append(Step(key, why))
        elif there.headers != file.headers:
            plan.rehead.append(Step(key, difference(there.headers, file.headers)))
        else:
            plan.keep.append(Step(key, "the same content and headers"))
    for key in sorted(set(present) - set(wanted)):
        glob, excluded = matching(key, protect), matching(key, exclude)
        needed = next((release for release, files in releases.items() if key in files), "")
        if glob:
            plan.keep.append(Step(key, f"protected by {glob}"))
        elif excluded:
            plan.keep.append(Step(key, f"excluded by {excluded}"))
        elif not delete:
            plan.keep.append(Step(key, "delete is off"))
        elif needed and kind_of.get(key) != PAGE:
            # An open tab, or a page in a cache, may still ask for it.
            plan.keep.append(Step(key, f"{needed} has it, which is kept"))
        else:
            plan.delete.append(
                Step(key, "no kept release has it" if not needed else "a page that this release has not")
            )
    seen = set(blobs)
    for step in [*plan.upload, *plan.delete]:
        there = present.get(step.key)
        if there and there.sha256 and there.sha256 not in seen and needed_by(step.key, there.sha256, releases):
            plan.preserve.append((step.key, there.sha256))
            seen.add(there.sha256)
    return plan


def needed_by(key: str, sha256: str, releases: Dict[str, Dict[str, str]]) -> bool:
    return any(files.get(key) == sha256 for files in releases.values())


def difference(before: Headers, after: Headers) -> str:
    """Which headers differ, in words."""
    names = ("Content-Type", "Cache-Control", "Content-Encoding")
    return "; ".join(
        f"{name} is {was or 'missing'}, not {wanted or 'missing'}"
        for name, was, wanted in zip(names, before, after)
        if was != wanted
    )


def guard(plan: Plan, present: int, max_delete: int, max_percent: float, where: str) -> None:
    """Refuses a plan that deletes more than it may.

    :param present: how many objects there are.
    :param max_delete: -1 is no limit; likewise ``max_percent``.
    """
    count = len(plan.delete)
    percent = 100.0 * count / present if present else 0.0
    broken = ""
    if 0 <= max_delete < count:
        broken = f"it would delete {count} objects, and max_delete is {max_delete}"
    elif 0 <= max_percent < percent:
        broken = (
            f"it would delete {count} of {present} objects ({percent:.0f} %), and max_delete_percent is {max_percent:g}"
        )
    if broken:
        sample = ", ".join(step.key for step in plan.delete[:5])
        raise OpsError(
            "publish",
            where,
            f"{broken}: {sample}{', ...' if count > 5 else ''}",
            "Nothing was touched. Is src complete, and prefix right? If so, raise the limit.",
            plan=plan.steps(),
        )


def order(keys: Iterable[str], kinds: Dict[str, int]) -> List[List[str]]:
    """Keys in the groups in which they go out: hashed assets, other files, pages."""
    groups: List[List[str]] = [[], [], []]
    for key in sorted(keys):
        groups[kinds[key]].append(key)
    return groups


def stale(plan: Plan, wanted: Dict[str, File], present: Dict[str, Object], kinds: Dict[str, int]) -> List[str]:
    """Keys of which a cache may hold something else than the bucket now has.

    A new hashed asset was never asked for under its name; anything else may have been, if only to be answered 404.
    """
    changed = [step.key for step in plan.upload if wanted[step.key].kind != HASHED or step.key in present]
    gone = [step.key for step in plan.delete if kinds.get(step.key) != HASHED]
    return sorted({*changed, *gone, *(step.key for step in plan.rehead)})


def history(earlier: Sequence[str], release: str, keep: int) -> Tuple[List[str], List[str]]:
    """The releases that are kept, the newest first, and those that are to go."""
    ordered = [release, *(one for one in earlier if one != release)]
    return ordered[: max(1, keep)], ordered[max(1, keep) :]


def unrestorable(wanted: Dict[str, File], present: Dict[str, Object], blobs: Set[str]) -> List[str]:
    """Keys of a release whose content the bucket no longer has anywhere."""
    return sorted(
        key
        for key, file in wanted.items()
        if file.sha256 not in blobs and (key not in present or present[key].sha256 != file.sha256)
    )
