"""Prometheus metrics in the text format."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Requests by code, their durations, and what the process uses."""

    def __init__(self, service: str, version: str):
        self.labels = f'service="{service}",version="{version}"'
        self.lock = threading.Lock()
        self.codes: Counter[int] = Counter({200: 0, 500: 0})  # both stand there from the start: absent is not zero
        self.buckets = [0] * len(BUCKETS)
        self.count = 0
        self.sum = 0.0
        self.started = time.time()

    def observe(self, code: int, seconds: float) -> None:
        with self.lock:
            self.codes[code] += 1
            self.count += 1
            self.sum += seconds
            for index, bound in enumerate(BUCKETS):
                self.buckets[index] += seconds <= bound

    def text(self) -> str:
        with self.lock:
            codes, buckets, count, total = sorted(self.codes.items()), list(self.buckets), self.count, self.sum
        lines = ["# HELP http_requests_total Requests answered.", "# TYPE http_requests_total counter"]
        lines += [f'http_requests_total{{{self.labels},code="{code}"}} {number}' for code, number in codes]
        name = "http_request_duration_seconds"
        lines += [f"# HELP {name} Seconds until a request was answered.", f"# TYPE {name} histogram"]
        for bound, number in [*zip(map(str, BUCKETS), buckets), ("+Inf", count)]:
            lines.append(f'{name}_bucket{{{self.labels},le="{bound}"}} {number}')
        lines += [f"{name}_sum{{{self.labels}}} {total:.6f}", f"{name}_count{{{self.labels}}} {count}"]
        times = os.times()
        for name, kind, value in (
            ("process_resident_memory_bytes", "gauge", resident_bytes()),
            ("process_cpu_seconds_total", "counter", round(times.user + times.system, 2)),
            ("process_start_time_seconds", "gauge", round(self.started, 3)),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name}{{{self.labels}}} {value}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
