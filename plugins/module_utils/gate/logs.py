# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Bursts of errors in logs."""

from __future__ import annotations

import calendar
import re
import time
from collections import deque
from typing import Any, Deque, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..common import process
from ..common.errors import OpsError
from .judge import ERROR, FAIL, NO_DATA, PASS

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")


def moment(line: str) -> Optional[float]:
    """The first time in a line, in seconds; only their differences mean something, so the zone does not matter."""
    found = TIME.search(line)
    if found is None:
        return None
    try:
        return float(calendar.timegm(time.strptime(found.group().replace(" ", "T"), "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def burst(moments: Sequence[Optional[float]], window: float) -> int:
    """The most that lie within ``window`` seconds; what has no time may lie anywhere, so it counts."""
    known = sorted(one for one in moments if one is not None)
    most = first = 0
    for last, at in enumerate(known):
        while at - known[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most + len(moments) - len(known)


def check(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Reads the log line by line, however long it is."""
    pattern = re.compile(options["pattern"])
    errors: List[Optional[float]] = []
    latest: Deque[str] = deque(maxlen=3)
    last, timed = "", False
    try:
        for line in of_pods(options) if options.get("pods") else of_program(options):
            last, timed = line, timed or TIME.search(line) is not None
            if pattern.search(line):
                errors.append(moment(line))
                latest.append(line.strip()[:200])
    except OpsError as error:
        return ERROR, error.cause
    most = burst(errors, options["window"])
    if most > options["most"]:
        said = "; ".join(latest)
        return FAIL, f"{most} errors within {options['window']:g} s, more than {options['most']}; the last: {said}"
    if errors:
        return PASS, f"{len(errors)} errors, never more than {most} within {options['window']:g} s"
    if not timed:
        # A program that finds no log may say so and end well.
        return NO_DATA, "there is no line with a time" + (f": {last.strip()[-200:]}" if last else "")
    return PASS, "no errors"


def of_program(options: Mapping[str, Any]) -> Iterator[str]:
    """What a program prints. :raises OpsError: it cannot be run, or did not end well."""
    argv = [str(word) for word in options["argv"]]
    try:
        reading = process.Reading(argv, options["timeout"], cwd=options.get("chdir"))
    except OSError as error:
        raise OpsError("run", argv[0], f"{argv[0]} cannot be run: {error.strerror or error}") from None
    last = ""
    for line in reading:
        last = line
        yield line
    if reading.late:
        raise OpsError("run", argv[0], too_long(options))
    if reading.rc:
        cause = f"the log cannot be read: {argv[0]} ended with {reading.rc}: {last.strip()[-300:]}"
        raise OpsError("run", argv[0], cause)


def of_pods(options: Mapping[str, Any]) -> Iterator[str]:
    """What pods wrote. :raises OpsError: see :func:`.pods.lines`."""
    from . import pods

    deadline = time.monotonic() + options["timeout"]
    for line in pods.lines(options["pods"]):
        if time.monotonic() > deadline:
            raise OpsError("read", "the log", too_long(options))
        yield line


def too_long(options: Mapping[str, Any]) -> str:
    return f"the log was not read to its end within {options['timeout']:g} s"
