# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Takes secrets out of text before anybody sees it."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Iterable, List, Set, Tuple
from urllib.parse import quote

MASK = "********"

# Names that hold secrets, in any of the spellings of environments, JSON and command lines.
SECRETIVE = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credential|authorization)[\w.-]*"
)

PATTERNS: List[Tuple[Any, str]] = [
    # scheme://user:password@host
    (re.compile(r"(?P<keep>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)", re.I), r"\g<keep>" + MASK),
    (re.compile(r"(?P<keep>\bauthorization\s*:\s*(?:bearer|basic|token)?\s*)\S+", re.I), r"\g<keep>" + MASK),
    (re.compile(r"(?P<keep>\bbearer\s+)[\w.~+/=-]{8,}", re.I), r"\g<keep>" + MASK),
    # "password": "...", quoted values may hold anything
    (
        re.compile(r"(?P<keep>[\"']?\b" + SECRETIVE + r"[\"']?\s*[:=]\s*)(?P<q>[\"'])(?:\\.|(?!(?P=q)).)*(?P=q)", re.I),
        r"\g<keep>\g<q>" + MASK + r"\g<q>",
    ),
    (re.compile(r"(?P<keep>\b" + SECRETIVE + r"\s*[:=]\s*)(?![\"'*])[^\s,;&\"']+", re.I), r"\g<keep>" + MASK),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), MASK),
]


def spellings(secret: str) -> Set[str]:
    """How a secret stands in plain text, addresses, pages, JSON and logs."""
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, quote(secret, safe=""), escape(secret), escape(secret, quote=False), *quoted}


class Redactor:
    """Replaces the given secrets, and whatever looks like one, by ``********``.

    :param secrets: values that must never show; those of fewer than 4 characters are ignored, for they would mask
        unrelated text.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known: Set[str] = set()
        for secret in secrets:
            if secret and len(secret) >= 4:
                known.update(spellings(secret))
        # The longest first: one secret may begin another.
        self.secrets = sorted(known, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any) -> Any:
        """The same structure, with every string redacted and every value under a secret's name masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                key: MASK
                if isinstance(one, str) and one and re.fullmatch(SECRETIVE, str(key), re.I)
                else self.value(one)
                for key, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(one) for one in value]
        return value
