# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Copies of live databases, made from a backup, to try things on."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Iterator, List

from ..backup.folder import Folder
from ..common.progress import Progress
from ..postgres import catalog, tools
from ..postgres.server import Server
from .side import scratch
from .swap import comment_of
from .verdict import refusals


@contextlib.contextmanager
def copies(
    server: Server, connection: Any, params: Dict[str, Any], names: List[str], progress: Progress
) -> Iterator[Dict[str, str]]:
    """Restores a backup's databases beside the live ones, with the live ones' rights, and drops them whatever happens.

    :param connection: the one that holds the databases' locks.
    :param params: ``manifest``, ``jobs`` and ``bin_dir``.
    :return: the copies' names by database.
    """
    path = params["manifest"]
    path = os.path.dirname(path) if os.path.basename(path) == "manifest.json" else path
    manifest = Folder(os.path.dirname(os.path.abspath(path)), server.verb).check(path)
    facts = server.facts()
    refused = refusals(manifest, facts, names, [])
    if refused:
        raise server.error(
            f"backup {manifest['id']} does not belong here: {'; '.join(refused)}", "Nothing was touched."
        )
    restore = tools.find("pg_restore", facts["major"], params["bin_dir"], server.verb)
    with contextlib.ExitStack() as stack:
        found = {}
        for source in manifest["databases"]:
            name = source["name"]
            if name in names:
                progress.event(f"{name}: a copy is restored from backup {manifest['id']}")
                copy = stack.enter_context(scratch(server, connection, source, path, restore, params["jobs"], progress))
                live = catalog.properties(connection, name)
                if live:
                    catalog.apply_properties(connection, copy, live, comment_of(connection, copy))
                found[name] = copy
        yield found
