"""CloudFront's rules for invalidations, which moto leaves out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

MAX_PATHS = 3000  # in progress, per distribution, wildcards not counted
MAX_WILDCARDS = 15
SAFE = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%?]*\Z")


def bad_paths(paths: Iterable[str]) -> list[str]:
    """Paths that CloudFront refuses: no leading slash, a wildcard that is not last, unencoded unsafe characters."""
    return [path for path in paths if not SAFE.match(path) or "*" in path[:-1]]


def is_wildcard(path: str) -> bool:
    return path.endswith("*")


def over_limit(in_progress: Iterable[str], new: Iterable[str]) -> bool:
    """Whether the new paths do not fit beside those in progress."""
    together = [*in_progress, *new]
    wildcards = sum(map(is_wildcard, together))
    return wildcards > MAX_WILDCARDS or len(together) - wildcards > MAX_PATHS


def matches(pattern: str, path: str) -> bool:
    """Whether an invalidation's path drops the object that viewers know by `path`; both may be percent-encoded."""
    pattern, path = unquote(pattern), unquote(path)
    return path.startswith(pattern[:-1]) if is_wildcard(pattern) else path == pattern


def lifetime(cache_control: str, default: float = 86400.0) -> float:
    """Seconds that the CDN may keep an object; like CloudFront's managed policy, a day where nothing is said."""
    directives = {}
    for word in cache_control.lower().split(","):
        name, _, value = word.strip().partition("=")
        directives[name] = value.strip('"')
    if {"no-store", "no-cache", "private"} & set(directives):
        return 0.0
    for name in ("s-maxage", "max-age"):
        if directives.get(name, "").isdigit():
            return float(directives[name])
    return default
