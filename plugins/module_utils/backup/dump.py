# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A dump in a backup, as pg_restore reads it: as a file where it is one, otherwise through what undoes its filters.

The filters are kept programs: zstd makes a dump smaller, age makes it unreadable to all but who holds an identity.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from ..common.errors import InputError, OpsError
from ..common.process import run
from ..postgres import pipe, tools
from ..postgres.pipe import Failed, Stage, Tick, filter_stage
from . import manifest as manifests
from .folder import Folder
from .store import Store


def filtering(filters: Sequence[str], recipients: Sequence[str]) -> List[Stage]:
    """What a dump goes through on its way into the store."""
    argv = {"zstd": ["zstd", "-q", "-1", "-c"], "age": ["age", *(word for one in recipients for word in ("-r", one))]}
    return [filter_stage(argv[name]) for name in filters]


def undoing(filters: Sequence[str], identity: Optional[str]) -> List[Stage]:
    """What it goes through on its way back."""
    argv = {"zstd": ["zstd", "-q", "-d", "-c"], "age": ["age", "-d", "-i", identity or ""]}
    return [filter_stage(argv[name]) for name in reversed(filters)]


def check_keys(recipients: Sequence[str], identity: Optional[str], verb: str) -> None:
    """Tries the keys out, before anything depends on them.

    :raises InputError: age does not take them.
    """
    if not recipients and not identity:
        return
    pipe.needed("age", verb)
    if recipients:
        tried = run(filtering(["age"], recipients)[0].argv, timeout=30, stdin="")
        if tried.rc:
            raise InputError("age_recipients", tools.blame(tried.stderr))
    if identity:
        try:
            with open(identity, "rb") as file:
                file.read(1)
        except OSError as error:
            raise InputError("age_identity", f"{identity}: {error.strerror}") from error


class Dump(NamedTuple):
    """The dump of one database in a backup.

    :ivar about: the database's part of the manifest.
    :ivar files: the manifest's files.
    :ivar identity: file of the age identity that reads it.
    :ivar spool: folder in which a stream may be put down as a file, which several processes can restore.
    """

    store: Store
    id: str
    about: Dict[str, Any]
    files: Dict[str, Dict[str, Any]]
    identity: Optional[str] = None
    spool: Optional[str] = None

    @property
    def filters(self) -> List[str]:
        return self.about.get("filters", [])

    @property
    def readable(self) -> bool:
        return "age" not in self.filters or bool(self.identity)

    @property
    def path(self) -> Optional[str]:
        """Where pg_restore can open it by itself, and so restore it with several processes."""
        if isinstance(self.store, Folder) and not self.filters:
            return self.store.at(self.id, self.about["path"])
        return None

    def feed(
        self,
        argv: List[str],
        env: Dict[str, str],
        tick: Tick,
        failed: Failed,
        jobs: int = 1,
        enough: bool = False,
    ) -> None:
        """Runs pg_restore on it.

        :param jobs: processes, where it can be read by several.
        :param enough: whether pg_restore may stop before the end.
        """
        if self.path:
            parallel = [f"--jobs={jobs}"] if jobs > 1 else []
            tools.work([*argv, *parallel, self.path], env, tick, failed)
            return
        for name in self.filters:
            pipe.needed(name, self.store.verb)
        stages = undoing(self.filters, self.identity)
        if self.spool and jobs > 1:
            folder = self.put_down(self.spool, stages, tick, failed)
            try:
                tools.work([*argv, f"--jobs={jobs}", os.path.join(folder, "dump")], env, tick, failed)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return
        pipe.into(self.blocks(), [*stages, Stage(argv, env)], tick, failed, enough)

    def put_down(self, spool: str, stages: List[Stage], tick: Tick, failed: Failed) -> str:
        """Writes the stream, with its filters undone, into a private folder, and gives that."""
        folder = os.path.join(spool, f".restore-{hashlib.sha256(self.about['name'].encode()).hexdigest()[:16]}")
        try:
            shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
            os.mkdir(folder, 0o700)
        except OSError as error:
            raise InputError("spool", f"{spool}: {error.strerror}") from error
        try:
            write = filter_stage(
                ["dd", f"of={os.path.join(folder, 'dump')}", "bs=1M", "iflag=fullblock", "status=none"]
            )
            pipe.into(self.blocks(), [*stages, write], tick, failed)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def blocks(self) -> Iterator[bytes]:
        """Its content, and after the last block an error unless it was what the manifest says."""
        name = self.about["path"]
        digest, count = hashlib.sha256(), 0
        for block in self.store.blocks(self.id, name):
            digest.update(block)
            count += len(block)
            yield block
        wrong = manifests.differing({name: self.files[name]}, {name: {"bytes": count, "sha256": digest.hexdigest()}})
        if wrong:
            raise OpsError(
                self.store.verb, f"backup {self.store.at(self.id)}", f"it is damaged: {wrong[0]}", "Use another backup."
            )


def dumps(
    store: Store, manifest: Dict[str, Any], identity: Optional[str] = None, spool: Optional[str] = None
) -> List[Dump]:
    return [Dump(store, manifest["id"], one, manifest["files"], identity, spool) for one in manifest["databases"]]


def unreadable(found: Sequence[Dump]) -> Optional[InputError]:
    """The error where a dump needs an identity and there is none."""
    if all(one.readable for one in found):
        return None
    return InputError("age_identity", "the backup is encrypted, so the file of an age identity is needed")
