# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How a site's files are served: what kind each is, its type, and how long it may be kept. Pure."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..common.errors import InputError

# In the order of publication: pages go last, for they name the rest.
HASHED, OTHER, PAGE = 0, 1, 2
KINDS = ("hashed asset", "file", "page")

IMMUTABLE = "public, max-age=31536000, immutable"
BRIEF = "public, max-age=300"
NO_CACHE = "no-cache"

# Not the machine's own table: the same build must give the same headers everywhere.
TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "css": "text/css; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "eot": "application/vnd.ms-fontobject",
    "gif": "image/gif",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
    "md": "text/markdown; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "txt": "text/plain; charset=utf-8",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xml": "application/xml",
    "zip": "application/zip",
}
PAGES = ("*.html", "*.htm", "*.webmanifest", "manifest.json", "asset-manifest.json", "sw.js", "service-worker.js")
# A hash in hexadecimal has a digit and a letter, or a date would be taken for one.
HEX = re.compile(r"[.\-_](?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,64}(?:\.[A-Za-z0-9]+)+$")
# Bundlers' other hashes look like words, so they are believed only in the folders where bundlers put them.
FOLDERS = re.compile(r"(?:^|/)(?:assets|static|immutable|chunks|_astro|_nuxt)/")
WORDLIKE = re.compile(r"[.\-](?=[\w-]*[A-Z0-9])(?=[\w-]*[a-z])(?![0-9]+\.)[A-Za-z0-9_-]{8,20}(?:\.[A-Za-z0-9]+)+$")


# Pre-compressed variants: what their names end in, and their Content-Encoding.
ENCODINGS = {".gz": "gzip", ".br": "br"}
# What is worth it: text, and more of it than the headers of an answer weigh.
COMPRESSIBLE = ("css", "csv", "htm", "html", "js", "json", "map", "md", "mjs", "svg", "txt", "wasm", "xml")
WORTH = 1024
# It is compressed in memory.
MOST = 32 << 20


class Headers(NamedTuple):
    content_type: str
    cache_control: str
    content_encoding: str = ""


class Rules:
    """What the options say about files, over sensible defaults.

    :param content_types: glob -> type; the first that matches wins.
    :param cache_control: glob -> header, likewise.
    :param hashed: regular expressions for names that hold their content's hash; none is the built-in rule.
    """

    def __init__(
        self,
        content_types: Optional[Dict[str, str]] = None,
        cache_control: Optional[Dict[str, str]] = None,
        hashed: Sequence[str] = (),
    ) -> None:
        self.content_types = content_types or {}
        self.cache_control = cache_control or {}
        try:
            self.hashed = [re.compile(pattern) for pattern in hashed]
        except re.error as error:
            raise InputError("hashed", f"it is no regular expression: {error}") from error

    def kind(self, key: str) -> int:
        """HASHED, OTHER or PAGE. A pre-compressed variant is of its original's kind, and goes out with it."""
        key = original(key)
        if matching(key, PAGES):
            return PAGE
        if self.hashed:
            return HASHED if any(pattern.search(key) for pattern in self.hashed) else OTHER
        name = posixpath.basename(key)
        if HEX.search(name) or (FOLDERS.search(key) and WORDLIKE.search(name)):
            return HASHED
        return OTHER

    def headers(self, key: str) -> Headers:
        """What the object is served with."""
        kind = first(key, self.content_types) or TYPES.get(
            posixpath.splitext(key)[1][1:].lower(), "application/octet-stream"
        )
        cache = first(key, self.cache_control) or (IMMUTABLE, BRIEF, NO_CACHE)[self.kind(key)]
        return Headers(kind, cache)

    def variant(self, key: str, suffix: str) -> Headers:
        """What the pre-compressed variant of an object is served with."""
        return self.headers(key)._replace(content_encoding=ENCODINGS[suffix])


def original(key: str) -> str:
    """The key without what a pre-compressed variant's name ends in."""
    return key[: -len(posixpath.splitext(key)[1])] if key.endswith(tuple(ENCODINGS)) else key


def compressible(key: str, size: int) -> bool:
    """Whether a file is worth a pre-compressed variant. ``size`` in bytes."""
    return WORTH <= size <= MOST and posixpath.splitext(key)[1][1:].lower() in COMPRESSIBLE


def matches(key: str, glob: str) -> bool:
    """A glob without a slash is tried on the name alone, one with a slash on the whole key; ``*`` spans slashes."""
    return fnmatch.fnmatchcase(key if "/" in glob else posixpath.basename(key), glob.lstrip("/"))


def matching(key: str, globs: Sequence[str]) -> str:
    """The first glob that matches, or an empty string."""
    return next((glob for glob in globs if matches(key, glob)), "")


def first(key: str, table: Dict[str, str]) -> str:
    return next((value for glob, value in table.items() if matches(key, glob)), "")


def prefix(text: str) -> str:
    """A prefix that ends in a slash, so that ``app`` never means ``app2``; empty for the bucket's root."""
    parts: List[str] = [part for part in (text or "").split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise InputError("prefix", f"{text!r} holds a relative part")
    return "".join(part + "/" for part in parts)
