# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One check over time as an inline picture: the line, the bands of its limits, and where each step began."""

from __future__ import annotations

import html
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Sequence, Tuple

WIDE, HIGH, SIDE, TOP, BOTTOM = 420.0, 130.0, 6.0, 14.0, 16.0
FLOOR_LINE = HIGH - BOTTOM


def number(value: float, unit: str = "") -> str:
    """A value with its unit, in three figures."""
    if unit == "s" and abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    if unit in ("ratio", "%"):
        return f"{value * (100 if unit == 'ratio' else 1):.3g} %"
    if unit in ("bytes", "B"):
        for scale, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
            if abs(value) >= scale:
                return f"{value / scale:.3g} {name}"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def limits_in_sight(one: Mapping[str, Any]) -> Dict[str, float]:
    """A limit far away would press the line flat; it is left out of the picture, and named below it."""
    largest = max(abs(point[1]) for point in one["points"])
    return {key: value for key, value in one["limits"].items() if not largest or abs(value) <= 5 * largest}


def caption(one: Mapping[str, Any]) -> str:
    values, unit = [point[1] for point in one["points"]], one["unit"]
    said = f"last {number(values[-1], unit)}, highest {number(max(values), unit)}, {len(values)} samples"
    near = limits_in_sight(one)
    far = [f"{key} at {number(value, unit)}" for key, value in one["limits"].items() if key not in near]
    return f"{said}; beyond the picture: {', '.join(far)}" if far else said


def text(x: float, y: float, said: str, anchor: str = "start", color: str = "") -> str:
    style = f' style="fill:{color}"' if color else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{html.escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, color: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{more}/>'


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%H:%M:%S")


def svg(one: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str:
    """The picture.

    :param one: ``points`` (time, value, verdict), ``limits`` (``warn``, ``fail``) and ``unit``.
    :param steps: ``name`` and ``began`` of each.
    """
    points, near = one["points"], limits_in_sight(one)
    values = [point[1] for point in points]
    begin, end = points[0][0], max(points[-1][0], points[0][0] + 1)
    ceiling = max([*values, *near.values(), 0.0]) * 1.15 or 1.0
    floor = min([*values, *near.values(), 0.0])

    def x(at: float) -> float:
        return SIDE + (WIDE - 2 * SIDE) * (at - begin) / (end - begin)

    def y(value: float) -> float:
        return TOP + (FLOOR_LINE - TOP) * (1 - (value - floor) / (ceiling - floor))

    limits = one["limits"]
    low_is_bad = "warn" in limits and "fail" in limits and limits["fail"] < limits["warn"]
    edges: List[Tuple[str, float]] = sorted(near.items(), key=lambda item: item[1], reverse=low_is_bad)
    parts = [f'<svg viewBox="0 0 {WIDE:g} {HIGH:g}" role="img" aria-label="{html.escape(one["name"], quote=True)}">']
    for index, (key, value) in enumerate(edges):
        outer = edges[index + 1][1] if index + 1 < len(edges) else (floor if low_is_bad else ceiling)
        upper, lower = min(y(value), y(outer)), max(y(value), y(outer))
        fill, color = ("var(--badback)", "var(--bad)") if key == "fail" else ("var(--warnback)", "var(--warn)")
        width, height = WIDE - 2 * SIDE, lower - upper
        parts.append(f'<rect x="{SIDE:g}" y="{upper:.1f}" width="{width:g}" height="{height:.1f}" fill="{fill}"/>')
        parts.append(line(SIDE, y(value), WIDE - SIDE, y(value), color))
        parts.append(text(SIDE + 2, y(value) - 2, f"{key} {number(value, one['unit'])}", color=color))
    labelled = -WIDE
    for step in steps:
        if begin < step["began"] < end:
            at = x(step["began"])
            late = at > WIDE * 0.8
            parts.append(line(at, TOP, at, FLOOR_LINE, "var(--soft)", ' stroke-dasharray="3 3"'))
            if at - labelled > 6 * len(step["name"]) + 4:
                parts.append(text(at - 2 if late else at + 2, 10, step["name"], "end" if late else "start"))
                labelled = at
    parts.append(line(SIDE, FLOOR_LINE, WIDE - SIDE, FLOOR_LINE, "var(--line)"))
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value, _verdict in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="var(--info)" stroke-width="1.6"/>')
    for at, value, verdict in points:
        if verdict in ("fail", "error", "warn"):
            color = "var(--warn)" if verdict == "warn" else "var(--bad)"
            parts.append(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{color}"/>')
    parts.append(text(SIDE, HIGH - 4, clock(begin)))
    parts.append(text(WIDE - SIDE, HIGH - 4, clock(end), "end"))
    return "".join([*parts, "</svg>"])
