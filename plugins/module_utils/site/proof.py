# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Proves a published site where its users see it: every page, and everything that the pages name."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, List, NamedTuple, Optional
from urllib.parse import quote, unquote

from ..common.errors import InputError, OpsError
from ..common.progress import Progress
from .bucket import CURRENT, Bucket, manifest
from .references import assets
from .rules import ENCODINGS


class Answer(NamedTuple):
    status: int
    content_type: str
    cache_control: str
    body: bytes
    error: str = ""
    content_encoding: str = ""


def fetcher(url: str, host: Optional[str], validate_certs: bool = True) -> Callable[[str], Answer]:
    """Fetches paths from an address, as ``host`` if that is given."""
    if not url.startswith(("http://", "https://")):
        raise InputError("url", f"{url!r} is no http:// or https:// address")
    context = ssl.create_default_context()
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    headers = {"User-Agent": "site_publish", "Accept-Encoding": "identity", **({"Host": host} if host else {})}

    def fetch(path: str) -> Answer:
        request = urllib.request.Request(url.rstrip("/") + path, headers=headers)  # noqa: S310 - checked above
        try:
            with opener.open(request, timeout=20) as found:
                head = found.headers
                return Answer(
                    found.status,
                    head.get("Content-Type", ""),
                    head.get("Cache-Control", ""),
                    found.read(),
                    content_encoding=head.get("Content-Encoding", ""),
                )
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers.get("Content-Type", ""), "", b"")
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, "", "", b"", str(getattr(error, "reason", "") or error))

    return fetch


def judge(answer: Answer, wanted: Optional[Dict[str, Any]]) -> str:
    """What is wrong with an answer; empty if nothing is.

    :param wanted: the manifest's entry; None for what the release does not have.
    """
    if answer.error:
        return f"no answer: {answer.error}"
    if answer.status != 200:
        return f"status {answer.status}"
    if wanted is None:
        # Single-page applications often answer everything with their page.
        return "the page, where an asset was asked for" if answer.content_type.startswith("text/html") else ""
    got = hashlib.sha256(answer.body).hexdigest()
    if got != wanted["sha256"]:
        return f"other content (SHA-256 {got[:12]}..., the release has {wanted['sha256'][:12]}...)"
    if answer.content_type != wanted["type"]:
        return f"Content-Type {answer.content_type or 'missing'}, not {wanted['type']}"
    if answer.cache_control != wanted["cache"]:
        return f"Cache-Control {answer.cache_control or 'missing'}, not {wanted['cache']}"
    if answer.content_encoding != wanted.get("encoding", ""):
        return f"Content-Encoding {answer.content_encoding or 'missing'}, not {wanted.get('encoding') or 'none'}"
    return ""


def prove(
    bucket: Bucket,
    release: Optional[str],
    fetch: Callable[[str], Answer],
    where: str,
    viewer_path: str,
    timeout: float,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Dict[str, Any]:
    """Fetches the release's pages and what they name until all is right.

    :param where: the address, and the host if that is another, for messages.
    :param timeout: in seconds; caches may need a moment.
    :raises OpsError: something is still wrong then; each such path is named.
    """
    current = (bucket.read_json(CURRENT) or {}).get("release", "")
    if release and current != release:
        raise OpsError(
            "verify", where, f"{bucket} serves {current or 'no known release'}, not {release}", "Publish it first."
        )
    files = (bucket.read_json(manifest(current)) or {}).get("files") if current else None
    if not files:
        raise OpsError("verify", where, f"{bucket} has no manifest", "Publish a release first.")
    base = "/" + viewer_path.strip("/") + "/" if viewer_path.strip("/") else "/"
    entries = {base + key: entry for key, entry in files.items()}
    pages = sorted(path for path, entry in entries.items() if entry["type"].startswith("text/html"))
    deadline = clock() + timeout
    while True:
        checked: Dict[str, str] = {}
        for page in pages:
            answer = fetch(quote(page))
            checked[page] = judge(answer, entries[page])
            if not checked[page]:
                for asset in assets(answer.body.decode("utf-8", "replace"), page):
                    path = unquote(asset)
                    if path not in checked:
                        checked[path] = judge(fetch(quote(path)), entries.get(path))
        for path in list(checked):
            for variant in (path + suffix for suffix in ENCODINGS):
                if entries.get(variant, {}).get("encoding"):
                    checked[variant] = judge(fetch(quote(variant)), entries[variant])
        wrong: List[str] = [f"{path}: {reason}" for path, reason in sorted(checked.items()) if reason]
        if not wrong:
            return {"changed": False, "release": current, "verified": sorted(checked)}
        if clock() >= deadline:
            raise OpsError(
                "verify",
                where,
                f"{len(wrong)} of {len(checked)} paths are not what release {current} has: {'; '.join(wrong[:5])}",
                "If content is old, invalidate the paths; if status is 403 or 404, publish again.",
                wrong=wrong,
            )
        progress.heartbeat(f"{where}: {wrong[0]}")
        sleep(1)
