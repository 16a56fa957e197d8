# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Paths of invalidations: from keys to what CloudFront accepts, no more of them than needed. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Iterable, List, Set, Tuple
from urllib.parse import quote

MAX_PATHS = 3000  # in progress, per distribution, wildcards not counted
MAX_WILDCARDS = 15
MAX_LENGTH = 4000
# Left as they are in a URL's path; everything else is encoded.
SAFE = "/-._~!$&'()+,;=:@"


class BadPath(ValueError):
    """A path that CloudFront would refuse."""


def is_wildcard(path: str) -> bool:
    return path.endswith("*")


def covers(pattern: str, path: str) -> bool:
    """Whether invalidating ``pattern`` also invalidates ``path``."""
    if is_wildcard(pattern):
        return path.startswith(pattern[:-1])
    return pattern == path


def of_keys(keys: Iterable[str], viewer_path: str = "/", index: str = "index.html") -> List[str]:
    """The paths under which viewers know objects.

    :param keys: relative to the site's prefix, as they stand in the bucket.
    :param viewer_path: where viewers see the prefix.
    :param index: an object of this name is also served under its folder's path.
    """
    base = "/" + viewer_path.strip("/") + "/" if viewer_path.strip("/") else "/"
    found: Set[str] = set()
    for key in keys:
        names = [key]
        if key == index or key.endswith("/" + index):
            names.append(key[: -len(index)])
        # A star is a wildcard to CloudFront, so the character itself must be encoded.
        found.update(quote(base + name, safe=SAFE) for name in names)
    return sorted(found)


def normalise(path: str) -> str:
    """A path as a person writes it, as CloudFront wants it: a slash first, unsafe characters encoded, escapes kept.

    :raises BadPath: it has a star before its end, or is too long.
    """
    text = path if path.startswith("/") else "/" + path
    encoded = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    encoded = quote(encoded, safe=SAFE + "%*?")
    if "*" in encoded[:-1]:
        raise BadPath(f"{path!r} has a * that is not its last character; CloudFront takes one only at the end")
    if len(encoded) > MAX_LENGTH:
        raise BadPath(f"{path[:60]!r}... is longer than {MAX_LENGTH} characters")
    return encoded


def without_covered(paths: Iterable[str]) -> List[str]:
    """Sorted, without duplicates and without what a wildcard among them covers."""
    unique = set(paths)
    wildcards = sorted((path for path in unique if is_wildcard(path)), key=len)
    kept: List[str] = []
    for wildcard in wildcards:
        if not any(covers(other, wildcard[:-1]) for other in kept):
            kept.append(wildcard)
    prefixes = tuple(wildcard[:-1] for wildcard in kept)
    return sorted(
        kept + [path for path in unique if not is_wildcard(path) and not (prefixes and path.startswith(prefixes))]
    )


def compact(paths: Iterable[str], above: int, max_wildcards: int = MAX_WILDCARDS) -> List[str]:
    """Fewer paths that cover the same ones: folders become wildcards, the deepest first, when there are too many.

    :param above: up to this many paths are left as they are; 0 never compacts.
    """
    current = without_covered(paths)
    if not above or len(current) <= above:
        return current
    deepest = max(path.count("/") for path in current)
    for depth in range(deepest, 1, -1):
        folders: dict = {}
        for path in current:
            if path.count("/") >= depth:
                folders.setdefault("/".join(path.split("/")[:depth]) + "/", []).append(path)
        crowded = [folder for folder, members in folders.items() if len(members) > 1]
        current = without_covered([*current, *(folder + "*" for folder in crowded)])
        if len(current) <= above and sum(map(is_wildcard, current)) <= max_wildcards:
            return current
    return ["/*"]


def batches(paths: List[str], max_paths: int = MAX_PATHS, max_wildcards: int = MAX_WILDCARDS) -> List[List[str]]:
    """The paths in as few invalidations as the limits allow, in a stable order."""
    wildcards = [path for path in paths if is_wildcard(path)]
    plain = [path for path in paths if not is_wildcard(path)]
    rounds = max(-(-len(wildcards) // max_wildcards), -(-len(plain) // max_paths))
    return [
        plain[i * max_paths : (i + 1) * max_paths] + wildcards[i * max_wildcards : (i + 1) * max_wildcards]
        for i in range(rounds)
    ]


def reference(distribution: str, release: str, paths: Iterable[str]) -> str:
    """The caller's reference: the same for the same invalidation of the same release, and for nothing else."""
    text = "\n".join([distribution, release, *sorted(paths)])
    return "ops-" + hashlib.sha256(text.encode()).hexdigest()[:40]


def cost(paths: List[str]) -> Tuple[int, float]:
    """How many paths are billed, and their price in US dollars once the month's first 1,000 are used up."""
    return len(paths), round(len(paths) * 0.005, 3)
