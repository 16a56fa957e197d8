# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One call for many sites: each worked on by itself, all at once. A task costs more than what it does for one."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Sequence

from ..common.errors import InputError, OpsError
from .bucket import parallel

AT_ONCE = 8


def each(
    sites: Sequence[Mapping[str, Any]], verb: str, work: Callable[[Mapping[str, Any]], Dict[str, Any]]
) -> Dict[str, Any]:
    """Calls ``work`` for each site, by its ``name``; gives ``sites``, their results in the same order.

    All are tried, so that what one's failure leaves to be done is that one alone.

    :raises OpsError: some failed; each is named with its cause, and ``sites`` holds what is known of all.
    """
    names = [site["name"] for site in sites]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("sites", f"{', '.join(twice)} is there twice")

    done: Dict[str, Dict[str, Any]] = {}
    failed: Dict[str, OpsError] = {}

    def guarded(site: Mapping[str, Any]) -> None:
        name = site["name"]
        try:
            done[name] = work(site)
        except OpsError as error:
            failed[name] = error
            done[name] = {"changed": False, **error.result, "msg": error.message}

    parallel(guarded, sites, min(AT_ONCE, len(sites)))
    found = [{"name": name, "failed": name in failed, **done[name]} for name in names]
    changed = any(one["changed"] for one in found)
    if not failed:
        return {"changed": changed, "sites": found}
    if len(failed) == 1:
        only = next(iter(failed.values()))
        raise OpsError(only.verb, only.object, only.cause, only.remedy, sites=found, changed=changed)
    causes = "".join(f"\n  {name}: {error.message}" for name, error in failed.items())
    raise OpsError(verb, f"{len(failed)} of {len(sites)} sites", causes, "", sites=found, changed=changed)


def own(params: Mapping[str, Any], site: Mapping[str, Any]) -> Dict[str, Any]:
    """The options of one site: those of the task, with its own before them."""
    return {**params, **{name: value for name, value in site.items() if value is not None}}


def diffs(result: Dict[str, Any], wanted: bool) -> Dict[str, Any]:
    """Gathers the sites' diffs into one, as Ansible shows it; without them where they are not wanted."""
    found = [(one.get("name", ""), one.pop("diff", None)) for one in result.get("sites") or [result]]
    shown = [{**diff, "before_header": name, "after_header": name} for name, diff in found if diff]
    if wanted and shown:
        result["diff"] = shown if "sites" in result else {key: shown[0][key] for key in ("before", "after")}
    return result
