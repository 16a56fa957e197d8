#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: site_build
short_description: Builds static sites, each once for the same inputs
version_added: 1.0.0
description:
  - Runs each site's own commands when nothing that was built from the same inputs is in the cache - the files of its
    source, their modes, the commands and their environment.
  - What was built is copied into the cache whole or not at all, so that a build that died is never taken for one, and
    what somebody does to the source afterwards does not matter. The 5 newest builds of each site are kept.
  - Builds all sites at once.
author:
  - The eazepay.ops authors (@eazepay)
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What it is called, here and in the cache.
        type: str
        required: true
      source:
        description: Folder of its source.
        type: path
        required: true
      build:
        description: Command that builds it, as a list. Without one, nothing is built, and the folder is taken as it is.
        type: list
        elements: str
        default: []
      install:
        description: Command that gets its dependencies first, as a list; V([npm, ci]), say.
        type: list
        elements: str
        default: []
      env:
        description: Environment of both commands.
        type: dict
        default: {}
      dist:
        description:
          - Folder that the build writes, relative to O(sites[].source). By default V(dist), or V(.) without a build.
            It is no input, nor are C(node_modules) and C(.git).
        type: str
  cache:
    description: Folder of the cache.
    type: path
    required: true
  timeout:
    description: Seconds for one command.
    type: int
    default: 1800
extends_documentation_fragment:
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
seealso:
  - module: eazepay.ops.site_publish
"""

EXAMPLES = r"""
- name: Build the portals
  eazepay.ops.site_build:
    cache: ~/.cache/portals
    sites:
      - name: admin
        source: portals/admin-portal
        install: [npm, ci]
        build: [npm, run, build]
        env: {RELEASE: v1.1.0}
      - {name: help, source: portals/help}
  register: built
"""

RETURN = r"""
sites:
  description: The sites, in the same order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    dist:
      description: The folder to publish. In check mode it does not exist yet where C(built) is true.
      type: str
    built:
      description: Whether it was built in this run.
      type: bool
    hash:
      description: The SHA-256 of its inputs; empty without a build.
      type: str
    seconds:
      description: How long it took.
      type: float
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor
from ansible_collections.eazepay.ops.plugins.module_utils.site.build import Builder, read
from ansible_collections.eazepay.ops.plugins.module_utils.site.many import each

SITE: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "source": {"type": "path", "required": True},
    "build": {"type": "list", "elements": "str", "default": []},
    "install": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "dict", "default": {}},
    "dist": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "dict", "required": True, "options": SITE},
            "cache": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 1800},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    progress = Progress(module.params["progress_file"], Redactor().text)
    builder = Builder(module.params["cache"], module.params["timeout"], progress)

    def one(given: Dict[str, Any]) -> Dict[str, Any]:
        built = builder.build(read(given), module.check_mode)
        return {"changed": built.built, **built._asdict()}

    run(module, lambda: each(module.params["sites"], "build", one))


if __name__ == "__main__":
    main()
