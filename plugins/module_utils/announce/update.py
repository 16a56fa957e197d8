# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is told of a run while it goes on. Pure; times are seconds since 1970."""

from __future__ import annotations

from typing import NamedTuple, Tuple


class Seen(NamedTuple):
    """How far a run is. ``task`` is empty where its name must not show."""

    began: float
    step: str = ""
    done: Tuple[str, ...] = ()
    task: str = ""
    task_began: float = 0.0
    failed: str = ""  # the task that failed


def span(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def update(seen: Seen, now: float) -> str:
    """One sentence or two for people who wait."""
    where = f"in step {seen.step}" if seen.step else "at its beginning"
    lines = [f"After {span(now - seen.began)} {where}"]
    if seen.task:
        lines[0] += f": {seen.task} ({span(now - seen.task_began)})"
    if seen.done:
        lines.append(f"Done: {', '.join(seen.done)}")
    if seen.failed:
        lines.append(f"Failed: {seen.failed}; it is being put back")
    return "\n".join(lines)
