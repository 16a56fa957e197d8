#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_source
short_description: Sees to the git tag of a release, and to its files in a folder
version_added: 1.0.0
description:
  - Makes and pushes the annotated tag of a release when the remote has none. A tag that stands at another commit than
    the given one is refused, never moved.
  - Puts exactly the tag's files into a folder without git. A folder where they all stand unchanged is left alone.
  - Tells the commits since the tag before.
  - In check mode no tag is made or pushed, but the files are put into the folder as usual, for what other tasks then
    say of the release is true of its own files only.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.attributes
requirements:
  - git >= 2.28
options:
  release:
    description: The release, which is the tag and the folder's name.
    type: str
    required: true
  checkout:
    description: A clone of the repository. Its work tree is not touched.
    type: path
    required: true
  repository:
    description: What to clone when O(checkout) does not exist.
    type: str
  remote:
    description: The clone's remote that the tag has to be in.
    type: str
    default: origin
  revision:
    description: The commit, branch or tag that the release is. By default what its tag says already, or O(branch).
    type: str
  branch:
    description: The branch whose head a new tag gets. The remote's main branch by default.
    type: str
  tag_message:
    description: The message of a new tag.
    type: str
  dest:
    description:
      - The folder below which a folder with the release's name gets the files. Without it there is only the tag.
    type: path
  timeout:
    description: Seconds for one call of git.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: The source of a release
  eazepay.ops.release_source:
    release: v1.1.0
    repository: git@git.example.com:shop/platform.git
    checkout: /var/lib/shop/source
    dest: /var/lib/shop/releases
  register: source
"""

RETURN = r"""
tag:
  description: The tag.
  returned: success
  type: str
commit:
  description: The commit that it stands at.
  returned: success
  type: str
created:
  description: Whether the tag was made.
  returned: success
  type: bool
pushed:
  description: Whether the tag was pushed.
  returned: success
  type: bool
exported:
  description: Whether the files were written.
  returned: success
  type: bool
previous:
  description: The tag before; empty when there is none.
  returned: success
  type: str
changes:
  description: The commits since then, newest first, 50 at most.
  returned: success
  type: list
  elements: str
path:
  description: The folder with the files; empty without O(dest).
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.source.release import Source


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "str", "required": True},
            "checkout": {"type": "path", "required": True},
            "repository": {"type": "str"},
            "remote": {"type": "str", "default": "origin"},
            "revision": {"type": "str"},
            "branch": {"type": "str"},
            "tag_message": {"type": "str"},
            "dest": {"type": "path"},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    run(module, lambda: Source(module.params, module.check_mode).run())


if __name__ == "__main__":
    main()
