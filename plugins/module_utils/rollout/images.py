# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Image references."""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple, Optional

HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"^(?P<repository>(?:{HOST}(?::[0-9]+)?/)?{PART}(?:/{PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}))?$"
)


class Image(NamedTuple):
    """A reference taken apart; ``tag`` and ``digest`` are empty when it has none."""

    repository: str
    tag: str
    digest: str


def parse(reference: str) -> Image:
    """Takes a reference apart.

    :raises ValueError: it is none.
    """
    found = REFERENCE.match(reference)
    if not found or len(found.group("repository")) > 255:
        raise ValueError(f"{reference!r} is no image reference")
    return Image(found.group("repository"), found.group("tag") or "", found.group("digest") or "")


def short(reference: str) -> str:
    """What distinguishes an image from others of its repository, for messages: its tag or a piece of its digest."""
    try:
        image = parse(reference)
    except ValueError:
        return reference
    return image.tag or image.digest[:19] or "latest"


def name_of(state: Optional[Mapping[str, Any]]) -> str:
    """What a service's state is called: its release or, before the first one that a rollout recorded, its image's tag.

    :param state: ``release`` and ``images`` by container, as in a rollout's ``before`` and ``after``.
    """
    state = state or {}
    images = [image for image in (state.get("images") or {}).values() if image]
    return state.get("release") or (short(images[0]) if images else "")
