# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The manifest: written last, it makes a backup exist; any change to it shows. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

FORMAT = 1
NAME = "manifest.json"
VERIFIED = "verified.json"
# How much a verification proves, weakest first.
LEVELS = ("read", "restore")


class Backup(NamedTuple):
    """A backup as listings and decisions see it. ``created`` in seconds since 1970."""

    id: str
    created: float
    release: str
    databases: Tuple[str, ...]
    system: str
    bytes: int
    verified: Optional[str]  # a level
    migrations: Dict[str, Any]
    path: str
    broken: str = ""  # why it is none

    @property
    def set(self) -> Tuple[Any, ...]:
        """Backups of the same databases of the same server supersede each other."""
        return self.system, tuple(sorted(self.databases))


def text_of(manifest: Dict[str, Any]) -> str:
    """The one spelling of a manifest, with its own digest in it."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps(dict(body, digest=digest), sort_keys=True, indent=1) + "\n"


def parse(data: bytes) -> Dict[str, Any]:
    """:raises ValueError: when as much as a blank of it is not as it was written."""
    try:
        manifest = json.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise ValueError("its manifest is no JSON") from error
    if not isinstance(manifest, dict) or text_of(manifest).encode() != data:
        raise ValueError("its manifest was changed after it was written")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"its manifest has format {manifest.get('format')!r}, and this version reads {FORMAT}")
    return manifest


def verified_text(level: str, at: float, manifest: Dict[str, Any], of: str) -> str:
    return text_of({"format": FORMAT, "level": level, "at": at, "of": of, "id": manifest["id"]})


def verified_level(data: Optional[bytes], digest: str) -> Optional[str]:
    """The level that a backup was verified at; a note that is broken, or about another manifest, says nothing."""
    if data is None:
        return None
    try:
        note = parse(data)
    except ValueError:
        return None
    return note["level"] if note.get("of") == digest and note.get("level") in LEVELS else None


def backup_of(manifest: Dict[str, Any], verified: Optional[str], path: str) -> Backup:
    return Backup(
        id=manifest["id"],
        created=manifest["created"],
        release=manifest["release"],
        databases=tuple(one["name"] for one in manifest["databases"]),
        system=manifest["server"]["system_identifier"],
        bytes=sum(file["bytes"] for file in manifest["files"].values()),
        verified=verified,
        migrations={one["name"]: one["migrations"] for one in manifest["databases"]},
        path=path,
    )


def differing(files: Dict[str, Dict[str, Any]], found: Dict[str, Dict[str, Any]]) -> List[str]:
    """What is wrong with a backup's files, the worst first; nothing when each is as it was written."""
    wrong = [f"{name} is missing" for name in sorted(set(files) - set(found))]
    for name in sorted(set(files) & set(found)):
        if found[name]["bytes"] != files[name]["bytes"]:
            wrong.append(f"{name} has {found[name]['bytes']} bytes instead of {files[name]['bytes']}")
        elif found[name]["sha256"] != files[name]["sha256"]:
            wrong.append(f"{name} has another checksum than when it was written")
    return wrong + [f"{name} does not belong to it" for name in sorted(set(found) - set(files) - {NAME, VERIFIED})]
