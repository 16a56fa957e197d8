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
from typing import Any, Dict, Iterator, List, Tuple

from ..common.errors import OpsError
from . import manifest as manifests
from .manifest import NAME, VERIFIED
from .store import CHUNK, Draft, Missing, Sink, Store, Tick, silent

PARTIAL = ".partial"


def blocks_of(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                return
            yield data


def sha256(path: str, tick: Tick = silent) -> Dict[str, Any]:
    """Size and checksum of what the file really holds."""
    digest = hashlib.sha256()
    count = 0
    for data in blocks_of(path):
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


def checksums(folder: str, durable: bool = False, tick: Tick = silent) -> Dict[str, Any]:
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


class Written(Sink):
    """A private file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        # pylint: disable-next=consider-using-with
        self.file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)

    def put(self, block: bytes) -> None:
        try:
            written = 0
            while written < len(block):
                written += self.file.write(memoryview(block)[written:])
        except OSError as error:
            error.filename = self.path
            raise

    def finish(self) -> None:
        self.file.close()

    def abort(self) -> None:
        self.file.close()


class Building(Draft):
    """A private folder with another name."""

    def __init__(self, store: Folder, id: str) -> None:
        self.final = store.at(id)
        self.folder: str = self.final + PARTIAL
        os.mkdir(self.folder, 0o700)

    def sink(self, name: str, expected: int) -> Written:
        return Written(os.path.join(self.folder, name))

    def files(self) -> Dict[str, Dict[str, Any]]:
        return checksums(self.folder, durable=True)

    def publish(self, manifest: Dict[str, Any]) -> None:
        write(self.folder, NAME, manifests.text_of(manifest))
        for place, _folders, _names in os.walk(self.folder):
            os.chmod(place, 0o700)
            sync(place)
        os.rename(self.folder, self.final)
        sync(os.path.dirname(self.final))


class Folder(Store):
    """The backups in one folder."""

    def __init__(self, path: str, verb: str, readonly: bool = False) -> None:
        super().__init__(os.path.abspath(path), verb, readonly)

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        try:
            os.makedirs(self.address, 0o700, exist_ok=True)
            handle = os.open(self.at(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
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

    def clear(self) -> None:
        for name in os.listdir(self.address):
            if name.endswith(PARTIAL):
                shutil.rmtree(self.at(name), ignore_errors=True)

    def ids(self) -> Dict[str, float]:
        try:
            names = os.listdir(self.address)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self.error(f"the folder cannot be read: {error.strerror}") from error
        there = [name for name in names if not name.startswith(".") and not name.endswith(PARTIAL)]
        return {name: os.path.getmtime(self.at(name)) for name in there if os.path.isdir(self.at(name))}

    def read(self, id: str, name: str) -> bytes:
        try:
            with open(self.at(id, name), "rb") as file:
                return file.read()
        except OSError as error:
            raise Missing(error.strerror) from error

    def write(self, id: str, name: str, text: str) -> None:
        write(self.at(id), name, text)

    def remove(self, id: str, name: str) -> None:
        os.unlink(self.at(id, name))

    def blocks(self, id: str, name: str) -> Iterator[bytes]:
        try:
            yield from blocks_of(self.at(id, name))
        except OSError as error:
            raise self.unreadable(id, error) from error

    def sizes(self, id: str) -> Dict[str, int]:
        try:
            names = [name for name in files_below(self.at(id)) if name not in (NAME, VERIFIED)]
            return {name: os.path.getsize(self.at(id, name)) for name in names}
        except OSError as error:
            raise self.unreadable(id, error) from error

    def measure(self, id: str, tick: Tick = silent) -> Dict[str, Dict[str, Any]]:
        try:
            return checksums(self.at(id), tick=tick)
        except OSError as error:
            raise self.unreadable(id, error) from error

    def unreadable(self, id: str, error: OSError) -> OpsError:
        return OpsError(self.verb, f"backup {self.at(id)}", f"it cannot be read: {error}", "Use another backup.")

    def delete(self, id: str) -> None:
        doomed = self.at(id) + PARTIAL
        os.rename(self.at(id), doomed)
        sync(self.address)
        shutil.rmtree(doomed)

    def ready(self, needed: int) -> None:
        free = self.free()
        if free < needed:
            raise self.error(
                f"{free >> 20} MiB are free and about {needed >> 20} MiB are needed",
                "Make room, choose another dest, or set check_space to false. No earlier backup was touched.",
            )

    def free(self) -> int:
        """Bytes that we may still write."""
        place = self.address
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        stat = os.statvfs(place)
        return stat.f_bavail * stat.f_frsize

    @contextlib.contextmanager
    def draft(self, id: str) -> Iterator[Building]:
        building = Building(self, id)
        try:
            yield building
        finally:
            if os.path.isdir(building.folder):
                shutil.rmtree(building.folder, ignore_errors=True)


def write(folder: str, name: str, text: str) -> None:
    """Puts a private file there in one step."""
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, os.path.join(folder, name))
    sync(folder)
