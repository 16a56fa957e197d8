# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What samples say. Nothing here passes for want of data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

PASS = "pass"  # noqa: S105
WARN = "warn"  # between target and alert
FAIL = "fail"
NO_DATA = "no_data"
ERROR = "error"  # it could not be asked
SEVERITY = (PASS, WARN, NO_DATA, FAIL, ERROR)


@dataclass(frozen=True)
class Sample:
    """One attempt at one check. ``at`` and ``seconds`` are seconds."""

    verdict: str
    reason: str = ""
    value: Optional[float] = None
    at: float = 0.0
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Where target and alert lie. ``above`` means that more is worse."""

    warn: Optional[float] = None
    fail: Optional[float] = None
    direction: str = "above"
    unit: str = ""
    any_value: bool = False  # it is only asked whether there is a number


@dataclass(frozen=True)
class Holding:
    """When a watch is broken: so many bad samples in a row, or so many among the last ``window``."""

    failures: int = 3
    window: int = 10
    bad: int = 4


def worst(verdicts: Iterable[str]) -> str:
    """The gravest verdict; of none at all, ``no_data``."""
    known = [SEVERITY.index(one) for one in verdicts]
    return SEVERITY[max(known)] if known else NO_DATA


def good(verdict: str, no_data: str = FAIL) -> bool:
    """Whether a run may go on with it. ``no_data`` says what a lack of data means; an error is never good."""
    return verdict in (PASS, WARN) or (verdict == NO_DATA and no_data in (PASS, WARN))


def number(value: Any) -> Optional[float]:
    """A value as Prometheus, JSON and SQL give it; None when it is no number. ``true`` is no number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def show(value: float, unit: str = "") -> str:
    """A number for people: four significant digits."""
    if unit == "ratio":
        return f"{value * 100:.4g} %"
    if unit == "bytes" and abs(value) >= 1 << 20:
        return f"{value / (1 << 20):.4g} MiB"
    return f"{value:.6g}{' ' + unit if unit else ''}"


def threshold(value: Any, limits: Limits, what: str = "the value") -> Tuple[str, str]:
    """Verdict and reason of one value. Not a number is no data; an infinite one never passes."""
    read = number(value)
    if read is None or math.isnan(read):
        return NO_DATA, f"{what} is {value}: no number"
    if limits.any_value:
        if math.isinf(read):
            return ERROR, f"{what} is infinite"
        return PASS, f"there is data: {what} is {show(read, limits.unit)}, and not judged"
    if limits.warn is None and limits.fail is None:
        return ERROR, f"{what} has no limit to be judged by"
    if any(limit is not None and math.isnan(limit) for limit in (limits.warn, limits.fail)):
        return ERROR, f"a limit of {what} is no number"
    above = limits.direction == "above"
    if math.isinf(read):
        return (FAIL if (read > 0) == above else ERROR), f"{what} is infinite"
    beyond = "above" if above else "below"
    said = show(read, limits.unit)
    for verdict, limit, name in ((FAIL, limits.fail, "alert"), (WARN, limits.warn, "target")):
        if limit is not None and (read > limit if above else read < limit):
            return verdict, f"{what} is {said}, {beyond} the {name} of {show(limit, limits.unit)}"
    first = limits.warn if limits.warn is not None else limits.fail
    return PASS, f"{what} is {said}, not {beyond} {show(first or 0.0, limits.unit)}"


def bound(before: float, factor: float, floor: float, direction: str = "above") -> float:
    """The alert that a value from before gives: ``factor`` times worse, and never what is as good as ``floor``."""
    if direction == "above":
        return max(before * factor, floor)
    return min(before / factor, floor)


def series(
    result: Any, expected: Optional[int], limits: Limits, judge: str = "worst", min_points: int = 1
) -> Tuple[str, str, Optional[float]]:
    """Verdict, reason and value of Prometheus's ``data``: a vector, a matrix or a scalar.

    :param expected: the exact number of series; None is any number but zero.
    :param judge: of a matrix, ``worst``, ``last`` or ``mean`` of each series.
    """
    kind, rows = (result.get("resultType"), result.get("result")) if isinstance(result, Mapping) else (None, None)
    if kind == "scalar":
        rows, kind = [{"metric": {}, "value": rows}], "vector"
    if kind not in ("vector", "matrix") or not isinstance(rows, list):
        return ERROR, f"the answer is a {kind or 'thing without a type'}, not a vector or a matrix", None
    if not rows:
        return NO_DATA, "the query gives no series", None
    if expected is not None and len(rows) != expected:
        return ERROR, f"the query gives {len(rows)} series, not {expected}", None
    names = [_name(row) for row in rows]
    if len(set(names)) != len(names):
        return ERROR, "the same series comes twice", None
    verdicts: List[Tuple[str, str, Optional[float]]] = []
    for row, name in zip(rows, names):
        what = name if len(rows) > 1 else "the value"
        if kind == "vector":
            value, problem = _vector(row)
        else:
            value, problem = _matrix(row, judge, limits.direction, min_points)
        if problem:
            verdicts.append((*problem, None))
            continue
        verdict, reason = threshold(value, limits, what)
        read = number(value)
        verdicts.append((verdict, reason, read if read is not None and math.isfinite(read) else None))
    return max(verdicts, key=lambda one: SEVERITY.index(one[0]))


def _name(row: Any) -> str:
    metric = row.get("metric") if isinstance(row, Mapping) else None
    if not isinstance(metric, Mapping):
        return "?"
    return "{" + ", ".join(f"{key}={value}" for key, value in sorted(metric.items())) + "}"


def _vector(row: Any) -> Tuple[Any, Optional[Tuple[str, str]]]:
    pair = row.get("value") if isinstance(row, Mapping) else None
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or number(pair[0]) is None:
        return None, (ERROR, "a series without a value")
    return pair[1], None


def _matrix(row: Any, judge: str, direction: str, min_points: int) -> Tuple[Any, Optional[Tuple[str, str]]]:
    pairs = row.get("values") if isinstance(row, Mapping) else None
    if not isinstance(pairs, (list, tuple)):
        return None, (ERROR, "a series without values")
    points: Dict[float, Any] = {}
    for pair in pairs:
        at = number(pair[0]) if isinstance(pair, (list, tuple)) and len(pair) == 2 else None
        if at is None:
            return None, (ERROR, "a point without a time")
        if at in points and points[at] != pair[1]:
            return None, (ERROR, "two values at the same time")
        points[at] = pair[1]
    if len(points) < max(1, min_points):
        return None, (NO_DATA, f"{len(points)} points of at least {max(1, min_points)}")
    values = [number(points[at]) for at in sorted(points)]
    read = [value for value in values if value is not None and not math.isnan(value)]
    if len(read) != len(values):
        return None, (NO_DATA, f"{len(values) - len(read)} of {len(values)} points are no number")
    infinite = [value for value in read if math.isinf(value)]
    if infinite:
        # Beside worse values a good one would hide, and an infinite one is never good.
        return infinite[0], None
    if judge == "last":
        return read[-1], None
    if judge == "mean":
        return math.fsum(read) / len(read), None
    return (max(read) if direction == "above" else min(read)), None


def ordered(samples: Iterable[Sample]) -> List[Sample]:
    """By time, each moment once; of two that differ, the worse."""
    moments: Dict[float, Sample] = {}
    for one in samples:
        known = moments.get(one.at)
        if known is None or SEVERITY.index(one.verdict) > SEVERITY.index(known.verdict):
            moments[one.at] = one
    return [moments[at] for at in sorted(moments)]


def streak(samples: Iterable[Sample], no_data: str = FAIL, of: bool = True) -> int:
    """How many of the latest samples in a row are good (or bad, with ``of`` false)."""
    count = 0
    for one in reversed(ordered(samples)):
        if good(one.verdict, no_data) is not of:
            break
        count += 1
    return count


def become(samples: Sequence[Sample], consecutive: int, no_data: str = FAIL) -> Tuple[str, str]:
    """Whether a check has become healthy: the last ``consecutive`` samples are all good."""
    known = ordered(samples)
    if not known:
        return ERROR, "it was never asked"
    run = streak(known, no_data)
    last = known[-1]
    if run == 0:
        return last.verdict, last.reason
    if run < max(1, consecutive):
        return FAIL, f"only {run} of {consecutive} good answers in a row: {last.reason}"
    counted = known[-max(1, consecutive) :]
    shown = max(counted, key=lambda one: (SEVERITY.index(one.verdict), one.at))
    return shown.verdict, shown.reason


def breach(samples: Sequence[Sample], rules: Holding, no_data: str = FAIL) -> Optional[str]:
    """Why a watch is broken, or None."""
    known = ordered(samples)
    bad = [one for one in known if not good(one.verdict, no_data)]
    if not bad:
        return None
    run = streak(known, no_data, of=False)
    if run >= max(1, rules.failures):
        return f"{run} bad answers in a row: {bad[-1].reason}"
    recent = known[-max(1, rules.window) :]
    count = sum(not good(one.verdict, no_data) for one in recent)
    if count >= max(1, rules.bad):
        return f"{count} of the last {len(recent)} answers are bad: {bad[-1].reason}"
    return None


def held(samples: Sequence[Sample], rules: Holding, no_data: str = FAIL) -> Tuple[str, str, bool]:
    """Verdict, reason and whether that is final, of a watch whose time is over.

    A watch that ends on a bad answer is not decided: one more sample has to tell.
    """
    known = ordered(samples)
    if not known:
        return NO_DATA, "there is no sample after the warm-up", True
    broken = breach(known, rules, no_data)
    last_bad = next((one for one in reversed(known) if not good(one.verdict, no_data)), None)
    if broken and last_bad is not None:
        return last_bad.verdict, broken, True
    if last_bad is not None and streak(known, no_data, of=False):
        return last_bad.verdict, f"the last answer is bad: {last_bad.reason}", False
    verdict = worst(one.verdict for one in known if good(one.verdict, no_data))
    shown = next(one for one in reversed(known) if one.verdict == verdict)
    return verdict, shown.reason, True


def window(wanted: float, now: float, since: Optional[float]) -> float:
    """Seconds that a window may reach back: never before ``since``."""
    return wanted if since is None else max(0.0, min(wanted, now - since))
