# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The bundle: a folder with a first page, or the same as one zip file. Nothing enters it unredacted."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping

from ..common.errors import InputError, OpsError
from ..common.redact import Redactor
from . import gather, index
from .rules import findings, likely, nearest


def write(dest: str, files: Mapping[str, str]) -> None:
    """All files at once: the bundle is there as a whole or not at all. Only the owner may read it."""
    folder = tempfile.mkdtemp(prefix=".diagnostics-", dir=os.path.dirname(os.path.abspath(dest)))
    try:
        for name, text in files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        if dest.endswith(".zip"):
            packed = folder + ".zip"
            try:
                handle = os.open(packed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name in sorted(files):
                        archive.write(os.path.join(folder, name), name)
                os.replace(packed, dest)
            except BaseException:
                if os.path.exists(packed):
                    os.unlink(packed)
                raise
        else:
            os.rename(folder, dest)
    except OSError as error:
        raise OpsError(
            "write", f"the bundle {dest}", str(error.strerror or error), "Name a path that does not exist yet."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(params: Mapping[str, Any], check: bool = False) -> Dict[str, Any]:
    """One call of ``diagnostics``."""
    dest = params["dest"]
    rollout, failure = handed_on(params.get("rollout") or []), (params.get("failure") or "").strip()
    if os.path.exists(dest):
        return {"changed": False, "dest": dest, "findings": [], "files": [], "services": [], "msg": f"{dest} exists"}
    redact = Redactor([params["login_password"]] if params.get("login_password") else []).text
    with ThreadPoolExecutor(max_workers=4) as pool:
        standing = pool.submit(gather.services, params)
        texts = pool.submit(gather.target, params)
        asks = params.get("login_host") or params.get("login_unix_socket")
        database = pool.submit(gather.database, params) if asks else None
        hosts = pool.submit(gather.hosts, params["hosts"]) if params.get("hosts") else None
        services, unreachable = standing.result()
        facts: Dict[str, Any] = {"services": services, "unreachable": unreachable}
        files: Dict[str, str] = texts.result()
        if database:
            facts["database"], files["database.txt"] = database.result()
        if hosts:
            facts["hosts"] = hosts.result()
            files["hosts.txt"] = gather.told(facts["hosts"])
    if params.get("ledger"):
        files["ledger.txt"] = gather.ledger(params)
    facts["rollout"] = rollout
    files.update(at_failure(rollout))
    for one in services:
        text = files.get(f"{one['workload']}/logs.txt")
        if text:
            one["logs"] = [*(one.get("logs") or ()), {"container": one["workload"], "text": text}]
    found = [one._replace(text=redact(one.text)) for one in findings(facts)]
    files = {name: redact(text or "(nothing)") + "\n" for name, text in files.items()}
    title = f"Diagnostics {params.get('title') or ''} {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}"
    title = " ".join(title.split())
    said = index.sections(found, services, list(files), files.get("ledger.txt", ""), rollout, failure)
    files["index.html"] = redact(index.page(title, said))
    files["index.txt"] = redact(index.text(title, said))
    if not check:
        write(dest, files)
    first = likely(found, bool(failure))
    cause = f"{first.service + ': ' if first.service else ''}{first.text}. {first.next}" if first else ""
    return {
        "changed": True,
        "dest": dest,
        "likely_cause": cause,
        "findings": [one._asdict() for one in found],
        "files": sorted(files),
        "services": [{"name": one["name"], "outcome": one["outcome"], "cause": one.get("cause")} for one in services],
        "msg": f"{cause or ('nothing else' if failure else 'nothing wrong') + ' was found'} ({dest})",
    }


def handed_on(rollout: List[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    """What a rollout returned; its workloads become names of folders.

    :raises InputError: it is something else.
    """
    for one in rollout:
        workload = str(one.get("workload") or one.get("name") or "")
        if not one.get("name") or not re.fullmatch(r"\w[\w.-]*", workload):
            raise InputError(
                "rollout", "a service of it has no name", "Give the `services` that service_rollout returned."
            )
    return rollout


def at_failure(rollout: List[Mapping[str, Any]]) -> Dict[str, str]:
    """What a rollout kept of the release that failed: it is gone when the rollout has put back."""
    files = {}
    for one in rollout:
        folder = f"{index.AT_FAILURE}/{one.get('workload') or one['name']}"
        logs = [f"{log.get('container') or ''}\n{log.get('text') or ''}".strip() for log in one.get("logs") or ()]
        events = nearest(one.get("events") or (), (one.get("cause") or {}).get("text") or "")
        files[f"{folder}/logs.txt"] = "\n\n".join(logs)
        files[f"{folder}/events.txt"] = "\n".join(events)
    return {name: text for name, text in files.items() if text}
