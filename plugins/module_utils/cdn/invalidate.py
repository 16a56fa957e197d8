# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Asks CloudFront to drop paths, once, and waits until every edge has."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..aws.client import code, errors, explain
from ..common.errors import InputError, OpsError
from ..common.progress import Progress
from . import paths as rules

# How many of the newest invalidations check mode looks into.
LOOK_BACK = 10


class Asked(NamedTuple):
    """An invalidation as CloudFront has it."""

    id: str
    status: str
    new: bool
    reference: str
    paths: List[str]


class Distribution:
    """One distribution.

    :param client: boto3's CloudFront client.
    :param wait_timeout: seconds for everything: for room among the invalidations in progress, and for completion.
    """

    def __init__(
        self,
        client: Any,
        id: str,
        progress: Progress,
        wait_timeout: float = 1800,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.id = id
        self.progress = progress
        self.timeout = wait_timeout
        self.clock = clock
        self.sleep = sleep
        self.deadline = clock() + wait_timeout
        self.asked: List[Asked] = []

    def call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self.client, operation)(DistributionId=self.id, **arguments)
        except errors() as error:
            cause, remedy = explain(error)
            raise self.failure(cause, remedy) from error

    def failure(self, cause: str, remedy: str) -> OpsError:
        return OpsError(
            "invalidate",
            f"paths of distribution {self.id}",
            cause,
            remedy,
            invalidations=[one._asdict() for one in self.asked],
            changed=any(one.new for one in self.asked),
        )

    def newest(self) -> List[str]:
        """Ids of the newest invalidations."""
        listed = self.call("list_invalidations", MaxItems="100")["InvalidationList"]
        return [one["Id"] for one in listed.get("Items", [])]

    def find(self, reference: str) -> Optional[Asked]:
        """An earlier invalidation among the newest, without asking for a new one."""
        for id in self.newest()[:LOOK_BACK]:
            found = self.call("get_invalidation", Id=id)["Invalidation"]
            batch = found["InvalidationBatch"]
            if batch["CallerReference"] == reference:
                return Asked(id, found["Status"], False, reference, batch["Paths"]["Items"])
        return None

    def ask(self, paths: List[str], reference: str) -> Asked:
        """Creates the invalidation, or gets the one that an earlier run created: CloudFront answers alike to both.

        Waits while too many are in progress.
        """
        before = set(self.newest())
        wait = 1.0
        while True:
            try:
                found = self.client.create_invalidation(
                    DistributionId=self.id,
                    InvalidationBatch={
                        "CallerReference": reference,
                        "Paths": {"Quantity": len(paths), "Items": paths},
                    },
                )["Invalidation"]
                asked = Asked(found["Id"], found["Status"], found["Id"] not in before, reference, paths)
                self.asked.append(asked)
                return asked
            except errors() as error:
                said = code(error)
                if said == "InvalidationBatchAlreadyExists":
                    raise self.failure(
                        "CloudFront has an invalidation with this caller's reference and other paths",
                        "Give another release.",
                    ) from error
                if said not in ("TooManyInvalidationsInProgress", "Throttling", "ThrottlingException"):
                    cause, remedy = explain(error)
                    raise self.failure(cause, remedy) from error
                if self.clock() + wait > self.deadline:
                    raise self.failure(
                        f"other invalidations still take up CloudFront's limits after {self.timeout:g} s ({said})",
                        "Run again later: it takes up where this one stopped.",
                    ) from error
            self.progress.heartbeat(f"distribution {self.id}: waiting for room among the invalidations in progress")
            self.sleep(wait)
            wait = min(wait * 1.5, 15)

    def complete(self, asked: Asked) -> Asked:
        """Waits until an invalidation is completed."""
        wait = 0.5
        while asked.status != "Completed":
            if self.clock() + wait > self.deadline:
                raise self.failure(
                    f"invalidation {asked.id} is still {asked.status} after {self.timeout:g} s",
                    "CloudFront goes on with it. Run again to wait on; raise wait_timeout if this is usual.",
                )
            self.progress.heartbeat(f"distribution {self.id}: invalidation {asked.id} is {asked.status}")
            self.sleep(wait)
            wait = min(wait * 1.5, 15)
            asked = asked._replace(status=self.call("get_invalidation", Id=asked.id)["Invalidation"]["Status"])
        self.asked = [asked if one.id == asked.id else one for one in self.asked]
        return asked


def locate(client: Any, distribution_id: Optional[str], alias: Optional[str]) -> str:
    """The id of the distribution that serves an alias (or has an id).

    :raises OpsError: there is none; the aliases that there are are named.
    """
    try:
        if distribution_id:
            client.get_distribution(Id=distribution_id)
            return distribution_id
        known: List[str] = []
        for page in client.get_paginator("list_distributions").paginate():
            for found in page["DistributionList"].get("Items", []):
                names = [*found.get("Aliases", {}).get("Items", []), found["DomainName"]]
                if str(alias).lower() in (name.lower() for name in names):
                    return str(found["Id"])
                known.extend(names)
    except errors() as error:
        cause, remedy = explain(error)
        raise OpsError("find", f"distribution {distribution_id or alias}", cause, remedy) from error
    raise OpsError(
        "find",
        f"the distribution of {alias}",
        "no distribution of this account has that alias or domain name",
        f"There are: {', '.join(sorted(known)[:20]) or 'none'}.",
    )


def wanted_paths(given: List[str], compact_above: int) -> List[str]:
    """The paths to ask for.

    :raises InputError: CloudFront would refuse one.
    """
    try:
        normal = [rules.normalise(path) for path in given]
    except rules.BadPath as error:
        raise InputError("paths", str(error)) from error
    return rules.compact(normal, compact_above)


def invalidate(distribution: Distribution, paths: List[str], release: str, wait: bool, check: bool) -> Dict[str, Any]:
    """Invalidates the paths in as many batches as CloudFront's limits need.

    :param paths: as ``wanted_paths`` gives them.
    """
    if check:
        found = []
        for batch in rules.batches(paths):
            reference = rules.reference(distribution.id, release, batch)
            found.append(distribution.find(reference) or Asked("", "", True, reference, batch))
        distribution.asked = found
    else:
        for batch in rules.batches(paths):
            distribution.ask(batch, rules.reference(distribution.id, release, batch))
        if wait:
            for asked in list(distribution.asked):
                distribution.complete(asked)
    billed, dollars = rules.cost([path for one in distribution.asked if one.new for path in one.paths])
    ids = [one.id for one in distribution.asked]
    return {
        "changed": any(one.new for one in distribution.asked),
        "distribution_id": distribution.id,
        "paths": paths,
        "invalidation": distribution.asked[0]._asdict() if ids else {},
        "invalidations": [one._asdict() for one in distribution.asked],
        "cost": {"paths": billed, "usd_after_free_tier": dollars},
    }
