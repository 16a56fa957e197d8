# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a check may say, beyond what its arguments can tell; also for whoever hands checks over as plain data."""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Mapping

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..common.errors import InputError
from . import jsonpath
from .arguments import CHECKS, KINDS


def kind_of(check: Mapping[str, Any]) -> str:
    return next(kind for kind in KINDS if check.get(kind) is not None)


def read(checks: List[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """Checks with all defaults, from plain data. :raises InputError: one that cannot be right."""
    validator = ArgumentSpecValidator({"checks": CHECKS})
    result = validator.validate({"checks": [dict(check) for check in checks]})
    if result.error_messages:
        raise InputError("checks", "; ".join(result.error_messages))
    found = result.validated_parameters["checks"]
    examine(found)
    return found


def examine(checks: List[Mapping[str, Any]]) -> None:
    """:raises InputError: what no argument specification can see."""
    names = [check["name"] for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("checks", f"the name {twice[0]!r} comes twice")
    for check in checks:
        kind = kind_of(check)
        try:
            _examine(kind, check[kind])
        except (ValueError, re.error) as error:
            raise InputError("checks", f"{check['name']}: {error}") from error


def _examine(kind: str, options: Mapping[str, Any]) -> None:
    if not 0 < options["timeout"] < math.inf:
        raise ValueError("timeout is a positive number of seconds")
    if kind == "http":
        for step in options.get("steps") or [options]:
            if not (step.get("url") or options.get("url")):
                raise ValueError("an HTTP check needs a url")
            jsonpath.check(step.get("json") or {})
            jsonpath.check(dict.fromkeys((step.get("capture") or {}).values()))
            for pattern in [step.get("body_matches"), *(step.get("headers_match") or {}).values()]:
                re.compile(str(pattern or ""))
        if not options["validate_certs"] and (options["warn_days"] is not None or options["fail_days"] is not None):
            raise ValueError("the days of a certificate are only known with validate_certs")
    elif kind == "prometheus":
        limited = any(options[key] is not None for key in ("warn", "fail", "baseline"))
        if not limited and not options["any_value"]:
            raise ValueError("a Prometheus check needs warn, fail or baseline, or it would pass whatever comes")
        if limited and options["any_value"]:
            raise ValueError("any_value goes with no limit")
        if options["step"] is not None and options["step"] <= 0:
            raise ValueError("step is a positive number of seconds")
        if options["baseline"] and (options["step"] is not None or options["baseline"]["factor"] <= 0):
            raise ValueError("a baseline needs a positive factor, and goes with instant queries only")
        for key in ("warn", "fail"):
            if options[key] is not None and math.isnan(options[key]):
                raise ValueError(f"{key} is no number")
    elif kind == "postgres":
        if bool(options["query"]) != bool(options["query_limits"]):
            raise ValueError("query and query_limits go together")
    elif kind == "command":
        if not options["argv"]:
            raise ValueError("argv is empty")
        re.compile(options["stdout_matches"] or "")
    elif kind == "logs":
        if options["argv"] == []:
            raise ValueError("argv is empty")
        if options["window"] <= 0:
            raise ValueError("window is a positive number of seconds")
        re.compile(options["pattern"])


def writes(check: Mapping[str, Any]) -> bool:
    """Whether asking may change something: then check mode does not ask."""
    kind = kind_of(check)
    if kind in ("command", "logs"):
        return bool(check[kind].get("argv"))
    if kind != "http":
        return False
    steps = check["http"].get("steps") or [{}]
    return any((step.get("method") or check["http"]["method"]).upper() not in ("GET", "HEAD") for step in steps)
