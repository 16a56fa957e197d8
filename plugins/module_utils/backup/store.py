# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where backups are kept. What every store does stands here; a folder and a bucket are its two drivers."""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from ..common.errors import OpsError
from . import manifest as manifests
from .manifest import NAME, VERIFIED, Backup, backup_of

CHUNK = 1 << 20
Tick = Callable[[int], None]


def silent(count: int) -> None:
    """Nobody wants to know how many bytes were read."""


class Missing(Exception):
    """A backup has no such file."""


class Sink:
    """A file of a backup while it is written: its size and checksum come of the bytes as they pass.

    A context: it is whole after the block, and gone if the block raised.
    """

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, block: bytes) -> None:
        self.digest.update(block)
        self.bytes += len(block)
        self.put(block)

    @property
    def measured(self) -> Dict[str, Any]:
        return {"bytes": self.bytes, "sha256": self.digest.hexdigest()}

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()

    # For the driver

    def put(self, block: bytes) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


class Draft:
    """A backup that is being written. No listing shows it.

    :ivar folder: where a program may write files of its own; None where there is no such place.
    """

    folder: Optional[str] = None

    def sink(self, name: str, expected: int) -> Sink:
        """A file to write.

        :param expected: about how many bytes it will have.
        """
        raise NotImplementedError

    def files(self) -> Dict[str, Dict[str, Any]]:
        """Every file with its size and checksum, once all are written and safe."""
        raise NotImplementedError

    def publish(self, manifest: Dict[str, Any]) -> None:
        """Writes the manifest: from now on it is a backup."""
        raise NotImplementedError


class Store:
    """The backups in one place. A backup is what has a manifest.

    :param address: of the place, as the user gave it.
    :param verb: what the errors say was tried.
    :param readonly: in check mode, when not even the note of a verification may be touched.
    """

    def __init__(self, address: str, verb: str, readonly: bool = False) -> None:
        self.address = address
        self.verb = verb
        self.readonly = readonly

    def error(self, cause: str, remedy: str = "", **result: Any) -> OpsError:
        return OpsError(self.verb, self.address, cause, remedy, **result)

    def at(self, id: str, name: str = "") -> str:
        """The address of a backup, or of a file of it."""
        return "/".join(part for part in (self.address.rstrip("/"), id, name) if part)

    def list(self) -> List[Backup]:
        """Every backup, newest first; broken ones say why."""
        found = []
        for id, at in self.ids().items():
            try:
                manifest = self.manifest(id)
            except OpsError as error:
                found.append(Backup(id, at, "", (), "", 0, None, {}, self.at(id), broken=error.cause))
            else:
                found.append(backup_of(manifest, self.level(id, manifest), self.at(id)))
        return sorted(found, key=lambda one: (one.created, one.id), reverse=True)

    def manifest(self, id: str) -> Dict[str, Any]:
        """:raises OpsError: there is none, or it is not as it was written."""
        try:
            manifest = manifests.parse(self.read(id, NAME))
        except (Missing, ValueError) as error:
            cause = str(error) if isinstance(error, ValueError) else f"it has no manifest ({error})"
            raise OpsError(self.verb, f"backup {self.at(id)}", cause, "Use another backup.") from error
        if manifest["id"] != id:
            cause = f"by its manifest it is backup {manifest['id']}"
            raise OpsError(self.verb, f"backup {self.at(id)}", cause, "Give it that name again.")
        return manifest

    def level(self, id: str, manifest: Dict[str, Any]) -> Optional[str]:
        """How far a backup was verified."""
        try:
            return manifests.verified_level(self.read(id, VERIFIED), manifest["digest"])
        except Missing:
            return None

    def check(self, id: str, tick: Tick = silent, thorough: bool = True) -> Dict[str, Any]:
        """The manifest of a backup every byte of which is as it was written.

        :param thorough: whether every byte is read in any case, or the store's own word is enough where it keeps one.
        :raises OpsError: anything is not.
        """
        manifest = self.manifest(id)
        found = self.measure(id, tick) if thorough else self.glance(id, manifest["files"], tick)
        wrong = manifests.differing(manifest["files"], found)
        if wrong and not thorough:
            return self.check(id, tick)  # the store's word may be old, as after a copy to another bucket
        if wrong:
            more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            if not self.readonly:
                with contextlib.suppress(OpsError, OSError):  # it is verified no longer
                    self.remove(id, VERIFIED)
            raise OpsError(
                self.verb,
                f"backup {self.at(id)}",
                f"it is damaged: {'; '.join(wrong[:3])}{more}",
                "Use another backup.",
            )
        return manifest

    def lacking(self, id: str) -> List[str]:
        """What is wrong with a backup by the names and sizes of its files; nothing of them is read."""
        files = self.manifest(id)["files"]
        known = {name: file["sha256"] for name, file in files.items()}
        found = {name: {"bytes": size, "sha256": known.get(name)} for name, size in self.sizes(id).items()}
        return manifests.differing(files, found)

    def mark(self, id: str, manifest: Dict[str, Any], level: str) -> None:
        """Notes that a backup was verified."""
        self.write(id, VERIFIED, manifests.verified_text(level, time.time(), manifest, manifest["digest"]))

    # For the driver

    def ids(self) -> Dict[str, float]:
        """The backups, and when each was last changed, in seconds since 1970."""
        raise NotImplementedError

    def read(self, id: str, name: str) -> bytes:
        """A small file. :raises Missing: with the reason."""
        raise NotImplementedError

    def write(self, id: str, name: str, text: str) -> None:
        """A small file, in one step."""
        raise NotImplementedError

    def remove(self, id: str, name: str) -> None:
        raise NotImplementedError

    def blocks(self, id: str, name: str) -> Iterator[bytes]:
        """The content of a file, a block at a time."""
        raise NotImplementedError

    def sizes(self, id: str) -> Dict[str, int]:
        """The size of each file, manifest and note apart."""
        raise NotImplementedError

    def measure(self, id: str, tick: Tick = silent) -> Dict[str, Dict[str, Any]]:
        """Size and checksum of what each file really holds, manifest and note apart."""
        raise NotImplementedError

    def glance(self, id: str, files: Dict[str, Dict[str, Any]], tick: Tick = silent) -> Dict[str, Dict[str, Any]]:
        """The same without reading, where the store vouches for files that nobody has written since."""
        return self.measure(id, tick)

    def delete(self, id: str) -> None:
        """The manifest goes first: what is half deleted is no backup."""
        raise NotImplementedError

    def locked(self, timeout: float) -> Any:
        """A context in which no other run writes or deletes here.

        :param timeout: seconds to wait for the other run.
        """
        raise NotImplementedError

    def clear(self) -> None:
        """Deletes what killed runs left. Only with the store locked."""
        raise NotImplementedError

    def ready(self, needed: int) -> None:
        """:raises OpsError: so many bytes cannot be written here."""
        raise NotImplementedError

    def draft(self, id: str) -> Any:
        """A context with a ``Draft``, of which nothing is left unless it was published."""
        raise NotImplementedError


def open_store(address: str, verb: str, params: Dict[str, Any], readonly: bool = False) -> Store:
    """The store at an address: ``s3://bucket/prefix``, or a folder.

    :param params: a module's options, for the ones of AWS.
    """
    if address.startswith("s3://"):
        from .bucket import Bucket

        return Bucket(address, verb, params, readonly)
    from .folder import Folder

    return Folder(address, verb, readonly)
