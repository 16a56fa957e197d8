# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""HTTP requests and scenarios, judged."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple
from urllib.parse import quote, urljoin, urlsplit

from . import jsonpath, wire
from .judge import ERROR, FAIL, PASS, Limits, Sample, threshold, worst

PLACE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
REDIRECTS = (301, 302, 303, 307, 308)


class Refused(Exception):
    """An answer that breaks a rule of ours (too large, too many redirects), whatever it says."""


@dataclass
class Answer:
    """What came back. ``days`` is how long the certificate lasts."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    url: str
    days: Optional[float] = None


def fill(value: Any, captured: Mapping[str, Any], escape: bool = False) -> Any:
    """The value with ``${name}`` replaced by what was captured. :raises Refused: nothing was, under that name."""
    if isinstance(value, str):
        whole = PLACE.fullmatch(value)
        if whole and whole.group(1) in captured and not escape:
            return captured[whole.group(1)]

        def one(match: Any) -> str:
            if match.group(1) not in captured:
                raise Refused(f"${{{match.group(1)}}} was not captured by an earlier step")
            text = str(captured[match.group(1)])
            return quote(text, safe="") if escape else text

        return PLACE.sub(one, value)
    if isinstance(value, Mapping):
        return {key: fill(item, captured) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, captured) for item in value]
    return value


def unpack(body: bytes, encoding: str, most: int) -> bytes:
    """The body as it was before it was compressed. :raises Refused: it is larger than ``most``, or broken."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate", "x-gzip"):
        raise Refused(f"the body is encoded as {encoding}, which nobody asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise Refused(f"the compressed body is broken: {error}") from error
    if len(plain) > most:
        raise Refused(f"the body is larger than {most} bytes once unpacked")
    if not unpacker.eof:
        raise Refused("the compressed body ends too early")
    return plain


def request(
    url: str,
    limit: wire.Limit,
    *,
    method: str = "GET",
    headers: Optional[Mapping[str, str]] = None,
    body: Optional[bytes] = None,
    host: Optional[str] = None,
    tls: Any = None,
    most: int = 1 << 20,
    ip_version: str = "any",
) -> Answer:
    """One request, no redirect followed.

    :param host: sent as Host, and the name that the certificate must be for.
    :param most: bytes that the body may have, also once unpacked.
    """
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise Refused(f"{url!r} is no HTTP address")
    begun = time.monotonic()
    secure = place.scheme == "https"
    port = place.port or (443 if secure else 80)
    connection = wire.connect(place.hostname, port, limit, ip_version)
    name = host.rsplit(":", 1)[0] if host and not host.endswith("]") else host or place.hostname
    days = None
    if secure:
        connection = wire.secure(connection, tls or wire.context(), name or place.hostname, limit)
        if connection.getpeercert():
            days = wire.days_left(connection)
    with closing(connection):
        client = http.client.HTTPConnection(place.hostname, port)
        client.sock = wire.Timed(connection, limit)  # type: ignore[assignment]
        path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        sent = {
            "Host": host or place.netloc.rsplit("@", 1)[-1],
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "eazepay.ops",
            **(headers or {}),
        }
        client.request(method, path, body=body, headers=sent)
        response = client.getresponse()
        read = b"" if method == "HEAD" else response.read(most + 1)
        if len(read) > most:
            raise Refused(f"the body is larger than {most} bytes")
        if response.length:
            raise Refused(f"the body ended {response.length} bytes too early")
        found = {key.lower(): value for key, value in response.getheaders()}
        plain = unpack(read, found.get("content-encoding", "").strip().lower(), most)
        return Answer(response.status, found, plain, time.monotonic() - begun, url, days)


def follow(url: str, limit: wire.Limit, most_redirects: int, **options: Any) -> Answer:
    """A request whose redirects are followed, ``most_redirects`` at most, never from https to http."""
    first = urlsplit(url)
    for _turn in range(most_redirects + 1):
        answer = request(url, limit, **options)
        target = answer.headers.get("location")
        if answer.status not in REDIRECTS or not target:
            return answer
        url = urljoin(url, target)
        there = urlsplit(url)
        if first.scheme == "https" and there.scheme != "https":
            raise Refused(f"redirected from https to {url}")
        if there.netloc != first.netloc:
            # Another host must not learn our credentials, and has a name of its own.
            secretive = {"authorization", "cookie"}
            options["headers"] = {
                key: value for key, value in (options.get("headers") or {}).items() if key.lower() not in secretive
            }
            options["host"] = None
        if answer.status == 303 or (answer.status in (301, 302) and options.get("method") == "POST"):
            options.update(method="GET", body=None)
    raise Refused(f"more than {most_redirects} redirects")


def _send(step: Mapping[str, Any], limit: wire.Limit, tls: Any, captured: Mapping[str, Any]) -> Answer:
    headers = {str(key): str(fill(value, captured)) for key, value in (step.get("headers") or {}).items()}
    body = step.get("body")
    if step.get("body_json") is not None:
        body = json.dumps(fill(step["body_json"], captured))
        headers.setdefault("Content-Type", "application/json")
    elif body is not None:
        body = str(fill(body, captured))
    if step.get("bearer_token"):
        headers["Authorization"] = f"Bearer {step['bearer_token']}"
    url = fill(step["url"], captured, escape=True)
    options: Dict[str, Any] = {
        "method": step["method"],
        "headers": headers,
        "body": body.encode() if body is not None else None,
        "host": step.get("host"),
        "tls": tls,
        "most": step["max_bytes"],
        "ip_version": step["ip_version"],
    }
    if step["redirects"] == "follow":
        return follow(url, limit, step["max_redirects"], **options)
    return request(url, limit, **options)


def weigh(answer: Answer, step: Mapping[str, Any], captured: Dict[str, Any]) -> List[Tuple[str, str]]:
    """Verdicts and reasons of an answer; adds what the step captures to ``captured``."""
    found: List[Tuple[str, str]] = []
    if answer.status not in step["status"]:
        where = f" to {answer.headers['location']}" if answer.headers.get("location") else ""
        wanted = " or ".join(map(str, step["status"]))
        text = answer.body[:200].decode("utf-8", "replace").strip()
        found.append((FAIL, f"status {answer.status}{where}, not {wanted}" + (f": {text}" if text else "")))
    for name, pattern in (step.get("headers_match") or {}).items():
        value = answer.headers.get(name.lower())
        if value is None:
            found.append((FAIL, f"header {name} is missing"))
        elif not re.search(str(pattern), value):
            found.append((FAIL, f"header {name} is {value!r}, which {pattern!r} does not match"))
    text = answer.body.decode("utf-8", "replace")
    if step.get("body_matches") and not re.search(step["body_matches"], text, re.M):
        found.append((FAIL, f"{step['body_matches']!r} does not match the body"))
    if (step.get("json") or step.get("capture")) and not found:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            found.append((FAIL, f"the body is no JSON: {text[:80]!r}"))
        else:
            wanted = fill(step.get("json") or {}, captured)
            found += [(FAIL, problem) for problem in jsonpath.conditions(document, wanted)]
            for name, path in (step.get("capture") or {}).items():
                try:
                    captured[name] = jsonpath.find(document, path)
                except jsonpath.Absent:
                    found.append((FAIL, f"nothing stands at {path}, which {name} was to be"))
    if step.get("warn_seconds") is not None or step.get("fail_seconds") is not None:
        limits = Limits(step.get("warn_seconds"), step.get("fail_seconds"), unit="s")
        found.append(threshold(round(answer.seconds, 4), limits, "the answer's time"))
    if step.get("warn_days") is not None or step.get("fail_days") is not None:
        limits = Limits(step.get("warn_days"), step.get("fail_days"), "below", "days")
        found.append(threshold(answer.days, limits, "what is left of the certificate"))
    return found


def check(options: Mapping[str, Any]) -> Sample:
    """One request, or the steps of a scenario in their order until one does not hold."""
    limit = wire.Limit(options["timeout"])
    captured: Dict[str, Any] = {}
    verdicts: List[Tuple[str, str]] = []
    seconds = 0.0
    steps = options.get("steps") or [options]
    for index, given in enumerate(steps):
        step = {**options, **{key: value for key, value in given.items() if value is not None}}
        name = f"step {given.get('name') or index + 1}: " if options.get("steps") else ""
        try:
            tls = (
                wire.context(step["validate_certs"], step["ca_cert"], step["client_cert"], step["client_key"])
                if str(step["url"]).startswith("https") or step["redirects"] == "follow"
                else None
            )
            answer = _send(step, limit, tls, captured)
            seconds += answer.seconds
            found = weigh(answer, step, captured)
        except Refused as error:
            found = [(FAIL, str(error))]
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A server that cannot be reached or trusted is not healthy; a file of ours that is not there is no answer.
            mine = isinstance(error, (FileNotFoundError, PermissionError, ValueError))
            mine = mine and not isinstance(error, ssl.SSLError)
            found = [(ERROR if mine else FAIL, wire.said(error))]
        verdicts += [(verdict, name + reason) for verdict, reason in found]
        if worst([PASS, *(verdict for verdict, _reason in found)]) in (FAIL, ERROR):
            break
    verdict = worst([PASS, *(one for one, _reason in verdicts)])
    reasons = [reason for one, reason in verdicts if one == verdict]
    if not reasons:
        reasons = [f"{len(steps)} steps answered as wanted" if options.get("steps") else f"status {answer.status}"]
    return Sample(verdict, "; ".join(reasons), round(seconds, 4))
