# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A built site's files on disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import traceback
from typing import BinaryIO, Dict, Sequence

from ..common.errors import InputError, MissingLibrary, OpsError
from .plan import OWN, File
from .rules import ENCODINGS, Rules, compressible, matching, original

CHUNK = 1 << 20
# One PUT carries no more.
MAX_BYTES = 5 << 30


def scan(src: str, rules: Rules, exclude: Sequence[str] = (), variants: Sequence[str] = ()) -> Dict[str, File]:
    """The files of a folder by key.

    :param variants: suffixes of the pre-compressed variants that are published beside what is worth it.
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
    for key, file in list(found.items()):
        for suffix in variants if compressible(key, file.size) else ():
            made = variant(src, file, suffix, rules)
            beside = found.get(made.key)
            if beside:
                # The build made it already, only nobody would know what it is.
                found[made.key] = beside._replace(headers=made.headers)
            elif made.size < 0.9 * file.size:
                found[made.key] = made
    return found


def variant(src: str, file: File, suffix: str, rules: Rules) -> File:
    """The pre-compressed variant of a file."""
    content = compressed(os.path.join(src, *file.key.split("/")), suffix)
    sha256 = hashlib.sha256(content).hexdigest()
    return File(file.key + suffix, sha256, len(content), rules.variant(file.key, suffix), file.kind)


def compressed(path: str, suffix: str) -> bytes:
    """A file's content, compressed; the same for the same content.

    :raises MissingLibrary: there is no brotli for ``.br``.
    """
    with open(path, "rb") as file:
        content = file.read()
    if suffix == ".gz":
        return gzip.compress(content, 9, mtime=0)
    try:
        import brotli
    except ImportError as error:
        raise MissingLibrary("brotli", traceback.format_exc()) from error
    return bytes(brotli.compress(content))


def opened(src: str, file: File) -> BinaryIO:
    """The content of a file, or of a variant that is made of one.

    :raises OSError: it cannot be read.
    """
    path = os.path.join(src, *file.key.split("/"))
    if file.headers.content_encoding and not os.path.exists(path):
        suffix = next(one for one, encoding in ENCODINGS.items() if encoding == file.headers.content_encoding)
        return io.BytesIO(compressed(os.path.join(src, *original(file.key).split("/")), suffix))
    return open(path, "rb")


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
