#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_images
short_description: Builds and pushes the images of a release, each once only
version_added: 1.0.0
description:
  - Builds and pushes the images of many services at once, tagged with the release.
  - An image that the registry holds under this release already, built from the same files, Dockerfile, arguments and
    labels, is not built again. A label on the image says what it was built from; it is read without pulling.
  - A tag that exists with other content is refused before anything is built, unless the service is named in
    O(overwrite).
  - Values of build arguments and the registry's password are on no command line. A login is made in a configuration
    folder of its own, which is removed afterwards.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
requirements:
  - docker (the command) with BuildKit
options:
  services:
    description: The images to build.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The service's name.
        type: str
        required: true
      image:
        description: The image's repository, without a tag.
        type: str
        required: true
      context:
        description: The folder to build from.
        type: path
        required: true
      dockerfile:
        description: The Dockerfile, relative to the folder.
        type: str
        default: Dockerfile
      args:
        description: Build arguments.
        type: dict
        default: {}
      labels:
        description: Labels beside those that the module sets.
        type: dict
        default: {}
      target:
        description: The stage to build. The last one by default.
        type: str
  release:
    description: The release, which is the images' tag.
    type: str
    required: true
  latest:
    description: Whether the tag C(latest) is to be this release's image, too.
    type: bool
    default: false
  push:
    description: Whether images are pushed. Otherwise they are for this host's engine only.
    type: bool
    default: true
  overwrite:
    description: Names of services whose tag may be overwritten although it has other content.
    type: list
    elements: str
    default: []
  jobs:
    description: How many images are worked on at once.
    type: int
    default: 4
  revision:
    description: The commit that the images are built from, for their label.
    type: str
  source:
    description: The address of the source, for their label.
    type: str
  login:
    description: A login for the registry. By default the one that C(docker login) left.
    type: dict
    suboptions:
      registry:
        description: The registry's host.
        type: str
      username:
        description: The user.
        type: str
        required: true
      password:
        description: The password or token.
        type: str
        required: true
  docker_host:
    description: The engine's address.
    type: str
  timeout:
    description: Seconds for one build or push.
    type: int
    default: 1800
seealso:
  - module: eazepay.ops.release_source
  - module: eazepay.ops.service_rollout
"""

EXAMPLES = r"""
- name: Images of a release
  eazepay.ops.release_images:
    release: v1.1.0
    services:
      - name: identity
        image: registry.example.com/shop/identity-service
        context: /var/lib/releases/v1.1.0/services/identity-service
      - name: wallet
        image: registry.example.com/shop/wallet-service
        context: /var/lib/releases/v1.1.0/services/wallet-service
        args: {RELEASE: v1.1.0}
  register: built
"""

RETURN = r"""
images:
  description: Every image.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The service's name.
      type: str
    image:
      description: Repository and tag.
      type: str
    action:
      description: V(build), V(keep) or V(refuse).
      type: str
    reason:
      description: Why.
      type: str
    built:
      description: Whether it was built in this run.
      type: bool
    content:
      description: The hash of what it is built from.
      type: str
    digest:
      description: Its digest in the registry; empty where it was not pushed.
      type: str
    seconds:
      description: How long it took.
      type: float
digests:
  description: The services' images by digest, with the release's tag for people to read.
  sample: {identity: "registry.example.com/shop/identity-service:v1.1.0@sha256:0123456789abcdef"}
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor
from ansible_collections.eazepay.ops.plugins.module_utils.images.release import Release


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "image": {"type": "str", "required": True},
                    "context": {"type": "path", "required": True},
                    "dockerfile": {"type": "str", "default": "Dockerfile"},
                    "args": {"type": "dict", "default": {}},
                    "labels": {"type": "dict", "default": {}},
                    "target": {"type": "str"},
                },
            },
            "release": {"type": "str", "required": True},
            "latest": {"type": "bool", "default": False},
            "push": {"type": "bool", "default": True},
            "overwrite": {"type": "list", "elements": "str", "default": []},
            "jobs": {"type": "int", "default": 4},
            "revision": {"type": "str"},
            "source": {"type": "str"},
            "login": {
                "type": "dict",
                "options": {
                    "registry": {"type": "str"},
                    "username": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "docker_host": {"type": "str"},
            "timeout": {"type": "int", "default": 1800},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    secrets = [(module.params["login"] or {}).get("password") or ""]
    progress = Progress(module.params["progress_file"], Redactor(secrets).text)
    run(module, lambda: Release(module.params, module.check_mode, progress).run(), secrets)


if __name__ == "__main__":
    main()
