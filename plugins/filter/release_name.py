# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: release_name
short_description: What the state of a service is called
version_added: 1.0.0
author: The eazepay.ops authors (@eazepay)
description:
  - The release that a rollout recorded, or its image's tag before the first rollout.
  - Of an image without a tag, the beginning of its digest.
options:
  _input:
    description: C(before) or C(after) of a service, as M(eazepay.ops.service_rollout) returns them. May be empty.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What was there?
  ansible.builtin.debug:
    msg: "{{ (rollout_result.services | first).before | eazepay.ops.release_name }}"
"""

RETURN = r"""
_value:
  description: The name; empty when the state has neither release nor image.
  type: str
  sample: v1.0.0
"""

from typing import Any, Callable, Dict

from ansible_collections.eazepay.ops.plugins.module_utils.rollout.images import name_of


class FilterModule:
    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"release_name": name_of}
