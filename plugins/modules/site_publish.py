#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: site_publish
short_description: Publishes a static site to S3, and puts an earlier release of it back
version_added: 1.0.0
description:
  - Compares a built site with a bucket by SHA-256 and headers, and uploads what differs - first assets with a hash
    in their name,
    then other files, then pages - so that no page is ever served whose assets are missing.
  - Keeps what pages of earlier releases may still name for O(keep_releases) releases, and remembers these releases
    in the bucket
    itself, below C(.releases/), so that any of them can be put back although its files are gone everywhere else.
  - Before the first change it writes into the bucket which paths caches may hold; M(eazepay.ops.cf_invalidate) takes
    that
    note away. A run that dies between upload and invalidation is so repaired by the next one.
author:
  - The eazepay.ops authors (@eazepay)
options:
  state:
    description:
      - V(published) makes the bucket serve the files of O(src).
      - V(rolled_back) makes it serve O(release), or what it served before O(from_release), from what the bucket
        keeps.
      - V(verified) fetches every page from O(url), and everything that the pages name, and demands the release's
        content and headers.
    type: str
    choices: [published, rolled_back, verified]
    default: published
  src:
    description: Folder of the built site. Needed to publish.
    type: path
  sites:
    description:
      - Many sites in one call, all at once; instead of O(bucket). Each may have options of its own, which come before
        those of the task.
    type: list
    elements: dict
    suboptions:
      name: {description: What it is called in the result., type: str, required: true}
      bucket: {description: As O(bucket)., type: str, required: true}
      src: {description: As O(src)., type: path}
      prefix: {description: As O(prefix)., type: str}
      release: {description: As O(release)., type: str}
      from_release: {description: As O(from_release)., type: str}
      viewer_path: {description: As O(viewer_path)., type: str}
      protect: {description: As O(protect)., type: list, elements: str}
      exclude: {description: As O(exclude)., type: list, elements: str}
      content_types: {description: As O(content_types)., type: dict}
      cache_control: {description: As O(cache_control)., type: dict}
      hashed: {description: As O(hashed)., type: list, elements: str}
      precompress: {description: As O(precompress)., type: list, elements: str, choices: [gzip, br]}
      url: {description: As O(url)., type: str}
      host: {description: As O(host)., type: str}
  bucket:
    description: The bucket. Needed without O(sites).
    type: str
  prefix:
    description: Where the site lies in the bucket. V(app) means C(app/) and never C(app2/).
    type: str
    default: ""
  release:
    description: Name of the release. Needed to publish.
    type: str
  from_release:
    description:
      - With O(state=rolled_back), the release to leave. When something else is served, nothing is changed.
      - With O(release) as well it is for a bucket that has not kept, or never had, that one.
    type: str
  delete:
    description: Whether objects that neither this nor a kept release has are deleted.
    type: bool
    default: true
  protect:
    description:
      - Globs of objects that are never deleted. A glob without a slash is matched with the name alone, one with a
        slash with the
        whole key below the prefix.
    type: list
    elements: str
    default: []
  exclude:
    description: Globs of files that are not published, and of objects that are left as they are.
    type: list
    elements: str
    default: []
  precompress:
    description:
      - Beside text of 1 KiB and more, a variant is published that is compressed already, under the same name with
        C(.gz) or C(.br), with the original's type and Cache-Control, and with its Content-Encoding. Which one a
        viewer gets, the distribution decides.
      - V(br) needs the Python library brotli.
    type: list
    elements: str
    choices: [gzip, br]
    default: []
  max_delete:
    description: A run that would delete more objects fails before it changes anything; V(-1) is no limit.
    type: int
    default: 1000
  max_delete_percent:
    description: The same, in percent of the objects below the prefix; V(-1) is no limit.
    type: float
    default: 50
  keep_releases:
    description: How many releases are kept, this one included.
    type: int
    default: 3
  content_types:
    description: Globs and the content type of what they match, before the built-in table.
    type: dict
    default: {}
  cache_control:
    description:
      - Globs and the Cache-Control of what they match. Otherwise hashed assets are immutable for a year, pages have
        V(no-cache), and
        the rest V(public, max-age=300).
    type: dict
    default: {}
  hashed:
    description:
      - Regular expressions for keys that hold their content's hash. Without any, the names that bundlers give are
        known.
    type: list
    elements: str
    default: []
  viewer_path:
    description:
      - Path under which viewers see the prefix; by default the prefix itself. With the prefix as a distribution's
        origin path, V(/).
    type: str
  concurrency:
    description: How many requests are under way at once.
    type: int
    default: 10
  url:
    description: Address that users reach the site at. Needed to verify.
    type: str
  host:
    description: Host name to ask O(url) for, where it is another than the address's.
    type: str
  verify_timeout:
    description: Seconds after which what is still wrong is a failure.
    type: float
    default: 30
extends_documentation_fragment:
  - eazepay.ops.aws
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
"""

EXAMPLES = r"""
- name: Publish the portal
  eazepay.ops.site_publish:
    src: portals/admin-portal/dist
    bucket: admin-portal
    release: v1.1.0
  register: published

- name: Drop from the caches what changed
  eazepay.ops.cf_invalidate:
    alias: admin.example.com
    pending: "{{ published.pending }}"

- name: Prove it where users see it
  eazepay.ops.site_publish:
    state: verified
    bucket: admin-portal
    release: v1.1.0
    url: https://admin.example.com

- name: Publish two portals at once
  eazepay.ops.site_publish:
    release: v1.1.0
    precompress: [gzip]
    sites:
      - {name: admin, src: portals/admin-portal/dist, bucket: admin-portal}
      - {name: customer, src: portals/customer-portal/dist, bucket: customer-portal, protect: [uploads/*]}

- name: Put back what was served before v1.1.0
  eazepay.ops.site_publish:
    state: rolled_back
    bucket: admin-portal
    from_release: v1.1.0
"""

RETURN = r"""
sites:
  description: With O(sites), the result of each in the same order, with its C(name), and whether it C(failed).
  returned: with O(sites)
  type: list
  elements: dict
release:
  description: The release that the bucket serves.
  returned: success
  type: str
  sample: v1.1.0
previous:
  description: The newest other release that can be put back; V(found) is what was there before the first publication.
  returned: when published or rolled back
  type: str
publication:
  description: Name of this publication, for the invalidation. Empty when no cache can hold anything old.
  returned: when published or rolled back
  type: str
uploaded:
  description: Keys that were uploaded, or copied from what the bucket keeps.
  returned: when published or rolled back
  type: list
  elements: str
reheaded:
  description: Keys whose headers alone were mended.
  returned: when published or rolled back
  type: list
  elements: str
deleted:
  description: Keys that were deleted.
  returned: when published or rolled back
  type: list
  elements: str
kept:
  description: How many objects stayed as they were.
  returned: when published or rolled back
  type: int
plan:
  description: Every change with its reason.
  returned: when published or rolled back
  type: list
  elements: dict
  sample: [{key: index.html, action: upload, reason: its content differs}]
changed_paths:
  description: Encoded paths that caches may still hold, those that an earlier run left behind included.
  returned: when published or rolled back
  type: list
  elements: str
pending:
  description: Address of the note in the bucket that holds the same paths; empty when there are none.
  returned: when published or rolled back
  type: str
  sample: s3://admin-portal/.releases/pending.json
verified:
  description: Paths that were fetched and are right.
  returned: when verified
  type: list
  elements: str
"""

import uuid
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, client, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.site.bucket import Bucket
from ansible_collections.eazepay.ops.plugins.module_utils.site.local import opened, scan
from ansible_collections.eazepay.ops.plugins.module_utils.site.many import AT_ONCE, diffs, each, own
from ansible_collections.eazepay.ops.plugins.module_utils.site.proof import fetcher, prove
from ansible_collections.eazepay.ops.plugins.module_utils.site.publish import Options, Site
from ansible_collections.eazepay.ops.plugins.module_utils.site.rules import ENCODINGS, Rules, prefix

SITE: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "bucket": {"type": "str", "required": True},
    "src": {"type": "path"},
    "prefix": {"type": "str"},
    "release": {"type": "str"},
    "from_release": {"type": "str"},
    "viewer_path": {"type": "str"},
    "protect": {"type": "list", "elements": "str"},
    "exclude": {"type": "list", "elements": "str"},
    "content_types": {"type": "dict"},
    "cache_control": {"type": "dict"},
    "hashed": {"type": "list", "elements": "str"},
    "precompress": {"type": "list", "elements": "str", "choices": ["gzip", "br"]},
    "url": {"type": "str"},
    "host": {"type": "str"},
}
SPEC: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["published", "rolled_back", "verified"], "default": "published"},
    "sites": {"type": "list", "elements": "dict", "options": SITE},
    "src": {"type": "path"},
    "bucket": {"type": "str"},
    "prefix": {"type": "str", "default": ""},
    "release": {"type": "str"},
    "from_release": {"type": "str"},
    "delete": {"type": "bool", "default": True},
    "protect": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "precompress": {"type": "list", "elements": "str", "choices": ["gzip", "br"], "default": []},
    "max_delete": {"type": "int", "default": 1000},
    "max_delete_percent": {"type": "float", "default": 50},
    "keep_releases": {"type": "int", "default": 3},
    "content_types": {"type": "dict", "default": {}},
    "cache_control": {"type": "dict", "default": {}},
    "hashed": {"type": "list", "elements": "str", "default": []},
    "viewer_path": {"type": "str"},
    "concurrency": {"type": "int", "default": 10},
    "url": {"type": "str"},
    "host": {"type": "str"},
    "verify_timeout": {"type": "float", "default": 30},
    "progress_file": {"type": "path"},
    **AWS_SPEC,
}
VERBS = {"published": "publish", "rolled_back": "roll back", "verified": "verify"}


def site_publish(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    if params["keep_releases"] < 1 or not 1 <= params["concurrency"] <= 64:
        raise InputError("keep_releases", "at least 1 release is kept, and concurrency is 1 to 64")
    at_once = min(AT_ONCE, len(params["sites"] or [""]))
    s3 = client("s3", params, (params["concurrency"] + 1) * at_once + 1)
    if params["sites"] is None:
        return one(params, s3, check)
    return each(params["sites"], VERBS[params["state"]], lambda site: one(own(params, site), s3, check))


def one(params: Dict[str, Any], s3: Any, check: bool) -> Dict[str, Any]:
    """What is to be done for one site, whose options ``params`` are."""
    needed = {"published": ("src", "release"), "rolled_back": (), "verified": ("url",)}[params["state"]]
    for option in ("bucket", *needed):
        if not params[option]:
            raise InputError(option, f"it is needed with state {params['state']}")
    bucket = Bucket(s3, params["bucket"], prefix(params["prefix"]), VERBS[params["state"]])
    progress = Progress(params["progress_file"])
    if params["state"] == "verified":
        where = params["url"] + (f" as {params['host']}" if params["host"] else "")
        fetch = fetcher(params["url"], params["host"], params["validate_certs"])
        viewer = params["viewer_path"] if params["viewer_path"] is not None else bucket.prefix
        return prove(bucket, params["release"], fetch, where, viewer, params["verify_timeout"], progress)
    rules = Rules(params["content_types"], params["cache_control"], params["hashed"])
    options = Options(*(params[name] for name in Options._fields))
    site = Site(bucket, rules, options, progress, token=lambda: uuid.uuid4().hex[:8])
    if params["state"] == "rolled_back":
        if not (params["release"] or params["from_release"]):
            raise InputError("release", "to roll back, either it or from_release is needed")
        return site.roll_back(params["release"], params["from_release"], check)
    variants = [suffix for suffix, encoding in ENCODINGS.items() if encoding in params["precompress"]]
    files = scan(params["src"], rules, params["exclude"], variants)
    return site.publish(params["release"], files, lambda file: opened(params["src"], file), check)


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_one_of=[("bucket", "sites")],
        mutually_exclusive=[("bucket", "sites")],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        return diffs(site_publish(module.params, module.check_mode), module._diff)

    run(module, work, secrets(module.params))


if __name__ == "__main__":
    main()
