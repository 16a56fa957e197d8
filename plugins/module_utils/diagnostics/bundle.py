# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The bundle: a folder with an index page, or the same as one zip file. Nothing enters it unredacted."""

from __future__ import annotations

import html
import os
import shutil
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Sequence

from ..common.errors import OpsError
from ..common.redact import Redactor
from . import gather
from .rules import Finding, findings

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;"
    "vertical-align:top;overflow-wrap:anywhere}.bad{border-left:.4rem solid #c33;padding-left:1rem}"
    ".good{border-left:.4rem solid #393;padding-left:1rem}"
)


def page(
    title: str,
    found: Sequence[Finding],
    services: Sequence[Mapping[str, Any]],
    files: Sequence[str],
    released: str = "",
) -> str:
    """The index page: the likely cause first. ``released`` is what the ledger says."""
    esc = html.escape
    if found:
        first = found[0]
        who = f"{esc(first.service)}: " if first.service else ""
        head = (
            f'<div class="bad"><h2>Likely cause</h2><p><b>{who}{esc(first.text)}</b></p><p>{esc(first.next)}</p></div>'
        )
    else:
        head = '<div class="good"><h2>Nothing wrong was found</h2></div>'
    more = "".join(f"<li>{esc(one.service or 'all')}: {esc(one.text)}. {esc(one.next)}</li>" for one in found[1:])
    rows = "".join(
        f"<tr><td>{esc(str(one['name']))}</td><td>{esc(str(one['outcome']))}</td>"
        f"<td>{esc((one.get('cause') or {}).get('text') or one.get('detail') or '')}</td></tr>"
        for one in services
    )
    links = "".join(f'<li><a href="{esc(name, quote=True)}">{esc(name)}</a></li>' for name in sorted(files))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{esc(title)}</title><style>{STYLE}</style><h1>{esc(title)}</h1>{head}"
        + (f"<h2>Also seen</h2><ul>{more}</ul>" if more else "")
        + (f"<h2>Released</h2><pre>{esc(released)}</pre>" if released else "")
        + f"<h2>Services</h2><table><tr><th>service<th>stands<th>why</tr>{rows}</table>"
        f"<h2>Files</h2><ul>{links}</ul></html>\n"
    )


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
    for one in services:
        text = files.get(f"{one['workload']}/logs.txt")
        if text:
            one["logs"] = [*(one.get("logs") or ()), {"container": one["workload"], "text": text}]
    found: List[Finding] = [Finding(one.sure, one.service, redact(one.text), one.next) for one in findings(facts)]
    files = {name: redact(text) + "\n" for name, text in files.items() if text}
    title = f"Diagnostics {params.get('title') or ''} {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}"
    files["index.html"] = redact(
        page(" ".join(title.split()), found, services, list(files), files.get("ledger.txt", ""))
    )
    if not check:
        write(dest, files)
    first = found[0] if found else None
    said = (
        f"{first.service + ': ' if first.service else ''}{first.text}. {first.next}" if first else "nothing wrong found"
    )
    return {
        "changed": True,
        "dest": dest,
        "likely_cause": said if first else "",
        "findings": [one._asdict() for one in found],
        "files": sorted(files),
        "services": [{"name": one["name"], "outcome": one["outcome"], "cause": one.get("cause")} for one in services],
        "msg": f"{said} ({dest})",
    }
