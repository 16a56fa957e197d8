# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which volume claims a workload's pods need, and why a new pod cannot have one."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Tuple

Json = Dict[str, Any]


def claims(template: Mapping[str, Any], workload: Json) -> Iterator[Tuple[str, bool]]:
    """The claims by name, and whether each has to be there: a StatefulSet makes its own together with the pod."""
    spec = workload.get("spec") or {}
    own = [one["metadata"]["name"] for one in spec.get("volumeClaimTemplates") or ()]
    for volume in (template.get("spec") or {}).get("volumes") or ():
        claim = volume.get("persistentVolumeClaim")
        # Its own claims take the place of volumes of the same name.
        if claim and volume.get("name") not in own:
            yield claim.get("claimName", ""), True
    for name in own:
        for number in range(spec.get("replicas", 1)):
            yield f"{name}-{workload['metadata']['name']}-{number}", False


def unusable(claim: Mapping[str, Any], surges: bool) -> Tuple[str, bool]:
    """Why no new pod can have the claim, in words (empty when it can), and whether that is sure.

    :param surges: whether a new pod has to be ready before any old one goes.
    """
    metadata = claim.get("metadata") or {}
    modes = set((claim.get("spec") or {}).get("accessModes") or ())
    what = f"PersistentVolumeClaim {metadata.get('name')}"
    if metadata.get("deletionTimestamp"):
        return f"{what} is being deleted: no new pod gets it", True
    if (claim.get("status") or {}).get("phase") == "Lost":
        return f"{what} has lost its volume", True
    waits = "the new pod waits for the old one, which stays until the new one is ready; strategy Recreate does not wait"
    if surges and modes == {"ReadWriteOncePod"}:
        return f"{what} is for one pod at a time: {waits}", True
    if surges and modes == {"ReadWriteOnce"}:
        return f"{what} is for one node at a time: on another one {waits}", False
    return "", False
