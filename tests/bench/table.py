"""Contenders run in turn, and the table of their ratios."""

from __future__ import annotations

import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from datetime import date
from typing import Callable


def seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def race(contenders: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Each contender's median seconds. They take turns, so that a slow minute of the machine is everybody's."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(seconds(work))
    return {name: statistics.median(of) for name, of in times.items()}


@dataclass
class Row:
    what: str
    measured: float
    unit: str
    limit: float
    at_most: bool
    detail: str

    @property
    def holds(self) -> bool:
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass
class Table:
    """One part's results. A row says what was measured, the figure, the limit it has to keep, and how it came about."""

    title: str
    about: str
    rows: list[Row] = field(default_factory=list)

    def at_most(self, what: str, measured: float, limit: float, unit: str = "times", detail: str = "") -> None:
        self.rows.append(Row(what, measured, unit, limit, True, detail))

    def at_least(self, what: str, measured: float, limit: float, unit: str = "times", detail: str = "") -> None:
        self.rows.append(Row(what, measured, unit, limit, False, detail))

    def missed(self) -> list[str]:
        return [f"{row.what}: {row.measured:.2f} {row.unit}" for row in self.rows if not row.holds]

    def text(self) -> str:
        lines = [
            f"# {self.title}",
            "",
            self.about,
            "",
            f"Measured by `make bench` on {date.today()}, {platform.machine()}, {os.cpu_count()} cores.",
            "",
            "| what | measured | to be | holds | how |",
            "|---|---|---|---|---|",
        ]
        for row in self.rows:
            bound = f"at {'most' if row.at_most else 'least'} {row.limit:g} {row.unit}"
            holds = "yes" if row.holds else "no"
            lines.append(f"| {row.what} | {row.measured:.2f} {row.unit} | {bound} | {holds} | {row.detail} |")
        return "\n".join([*lines, ""])
