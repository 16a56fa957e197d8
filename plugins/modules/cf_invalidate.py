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
  sites:
    description:
      - Many distributions in one call, all at once; instead of O(distribution_id) or O(alias).
    type: list
    elements: dict
    suboptions:
      name: {description: What it is called in the result., type: str, required: true}
      distribution_id: {description: As O(distribution_id)., type: str}
      alias: {description: As O(alias)., type: str}
      paths: {description: As O(paths)., type: list, elements: str}
      pending: {description: As O(pending)., type: str}
      release: {description: As O(release)., type: str}
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
sites:
  description: With O(sites), the result of each in the same order, with its C(name), and whether it C(failed).
  returned: with O(sites)
  type: list
  elements: dict
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
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.site.bucket import Bucket
from ansible_collections.eazepay.ops.plugins.module_utils.site.many import AT_ONCE, diffs, each, own
from ansible_collections.eazepay.ops.plugins.module_utils.site.publish import split

SITE: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "distribution_id": {"type": "str"},
    "alias": {"type": "str"},
    "paths": {"type": "list", "elements": "str"},
    "pending": {"type": "str"},
    "release": {"type": "str"},
}
SPEC: Dict[str, Any] = {
    "distribution_id": {"type": "str"},
    "alias": {"type": "str"},
    "paths": {"type": "list", "elements": "str"},
    "pending": {"type": "str"},
    "sites": {"type": "list", "elements": "dict", "options": SITE},
    "release": {"type": "str", "default": ""},
    "compact_above": {"type": "int", "default": 100},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "float", "default": 1800},
    "progress_file": {"type": "path"},
    **AWS_SPEC,
}


def cf_invalidate(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    sites = params["sites"]
    at_once = min(AT_ONCE, len(sites or [""]))
    notes = any(one["pending"] for one in sites or [params])
    s3 = client("s3", params, at_once) if notes else None
    cloudfront = client("cloudfront", params, at_once)
    if sites is None:
        return one(params, s3, cloudfront, check)
    return each(sites, "invalidate", lambda site: one(own(params, site), s3, cloudfront, check))


def one(params: Dict[str, Any], s3: Any, cloudfront: Any, check: bool) -> Dict[str, Any]:
    """What is to be done for one distribution, whose options ``params`` are."""
    if not (params["distribution_id"] or params["alias"]):
        raise InputError("sites", f"{params.get('name')} has neither distribution_id nor alias")
    given, release, note = params["paths"] or [], params["release"], None
    if params["pending"]:
        name, key = split(params["pending"])
        note = Bucket(s3, name, "", "read the note in")
        document = note.read_json(key) or {}
        given, release = document.get("paths", []), document.get("publication", "")
    paths = wanted_paths(given, params["compact_above"])
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
        required_one_of=[("distribution_id", "alias", "sites"), ("paths", "pending", "sites")],
        mutually_exclusive=[("distribution_id", "alias", "sites"), ("paths", "pending", "sites")],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        result = cf_invalidate(module.params, module.check_mode)
        for site in result.get("sites") or [result]:
            new = [path for asked in site["invalidations"] if asked["new"] for path in asked["paths"]]
            site["diff"] = {"before": "", "after": "".join(path + "\n" for path in new)}
        return diffs(result, module._diff)

    run(module, work, secrets(module.params))


if __name__ == "__main__":
    main()
