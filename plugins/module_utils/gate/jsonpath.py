# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Conditions on JSON: a dotted path, and what must be found there."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, Union

from .judge import number

PART = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


class Absent(Exception):
    """Nothing stands at the path."""


def parts(path: str) -> List[Union[str, int]]:
    """``items[0].state`` taken apart. :raises ValueError: it is no path."""
    found: List[Union[str, int]] = []
    rest = path[2:] if path.startswith("$.") else path[1:] if path.startswith("$") else path
    at = 0
    while at < len(rest):
        if rest[at] == "." and found and at + 1 < len(rest):
            at += 1
        match = PART.match(rest, at)
        if not match:
            raise ValueError(f"{path!r} is no path; write it like items[0].state")
        found.append(match.group(1) if match.group(1) is not None else int(match.group(2)))
        at = match.end()
    return found


def find(document: Any, path: str) -> Any:
    """What stands at the path. :raises Absent: nothing does."""
    here = document
    for part in parts(path):
        try:
            if isinstance(part, int):
                if not isinstance(here, list):
                    raise Absent(path)
                here = here[part]
            else:
                here = here[part] if isinstance(here, Mapping) else here[int(part)]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Absent(path) from None
    return here


def _numbers(compare: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    def test(found: Any, wanted: Any) -> bool:
        left, right = number(found), number(wanted)
        return left is not None and right is not None and compare(left, right)

    return test


def same(found: Any, wanted: Any) -> bool:
    """Equal; YAML and templates turn numbers into text and back, so that difference does not count."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return str(found).lower() == str(wanted).lower()
    if isinstance(found, (int, float, str)) and isinstance(wanted, (int, float, str)):
        return found == wanted or str(found) == str(wanted)
    return bool(found == wanted)


OPERATORS: Dict[str, Callable[[Any, Any], bool]] = {
    "equals": same,
    "not_equals": lambda found, wanted: not same(found, wanted),
    "in": lambda found, wanted: any(same(found, one) for one in wanted),
    "matches": lambda found, wanted: re.search(str(wanted), str(found)) is not None,
    "gt": _numbers(lambda left, right: left > right),
    "ge": _numbers(lambda left, right: left >= right),
    "lt": _numbers(lambda left, right: left < right),
    "le": _numbers(lambda left, right: left <= right),
}


def conditions(document: Any, wanted: Mapping[str, Any]) -> List[str]:
    """What does not hold, a sentence each."""
    problems = []
    for path, expected in wanted.items():
        rules = expected if isinstance(expected, Mapping) else {"equals": expected}
        try:
            found = find(document, path)
        except Absent:
            if rules.get("exists") not in (False, "false", "no"):
                problems.append(f"nothing stands at {path}")
            continue
        for name, value in rules.items():
            if name == "exists":
                if value in (False, "false", "no"):
                    problems.append(f"something stands at {path}")
            elif not OPERATORS[name](found, value):
                problems.append(f"{path} is {str(found)[:200]!r}, not {name} {value!r}")
    return problems


def check(wanted: Mapping[str, Any]) -> None:
    """:raises ValueError: a path or an operator that does not exist."""
    for path, expected in wanted.items():
        parts(path)
        if isinstance(expected, Mapping):
            unknown = set(expected) - set(OPERATORS) - {"exists"}
            if unknown or not expected:
                raise ValueError(f"{path}: unknown operator {', '.join(sorted(unknown)) or 'none'}")
            if "matches" in expected:
                re.compile(str(expected["matches"]))
