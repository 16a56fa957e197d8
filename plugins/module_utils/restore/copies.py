# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Copies of live databases, made from a backup, to try things on."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List

from ..backup.dump import check_keys, dumps, unreadable
from ..backup.plan import place_of
from ..backup.store import open_store
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
    :param params: ``manifest``, ``jobs``, ``bin_dir``, ``age_identity`` and the options of AWS.
    :return: the copies' names by database.
    """
    identity = params["age_identity"]
    check_keys([], identity, server.verb)
    address, id = place_of(params["manifest"])
    store = open_store(address, server.verb, params)
    manifest = store.check(id)
    facts = server.facts()
    refused = refusals(manifest, facts, names, [])
    if refused:
        raise server.error(f"backup {id} does not belong here: {'; '.join(refused)}", "Nothing was touched.")
    sources = [one for one in dumps(store, manifest, identity) if one.about["name"] in names]
    error = unreadable(sources)
    if error:
        raise error
    restore = tools.find("pg_restore", facts["major"], params["bin_dir"], server.verb)
    with contextlib.ExitStack() as stack:
        found = {}
        for source in sources:
            name = source.about["name"]
            progress.event(f"{name}: a copy is restored from backup {id}")
            copy = stack.enter_context(scratch(server, connection, source, restore, params["jobs"], progress))
            live = catalog.properties(connection, name)
            if live:
                catalog.apply_properties(connection, copy, live, comment_of(connection, copy))
            found[name] = copy
        yield found
