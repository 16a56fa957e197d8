# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A folder of backups. Nothing in it looks whole that is not: a backup is built beside, and then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from ..common.errors import OpsError
from . import manifest as manifests
from .manifest import NAME, VERIFIED, Backup, backup_of

PARTIAL = ".partial"
CHUNK = 1 << 20


def sha256(path: str, tick: Callable[[int], None] = lambda count: None) -> Dict[str, Any]:
    """Size and checksum of what the file really holds."""
    digest = hashlib.sha256()
    count = 0
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                break
            digest.update(data)
            count += len(data)
            tick(len(data))
    return {"bytes": count, "sha256": digest.hexdigest()}


def sync(path: str) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def files_below(folder: str) -> List[str]:
    """Relative names of all files."""
    found = []
    for place, _folders, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
    return sorted(found)


def checksums(folder: str, durable: bool = False, tick: Callable[[int], None] = lambda count: None) -> Dict[str, Any]:
    """Size and checksum of every file, two at a time, the largest first.

    :param durable: makes each file private and waits until it is on the disk.
    """

    def one(name: str) -> Tuple[str, Dict[str, Any]]:
        path = os.path.join(folder, name)
        if durable:
            os.chmod(path, 0o600)
            sync(path)
        return name, sha256(path, tick)

    names = [name for name in files_below(folder) if name not in (NAME, VERIFIED)]
    names.sort(key=lambda name: -os.path.getsize(os.path.join(folder, name)))
    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(one, names))


class Folder:
    """The backups in one folder.

    :param verb: what the errors say was tried.
    :param readonly: in check mode, when not even the note of a verification may be touched.
    """

    def __init__(self, path: str, verb: str, readonly: bool = False) -> None:
        self.readonly = readonly
        self.path = os.path.abspath(path)
        self.verb = verb

    def error(self, cause: str, remedy: str = "", **result: Any) -> OpsError:
        return OpsError(self.verb, self.path, cause, remedy, **result)

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Holds the folder: two runs neither write nor delete in it at once.

        :param timeout: seconds to wait for the other run.
        """
        try:
            os.makedirs(self.path, 0o700, exist_ok=True)
            handle = os.open(os.path.join(self.path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self.error(f"the folder cannot be written: {error.strerror}") from error
        try:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= deadline:
                        raise self.error(
                            "another run works in this folder",
                            "Wait until it is done, or set lock_timeout to wait here.",
                        ) from None
                    time.sleep(0.2)
            yield
        finally:
            os.close(handle)

    def clear_partial(self) -> None:
        """Deletes what killed runs left. Only with the folder locked."""
        for name in os.listdir(self.path):
            if name.endswith(PARTIAL):
                shutil.rmtree(os.path.join(self.path, name), ignore_errors=True)

    def list(self) -> List[Backup]:
        """Every backup, newest first; broken ones say why."""
        found = []
        for name in os.listdir(self.path) if os.path.isdir(self.path) else []:
            folder = os.path.join(self.path, name)
            if name.startswith(".") or name.endswith(PARTIAL) or not os.path.isdir(folder):
                continue
            try:
                manifest = self.manifest(folder)
            except OpsError as error:
                at = os.path.getmtime(folder)
                found.append(Backup(name, at, "", (), "", 0, None, {}, folder, broken=error.cause))
                continue
            found.append(backup_of(manifest, self.level(folder, manifest), folder))
        return sorted(found, key=lambda one: (one.created, one.id), reverse=True)

    def manifest(self, folder: str) -> Dict[str, Any]:
        """:raises OpsError: there is none, or it is not as it was written."""
        try:
            with open(os.path.join(folder, NAME), "rb") as file:
                return manifests.parse(file.read())
        except (OSError, ValueError) as error:
            cause = str(error) if isinstance(error, ValueError) else f"it has no manifest ({error.strerror})"
            raise OpsError(self.verb, f"backup {folder}", cause, "Use another backup.") from error

    def level(self, folder: str, manifest: Dict[str, Any]) -> Optional[str]:
        try:
            with open(os.path.join(folder, VERIFIED), "rb") as file:
                data = file.read()
        except OSError:
            return None
        return manifests.verified_level(data, manifest["digest"])

    def check(self, folder: str, tick: Callable[[int], None] = lambda count: None) -> Dict[str, Any]:
        """The manifest of a backup every byte of which is as it was written.

        :raises OpsError: anything is not.
        """
        manifest = self.manifest(folder)
        try:
            found = checksums(folder, tick=tick)
        except OSError as error:
            raise OpsError(
                self.verb, f"backup {folder}", f"it cannot be read: {error}", "Use another backup."
            ) from error
        wrong = manifests.differing(manifest["files"], found)
        if wrong:
            more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            if not self.readonly:
                with contextlib.suppress(OSError):  # it is verified no longer
                    os.unlink(os.path.join(folder, VERIFIED))
            raise OpsError(
                self.verb, f"backup {folder}", f"it is damaged: {'; '.join(wrong[:3])}{more}", "Use another backup."
            )
        return manifest

    def mark(self, folder: str, manifest: Dict[str, Any], level: str) -> None:
        """Notes that a backup was verified."""
        write(folder, VERIFIED, manifests.verified_text(level, time.time(), manifest, manifest["digest"]))

    @contextlib.contextmanager
    def building(self, name: str) -> Iterator[str]:
        """A private folder to build a backup in, gone unless ``publish`` made it the backup of that name."""
        partial = os.path.join(self.path, name + PARTIAL)
        os.mkdir(partial, 0o700)
        try:
            yield partial
        finally:
            if os.path.isdir(partial):
                shutil.rmtree(partial, ignore_errors=True)

    def publish(self, partial: str, manifest: Dict[str, Any]) -> str:
        """Writes the manifest, and makes the backup exist under its name."""
        write(partial, NAME, manifests.text_of(manifest))
        for place, _folders, _names in os.walk(partial):
            os.chmod(place, 0o700)
            sync(place)
        final = partial[: -len(PARTIAL)]
        os.rename(partial, final)
        sync(self.path)
        return final

    def delete(self, folder: str) -> None:
        """The manifest goes first: what is half deleted is no backup."""
        doomed = folder + PARTIAL
        os.rename(folder, doomed)
        sync(self.path)
        shutil.rmtree(doomed)

    def free(self) -> int:
        """Bytes that we may still write."""
        place = self.path
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        stat = os.statvfs(place)
        return stat.f_bavail * stat.f_frsize


def write(folder: str, name: str, text: str) -> None:
    """Puts a private file there in one step."""
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, os.path.join(folder, name))
    sync(folder)
