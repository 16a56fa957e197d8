# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A built site's files on disk."""

from __future__ import annotations

import hashlib
import os
from typing import Dict, Sequence

from ..common.errors import InputError, OpsError
from .plan import OWN, File
from .rules import Rules, matching

CHUNK = 1 << 20
# One PUT carries no more.
MAX_BYTES = 5 << 30


def scan(src: str, rules: Rules, exclude: Sequence[str] = ()) -> Dict[str, File]:
    """The files of a folder by key.

    :raises OpsError: for what cannot be published: nothing at all, links out of the folder, names that are not UTF-8.
    """
    if not os.path.isdir(src):
        raise InputError("src", f"{src} is not a folder", "Build the site first. Nothing was touched.")
    root = os.path.realpath(src)
    found: Dict[str, File] = {}
    for folder, names, files in os.walk(root):
        for name in sorted(names + files):
            path = os.path.join(folder, name)
            key = os.path.relpath(path, root).replace(os.sep, "/")
            if os.path.islink(path) and not is_inside(path, root):
                raise InputError("src", f"{key!r} is a link that leaves {src}")
            if name in names:
                if os.path.islink(path):
                    raise InputError("src", f"{key!r} is a link to a folder")
                continue
            if matching(key, exclude):
                continue
            try:
                encoded = key.encode()
            except UnicodeEncodeError as error:
                raise InputError("src", f"the name {key!r} is not UTF-8") from error
            if len(encoded) > 900:
                raise InputError("src", f"the name {key[:60]!r}... is too long for S3")
            if key.startswith(OWN):
                raise InputError("src", f"{key!r} lies where the collection keeps its manifests ({OWN})")
            found[key] = read(path, key, rules)
    if not found:
        raise InputError("src", f"{src} holds no file to publish", "Was it built? Nothing was touched.")
    return found


def is_inside(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(root + os.sep)


def read(path: str, key: str, rules: Rules) -> File:
    digest = hashlib.sha256()
    size = 0
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(CHUNK), b""):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise OpsError("read", path, error.strerror or str(error), "Nothing was touched.") from error
    if size > MAX_BYTES:
        raise InputError("src", f"{key!r} is larger than 5 GiB, which one upload cannot carry")
    return File(key, digest.hexdigest(), size, rules.headers(key), rules.kind(key))
