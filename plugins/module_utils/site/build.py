# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Builds sites by their own commands, each once for the same inputs. What was built is kept by the inputs' hash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import Any, Iterator, List, Mapping, NamedTuple, Sequence

from ..common.errors import InputError, OpsError
from ..common.process import run, tail
from ..common.progress import Progress

# What a build writes or gets by itself: no input, and too much to read.
LEFT_OUT = ("node_modules", ".git")
# Builds of each site that are kept, the newest ones.
KEPT = 5


class Site(NamedTuple):
    """One site to build. ``dist`` is relative to ``source``."""

    name: str
    source: str
    build: Sequence[str] = ()
    install: Sequence[str] = ()
    env: Mapping[str, str] = {}
    dist: str = ""


def read(given: Mapping[str, Any]) -> Site:
    """One element of the module's ``sites``.

    :raises InputError: its source is no folder, or what it would publish lies outside of it.
    """
    build = given.get("build") or ()
    dist = os.path.normpath(given.get("dist") or ("dist" if build else "."))
    env = {name: str(value) for name, value in (given.get("env") or {}).items()}
    site = Site(given["name"], os.path.abspath(given["source"]), build, given.get("install") or (), env, dist)
    if not os.path.isdir(site.source):
        raise InputError("sites", f"{site.name}: there is no folder {site.source}")
    if os.path.isabs(dist) or dist.startswith("..") or (build and dist == "."):
        raise InputError("sites", f"{site.name}: dist {dist!r} is no folder within its source")
    return site


def inputs(site: Site) -> Iterator[str]:
    """The files that a build reads, in order, relative to the source."""
    for folder, folders, names in os.walk(site.source):
        base = os.path.relpath(folder, site.source)
        folders[:] = sorted(
            one for one in folders if one not in LEFT_OUT and os.path.normpath(f"{base}/{one}") != site.dist
        )
        for name in sorted(names):
            yield os.path.normpath(f"{base}/{name}")


def fingerprint(site: Site) -> str:
    """What a build is made from, as one SHA-256: files with their modes, commands, environment."""
    total = hashlib.sha256(json.dumps([site.install, site.build, sorted(site.env.items()), site.dist]).encode())
    for path in inputs(site):
        full = os.path.join(site.source, path)
        try:
            if os.path.islink(full):
                kind, own = "link", hashlib.sha256(os.fsencode(os.readlink(full))).hexdigest()
            else:
                with open(full, "rb") as file:
                    own = hashlib.sha256(file.read()).hexdigest()
                kind = "run" if os.stat(full).st_mode & 0o111 else "file"
        except OSError as error:
            raise OpsError("read", full, error.strerror or str(error), "Nothing was touched.") from error
        total.update(f"{path!r} {kind} {own}\n".encode())
    return total.hexdigest()


class Built(NamedTuple):
    """``dist`` is the folder to publish."""

    name: str
    dist: str
    built: bool
    hash: str
    seconds: float


class Builder:
    """Builds sites into a cache.

    :param cache: ``<cache>/<name>/<hash>/`` is what was built from inputs of that hash.
    :param timeout: in seconds, of each command.
    """

    def __init__(self, cache: str, timeout: float, progress: Progress) -> None:
        self.cache = os.path.abspath(os.path.expanduser(cache))
        self.timeout = timeout
        self.progress = progress

    def build(self, site: Site, check: bool) -> Built:
        """The site's folder, built where the cache has not got it.

        :raises OpsError: a command failed, with its last lines; the cache is as before.
        """
        if not site.build:
            return Built(site.name, os.path.normpath(os.path.join(site.source, site.dist)), False, "", 0.0)
        began = time.monotonic()
        key = fingerprint(site)
        folder = os.path.join(self.cache, site.name, key[:24])
        missing = not os.path.isdir(folder)
        if missing and not check:
            if site.install:
                self._run(site, "get the dependencies of", site.install)
            self._run(site, "build", site.build)
            self._keep(site, folder)
        elif not missing and not check:
            os.utime(folder)
        return Built(site.name, folder, missing, key, round(time.monotonic() - began, 1))

    def _run(self, site: Site, verb: str, argv: Sequence[str]) -> None:
        self.progress.event(f"{site.name}: {' '.join(argv)}")
        try:
            ended = run(list(argv), self.timeout, env=dict(site.env), cwd=site.source)
        except OSError as error:
            raise OpsError(verb, site.name, f"{argv[0]} cannot be run: {error.strerror or error}") from error
        except subprocess.TimeoutExpired as error:
            raise OpsError(verb, site.name, f"{' '.join(argv)} did not end within {self.timeout:.0f} s") from error
        if ended.rc:
            lines = tail(ended.output, 8).replace("\n", "\n    ")
            raise OpsError(
                verb, site.name, f"{' '.join(argv)} ended with {ended.rc}:\n    {lines}\n", "Nothing was published."
            )

    def _keep(self, site: Site, folder: str) -> None:
        """Copies what was built into the cache, whole or not at all; the oldest builds go."""
        dist = os.path.join(site.source, site.dist)
        if not os.path.isdir(dist) or not os.listdir(dist):
            raise OpsError(
                "build", site.name, f"the build left nothing in {dist}", "Is dist right? Nothing was published."
            )
        parent = os.path.dirname(folder)
        scratch = ""
        try:
            os.makedirs(parent, exist_ok=True)
            scratch = tempfile.mkdtemp(prefix=".new.", dir=parent)
            shutil.copytree(dist, os.path.join(scratch, "dist"), symlinks=True)
            os.rename(os.path.join(scratch, "dist"), folder)
            os.utime(folder)
            for old in self._builds(parent)[KEPT:]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            if not os.path.isdir(folder):
                raise OpsError(
                    "keep the build of", site.name, error.strerror or str(error), "Nothing was published."
                ) from error
        finally:
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)

    def _builds(self, parent: str) -> List[str]:
        found = [os.path.join(parent, one) for one in os.listdir(parent) if not one.startswith(".")]
        return sorted(found, key=os.path.getmtime, reverse=True)
