#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cf_invalidate
short_description: Invalidates paths of a CloudFront distribution, once, and waits until it is done
version_added: 1.0.0
description:
  - Encodes the paths as CloudFront demands, leaves out what a wildcard covers, turns folders into wildcards when
    there are too many,
    and splits what is over CloudFront's limits.
  - The caller's reference is derived from distribution, release and paths, so a second run finds the first one's
    invalidation and pays
    for nothing twice.
  - Waits for room when too many invalidations are in progress.
author:
  - The eazepay.ops authors (@eazepay)
options:
  distribution_id:
    description: Id of the distribution.
    type: str
  alias:
    description: One of the distribution's aliases, or its domain name; instead of O(distribution_id).
    type: str
  paths:
    description:
      - Paths as viewers ask for them. A V(*) is a wildcard and stands only at the end. Characters that need it are
        encoded; what is
        encoded already stays.
    type: list
    elements: str
  pending:
    description:
      - Address of the note that M(eazepay.ops.site_publish) left in the bucket; instead of O(paths) and O(release).
        It is removed once
        the invalidation is there (with O(wait), once it is completed). An empty text, or a note that is gone, means
        that there is
        nothing to do.
    type: str
  release:
    description: What the invalidation is for. The same paths with another value here are invalidated again.
    type: str
    default: ""
  compact_above:
    description: More paths than this are gathered into wildcards, the deepest folders first; V(0) never does that.
    type: int
    default: 100
  wait:
    description: Whether to wait until every edge has dropped the paths.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait, for room and for completion together.
    type: float
    default: 1800
extends_documentation_fragment:
  - eazepay.ops.aws
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
attributes:
  check_mode:
    details:
      - Whether an invalidation exists can be seen only for the ten newest ones; an older one is taken for missing.
"""

EXAMPLES = r"""
- name: Drop two paths from the caches
  eazepay.ops.cf_invalidate:
    alias: admin.example.com
    paths: [/index.html, /]
    release: v1.1.0

- name: Drop what a publication changed
  eazepay.ops.cf_invalidate:
    distribution_id: E2EXAMPLE
    pending: "{{ published.pending }}"
    wait_timeout: 600
"""

RETURN = r"""
distribution_id:
  description: Id of the distribution.
  returned: success
  type: str
paths:
  description: The paths that were asked for, encoded and compacted.
  returned: success
  type: list
  elements: str
invalidation:
  description: The first invalidation; empty when there was nothing to do.
  returned: success
  type: dict
  contains:
    id: {description: CloudFront's id., type: str, returned: always}
    status: {description: V(InProgress) or V(Completed)., type: str, returned: always}
    new: {description: Whether this run created it., type: bool, returned: always}
    reference: {description: The caller's reference., type: str, returned: always}
    paths: {description: Its paths., type: list, elements: str, returned: always}
invalidations:
  description: All of them, where the limits made it more than one.
  returned: success
  type: list
  elements: dict
cost:
  description:
    - The number of paths that are billed, and their price in US dollars once the month's free 1,000 are used up.
  returned: success
  type: dict
  sample: {paths: 2, usd_after_free_tier: 0.01}
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, client, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.cdn.invalidate import (
    Distribution,
    invalidate,
    locate,
    wanted_paths,
)
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.site.bucket import Bucket
from ansible_collections.eazepay.ops.plugins.module_utils.site.publish import split

SPEC: Dict[str, Any] = {
    "distribution_id": {"type": "str"},
    "alias": {"type": "str"},
    "paths": {"type": "list", "elements": "str"},
    "pending": {"type": "str"},
    "release": {"type": "str", "default": ""},
    "compact_above": {"type": "int", "default": 100},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "float", "default": 1800},
    "progress_file": {"type": "path"},
    **AWS_SPEC,
}


def cf_invalidate(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    given, release, note = params["paths"] or [], params["release"], None
    if params["pending"]:
        name, key = split(params["pending"])
        note = Bucket(client("s3", params), name, "", "read the note in")
        document = note.read_json(key) or {}
        given, release = document.get("paths", []), document.get("publication", "")
    paths = wanted_paths(given, params["compact_above"])
    cloudfront = client("cloudfront", params)
    distribution = Distribution(
        cloudfront,
        locate(cloudfront, params["distribution_id"], params["alias"]),
        Progress(params["progress_file"]),
        params["wait_timeout"],
    )
    result = invalidate(distribution, paths, release, params["wait"], check)
    if note and given and not check:
        # A publication that began meanwhile has written another note, which stays.
        if (note.read_json(key) or {}).get("publication") == release:
            note.delete([key])
        result["changed"] = True
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_one_of=[("distribution_id", "alias"), ("paths", "pending")],
        mutually_exclusive=[("distribution_id", "alias"), ("paths", "pending")],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        result = cf_invalidate(module.params, module.check_mode)
        if module._diff:
            new = [path for one in result["invalidations"] if one["new"] for path in one["paths"]]
            result["diff"] = {"before": "", "after": "".join(path + "\n" for path in new)}
        return result

    run(module, work, secrets(module.params))


if __name__ == "__main__":
    main()
