# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Questions to Prometheus, judged. What it could not be asked is an error, what it does not know is no data."""

from __future__ import annotations

import http.client
import json
import math
import re
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple
from urllib.parse import urlencode

from . import wire
from .judge import ERROR, NO_DATA, PASS, SEVERITY, Limits, Sample, bound, number, series, threshold, window
from .web import Refused, follow


class Unanswered(Exception):
    """Prometheus gave no answer that can be used."""


def resolve(query: str, seconds: float) -> str:
    """The query with ``$window`` as a duration."""
    return query.replace("$window", f"{max(1, round(seconds))}s")


def ask(options: Mapping[str, Any], limit: wire.Limit, path: str, **parameters: Any) -> Tuple[Any, List[str]]:
    """The ``data`` and the warnings of an answer. :raises Unanswered: there is none."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", **(options.get("headers") or {})}
    if options.get("bearer_token"):
        headers["Authorization"] = f"Bearer {options['bearer_token']}"
    base = options["url"].rstrip("/")
    try:
        tls = wire.context(options["validate_certs"], options["ca_cert"], options["client_cert"], options["client_key"])
        answer = follow(
            f"{base}/api/v1/{path}",
            limit,
            0,
            method="POST",
            headers={key: str(value) for key, value in headers.items()},
            body=urlencode({"timeout": f"{limit.left():.3f}", **parameters}).encode(),
            tls=tls,
            most=options["max_bytes"],
        )
    except Refused as error:
        raise Unanswered(str(error)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(wire.said(error)) from error
    try:
        said = json.loads(answer.body)
        status = said["status"]
    except (ValueError, KeyError, TypeError, RecursionError):
        start = answer.body[:80].decode("utf-8", "replace")
        raise Unanswered(f"status {answer.status}, and no JSON of Prometheus: {start!r}") from None
    if status != "success" or answer.status != 200:
        raise Unanswered(f"{said.get('errorType') or 'error'}: {said.get('error') or f'status {answer.status}'}")
    warnings = said.get("warnings") or []
    return said.get("data"), [str(one) for one in warnings] if isinstance(warnings, list) else [str(warnings)]


def _single(data: Any) -> Optional[float]:
    """The value of an answer that has one; None otherwise."""
    rows = data.get("result") if isinstance(data, Mapping) else None
    if isinstance(data, Mapping) and data.get("resultType") == "scalar":
        rows = [{"value": rows}]
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], Mapping):
        return None
    pair = rows[0].get("value")
    return number(pair[1]) if isinstance(pair, (list, tuple)) and len(pair) == 2 else None


def check(options: Mapping[str, Any], since: Optional[float] = None, now: Optional[float] = None) -> Sample:
    """One question.

    :param since: the moment (seconds since 1970) before which nothing is looked at.
    """
    begun = time.monotonic()
    now = time.time() if now is None else now
    reach = window(options["window"], now, since)
    details: Dict[str, Any] = {"query": resolve(options["query"], reach)}
    try:
        verdict, reason, value = _judge(options, since, now, reach, details)
    except Unanswered as error:
        verdict, reason, value = ERROR, f"Prometheus at {_bare(options['url'])} gave no answer: {error}", None
    if details.get("warnings"):
        reason += f" (Prometheus warns: {'; '.join(details['warnings'])})"
    return Sample(verdict, reason, value, seconds=round(time.monotonic() - begun, 4), details=details)


def _bare(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _judge(
    options: Mapping[str, Any], since: Optional[float], now: float, reach: float, details: Dict[str, Any]
) -> Tuple[str, str, Optional[float]]:
    limit = wire.Limit(options["timeout"])
    windowed = "$window" in options["query"] or options["step"] is not None
    if windowed and reach < options["min_window"]:
        return NO_DATA, f"only {reach:.0f} s to look back at, {options['min_window']:g} s are needed", None
    warnings: List[str] = []
    details["warnings"] = warnings
    volume = options.get("volume")
    if volume:
        data, said = ask(options, limit, "query", query=resolve(volume["query"], reach))
        warnings += said
        found = _single(data)
        if found is None or not found >= volume["min"]:
            many = "nothing was counted" if found is None else f"{found:.3g} counted"
            return NO_DATA, f"too little to judge by: {many}, at least {volume['min']:g} are needed", None
    limits = Limits(
        options["warn"], options["fail"], options["direction"], options["unit"] or "", options.get("any_value", False)
    )
    if options["step"] is not None:
        data, said = ask(
            options,
            limit,
            "query_range",
            query=details["query"],
            start=f"{now - reach:.3f}",
            end=f"{now:.3f}",
            step=f"{options['step']:g}",
        )
    else:
        data, said = ask(options, limit, "query", query=details["query"])
    warnings += said
    expected = options["series"] or None
    if options.get("baseline") is None:
        return series(data, expected, limits, options["judge"], options["min_points"])
    return _compare(options, since, data, limits, limit, details)


def _compare(
    options: Mapping[str, Any],
    since: Optional[float],
    data: Any,
    limits: Limits,
    limit: wire.Limit,
    details: Dict[str, Any],
) -> Tuple[str, str, Optional[float]]:
    """Against what was before the rollout: no worse than ``factor`` times that, or than the floor."""
    baseline = options["baseline"]
    if since is None:
        return ERROR, "a baseline needs since, the moment that it lies before", None
    before, said = ask(options, limit, "query", query=resolve(options["query"], options["window"]), time=f"{since:.3f}")
    details["warnings"] += said
    old = _single(before)
    if old is None or math.isnan(old):
        return NO_DATA, "there is no baseline from before", None
    details["baseline"] = old
    alert = bound(old, baseline["factor"], baseline["floor"], options["direction"])
    own = series(data, 1, limits) if limits.warn is not None or limits.fail is not None else None
    compared = series(data, 1, Limits(None, alert, options["direction"], limits.unit))
    if compared[0] != PASS:
        compared = (compared[0], f"{compared[1]} (before: {old:.6g})", compared[2])
    return max([one for one in (own, compared) if one], key=lambda one: SEVERITY.index(one[0]))


__all__ = ["ask", "check", "resolve", "threshold"]
