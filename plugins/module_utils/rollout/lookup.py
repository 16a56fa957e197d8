# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Completes what was asked for: tags by their registry's digests, the way back by the release ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError, OpsError

from ..images.registry import Registry, split
from .images import parse
from .types import Problem, Service

Json = Dict[str, Any]

# Of the ledger's records, the newest that are looked through for a release that is named.
RECORDS = 200


def digest_of(image: str) -> str:
    """The digest of an image's tag, as its registry has it now; empty when the registry has no such image.

    :raises OpsError: the registry cannot be asked.
    """
    reference = parse(image)
    host, path = split(reference.repository)
    found = Registry(host, timeout=10).find(path, reference.tag or "latest")
    if found is not None and not found.digest:
        raise OpsError("resolve", image, f"registry {host} does not say its digest")
    return found.digest if found else ""


def pinned(
    services: Sequence[Service], digest: Callable[[str], str] = digest_of
) -> Tuple[List[Service], List[Problem]]:
    """The services with ``repository:tag@digest`` for every image that is named by its tag.

    A tag stays as it is where its registry cannot be asked, which is a problem that stops nothing; an image that the
    registry does not have is a fatal one.
    """
    tags = sorted({image for one in services for image in one.images.values() if not parse(image).digest})

    def ask(image: str) -> Union[str, OpsError]:
        try:
            return digest(image)
        except OpsError as error:
            return error

    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = dict(zip(tags, pool.map(ask, tags)))
    problems = []
    for one in services:
        for image in dict.fromkeys(one.images.values()):
            answer = answers.get(image)
            if isinstance(answer, OpsError):
                text = f"{image} was not resolved to a digest: {answer.cause}"
                problems.append(Problem(one.name, "unchecked", text, False))
            elif answer == "":
                problems.append(Problem(one.name, "image_not_found", f"its registry has no image {image}"))

    def by_digest(image: str) -> str:
        answer = answers.get(image)
        return f"{image}@{answer}" if answer and isinstance(answer, str) else image

    return [
        replace(one, images={container: by_digest(image) for container, image in one.images.items()})
        for one in services
    ], problems


def good_release(params: Mapping[str, Any], query: Callable[[Mapping[str, Any]], Json]) -> Json:
    """The ledger's record to go back to: of the release that is named, or the last good one before what is in place.

    :raises InputError: there is none.
    """
    said = query(params)
    record = said["roll_back_to"]
    if not record:
        good = [str(one.get("release")) for one in said.get("records") or () if one.get("outcome") == "good"]
        release = params.get("release")
        which = f"no good release {release}" if release else f"no good release before {said.get('newest') or 'this'}"
        known = ", ".join(dict.fromkeys(good)) or "none"
        raise InputError("ledger", f"{params['ledger']} knows {which}; it knows as good: {known}")
    return dict(record)


def query_ledger(params: Mapping[str, Any]) -> Json:
    from ..ledger.ledger import Ledger
    from ..ledger.stores import open_store

    access = {"kubeconfig": params.get("kubeconfig"), "context": params.get("context"), "validate_certs": True}
    book = Ledger(open_store(params["ledger"], access))
    return book.query(RECORDS, params.get("target") or "", params.get("release") or "")


def as_recorded(services: Sequence[Service], record: Mapping[str, Any]) -> List[Service]:
    """The services with the images of a ledger's record, where they name none and no revision of their own."""
    images = record.get("images") or {}
    return [
        replace(one, images={"": images[one.name]})
        if one.name in images and not one.images and one.to_revision is None
        else one
        for one in services
    ]
