# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a rollout writes on a workload: its template, and the record by which the next run takes up where it stopped."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..kubernetes.api import ApiError
from .verdict import plain_template

RELEASE = "eazepay.ops/release"
RECORD = "eazepay.ops/rollout"
TOKEN = "eazepay.ops/restart-token"  # noqa: S105
CAUSE = "kubernetes.io/change-cause"

# All annotations of an object together may have 256 KiB.
LARGEST_RECORD = 150_000

Json = Dict[str, Any]


def containers(template: Mapping[str, Any]) -> Tuple[Tuple[str, ...], Dict[str, str]]:
    """The names of the containers that are no init containers, and every container's image."""
    spec = template.get("spec") or {}
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return tuple(one["name"] for one in spec.get("containers") or ()), {one["name"]: one["image"] for one in every}


def annotation(thing: Mapping[str, Any], key: str) -> str:
    return ((thing.get("metadata") or {}).get("annotations") or {}).get(key) or ""


def snapshot(thing: Json) -> Json:
    """What is needed to come back to this."""
    return {
        "template": copy.deepcopy(dict(plain_template(thing["spec"]["template"]))),
        "release": annotation(thing, RELEASE),
        "cause": annotation(thing, CAUSE),
    }


def fingerprint(template: Mapping[str, Any]) -> str:
    text = json.dumps(plain_template(template), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def write_record(state: str, release: str, template: Mapping[str, Any], before: Optional[Json]) -> str:
    """The annotation by which the next run takes up where this one stopped."""
    record: Json = {"state": state, "release": release, "to": fingerprint(template)}
    if before is not None:
        record["before"] = before
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    if len(text) > LARGEST_RECORD:
        del record["before"]
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return text


def read_record(thing: Mapping[str, Any]) -> Json:
    try:
        record = json.loads(annotation(thing, RECORD) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def never_proved(revision: Mapping[str, Any]) -> bool:
    """Whether this revision's rollout never ended well, so that it is not what was released under its name.

    Only ReplicaSets can tell: ControllerRevisions keep the annotations of the moment they were made.
    """
    return revision.get("kind") == "ReplicaSet" and read_record(revision).get("state") == "open"


def operations(thing: Json, template: Json, annotations: Mapping[str, Optional[str]]) -> List[Json]:
    """A JSON patch from the object as it was read; it fails when the object has changed since."""
    found: List[Json] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": thing["metadata"]["resourceVersion"]}
    ]
    now = thing["spec"]["template"]
    if fingerprint(now) != fingerprint(template):
        found += template_operations(now, template)
    has = thing["metadata"].get("annotations")
    if has is None and any(value is not None for value in annotations.values()):
        found.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for key, value in annotations.items():
        path = f"/metadata/annotations/{pointer(key)}"
        if value is not None and (has or {}).get(key) != value:
            found.append({"op": "add", "path": path, "value": value})
        elif value is None and key in (has or {}):
            found.append({"op": "remove", "path": path})
    return found


def template_operations(now: Json, after: Json) -> List[Json]:
    """The smallest patch when only images and the restart token differ, so that nothing else changes its manager."""
    operations: List[Json] = []
    copied = copy.deepcopy(now)
    for group in ("initContainers", "containers"):
        wanted = {one["name"]: one.get("image") for one in (after.get("spec") or {}).get(group) or ()}
        for index, one in enumerate(copied["spec"].get(group) or ()):
            image = wanted.get(one["name"])
            if image is not None and image != one.get("image"):
                one["image"] = image
                operations.append(
                    {"op": "replace", "path": f"/spec/template/spec/{group}/{index}/image", "value": image}
                )
    token = annotation(after, TOKEN)
    if token and token != annotation(now, TOKEN):
        metadata = copied.setdefault("metadata", {})
        if not metadata.get("annotations"):
            operations.append({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), TOKEN: token}
        operations.append(
            {"op": "add", "path": f"/spec/template/metadata/annotations/{pointer(TOKEN)}", "value": token}
        )
    if fingerprint(copied) == fingerprint(after):
        return operations
    return [{"op": "replace", "path": "/spec/template", "value": dict(after)}]


def pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def conflicting(error: ApiError) -> bool:
    """Whether a patch failed for its test of the resourceVersion: the server's words do not say so, a 422 must do."""
    return error.status == 409 or (error.status == 422 and "is invalid" not in error.message)
