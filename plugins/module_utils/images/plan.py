# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is to be done about one image, and which files of a folder belong to its build. Pure."""

from __future__ import annotations

import re
from typing import Iterable, List, Mapping, NamedTuple, Optional, Pattern, Tuple

CONTENT = "ops-images.content"

BUILD = "build"
KEEP = "keep"
REFUSE = "refuse"


class Decision(NamedTuple):
    action: str
    reason: str


def decide(content: str, labels: Optional[Mapping[str, str]], overwrite: bool) -> Decision:
    """What to do about a release's image.

    :param labels: of the image that stands under the release already; None when none does.
    """
    if labels is None:
        return Decision(BUILD, "there is no such image yet")
    found = labels.get(CONTENT)
    if found == content:
        return Decision(KEEP, "it was built from the same content")
    what = "it was built from other content" if found else "it does not say what it was built from"
    return Decision(BUILD, f"{what}, and is to be overwritten") if overwrite else Decision(REFUSE, what)


def ignore_rules(text: str) -> List[Tuple[bool, Pattern[str]]]:
    """The rules of a .dockerignore file, in order: (whether it takes back in, what it matches)."""
    rules = []
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        back = pattern.startswith("!")
        parts = [part for part in pattern.lstrip("!").strip().split("/") if part not in ("", ".")]
        if parts:
            rules.append((back, re.compile("".join(_translated("/".join(parts))) + r"(?:/.*)?\Z", re.S)))
    return rules


def _translated(pattern: str) -> Iterable[str]:
    at = 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/"):
            yield "(?:.*/)?"
            at += 3
        elif rest.startswith("**"):
            yield ".*"
            at += 2
        elif rest[0] == "*":
            yield "[^/]*"
            at += 1
        elif rest[0] == "?":
            yield "[^/]"
            at += 1
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            yield "[" + rest[1:end].replace("\\", "\\\\") + "]"
            at += end + 1
        elif rest[0] == "\\" and len(rest) > 1:
            yield re.escape(rest[1])
            at += 2
        else:
            yield re.escape(rest[0])
            at += 1


def ignored(path: str, rules: Iterable[Tuple[bool, Pattern[str]]]) -> bool:
    """Whether a path, relative to the context, is left out: the last rule that matches says so."""
    out = False
    for back, pattern in rules:
        if pattern.match(path):
            out = not back
    return out


def build_failure(output: str) -> Tuple[str, str]:
    """The step that a build failed at, and its last lines."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    step = ""
    for line in lines:
        found = re.match(r"\s*>\s*\[(.+?)\]\s*(.*?):?$", line)
        if found:
            step = f"step {found.group(1)}, {found.group(2)}" if found.group(2) else f"step {found.group(1)}"
    wanted = [
        line for line in lines if line.strip() and not re.match(r"^-+$|^#\d+ (?:DONE|CACHED|sha256|extracting)", line)
    ]
    return step, "\n".join(wanted[-8:])


def remedy(output: str) -> str:
    """What to do about a build or push that failed, where its output tells."""
    if "no space left on device" in output.lower():
        return "The engine's disk is full: see `docker system df`, make room with `docker builder prune`, run again."
    return ""
