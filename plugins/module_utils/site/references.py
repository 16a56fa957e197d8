# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a page names. Pure."""

from __future__ import annotations

import posixpath
import re
from html.parser import HTMLParser
from typing import List, Optional, Tuple

LOADED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "iframe": "src",
    "embed": "src",
}
LINKS = {"stylesheet", "icon", "shortcut", "modulepreload", "preload", "manifest", "apple-touch-icon"}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: List[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "base" and given.get("href"):
            self.base = given["href"]
        elif tag == "link" and LINKS & set(given.get("rel", "").lower().split()):
            self.found.append(given.get("href", ""))
        elif given.get(LOADED.get(tag, "")):
            self.found.append(given[LOADED[tag]])

    handle_startendtag = handle_starttag


def assets(html: str, path: str) -> List[str]:
    """The paths, on the same host, of what a browser loads to show a page.

    :param path: where the page itself is served; relative references are resolved against it.
    """
    page = Page()
    page.feed(html)
    base = path
    if page.base and not is_elsewhere(page.base):
        base = posixpath.join(path.rpartition("/")[0] + "/", page.base)
    found = []
    for reference in page.found:
        plain = re.split(r"[?#]", reference.strip())[0]
        if not plain or is_elsewhere(plain):
            continue
        whole = posixpath.normpath(posixpath.join(base.rpartition("/")[0] + "/", plain))
        found.append("/" + whole.lstrip("/"))
    return sorted(set(found))


def is_elsewhere(reference: str) -> bool:
    """Whether a reference leads to another host, or to none (``data:``)."""
    return bool(re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*:|//)", reference))
