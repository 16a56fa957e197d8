#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_checklist
short_description: Judges the checklist of a release from evidence, each item in any case
version_added: 1.0.0
description:
  - Asks every item of a checklist at once, also when others are red, and returns one table.
  - Fails when an item is red and O(waive) does not name it with a reason. What could not be asked is red.
  - It changes nothing, so check mode asks the same and fails the same.
author:
  - The eazepay.ops authors (@eazepay)
options:
  release:
    description: The release that is about to be deployed.
    type: str
    default: ""
  revision:
    description: Its commit, whole.
    type: str
    default: ""
  waive:
    description: Reasons for going on although items are red, by the items' names. A name that no item has is refused.
    type: dict
    default: {}
  ledger:
    description: The environment's ledger, as O(eazepay.ops.release_ledger#module:store).
    type: str
  patience:
    description: Seconds for which a check that is bad is asked again.
    type: float
    default: 5
  report_only:
    description: Whether to return how things stand, and never to fail.
    type: bool
    default: false
extends_documentation_fragment:
  - eazepay.ops.targets
  - eazepay.ops.checks.items
  - eazepay.ops.aws
  - eazepay.ops.attributes
"""

EXAMPLES = r"""
- name: May v1.1.0 be deployed?
  eazepay.ops.release_checklist:
    release: v1.1.0
    revision: "{{ source_commit }}"
    ledger: /var/lib/ledger/production
    items:
      - name: ci
        checks:
          - name: status
            http:
              url: https://api.github.com/repos/example/shop/commits/$revision/status
              json: {state: success}
      - name: audit
        file: {path: /var/lib/evidence/audit-$revision.json, max_age: 30d}
      - name: migrations
        migrated: {store: /var/lib/ledger/staging, environment: staging}
      - name: certificates
        checks:
          - {name: shop.example.com, tls: {host: shop.example.com, fail_days: 14}}
      - name: backup
        backup: {dest: /var/lib/backups, databases: [shop], max_age: 24h}
      - name: freeze
        freezes:
          - {days: [fri], from: "15:00", offset: "+03:00", reason: nobody is here to look after it}
    waive:
      audit: the auditors confirmed it by telephone, ticket 4711
"""

RETURN = r"""
checklist:
  description: Each item, in its order.
  returned: always, unless the input was refused
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str}
    verdict: {description: 'V(pass), V(warn), V(fail), or V(error) for what could not be known.', type: str}
    reason: {description: "The evidence, or what is wrong, in a sentence.", type: str}
    waived: {description: The reason for going on although it is red., type: str}
    go: {description: Whether the release may go on with it., type: bool}
    seconds: {description: How long it took to ask., type: float}
go:
  description: Whether the release may go on.
  returned: always, unless the input was refused
  type: bool
waived:
  description: Reasons by the names of the items that are red and were waived; for the ledger.
  returned: always, unless the input was refused
  type: dict
msg:
  description: A line for each item.
  returned: always
  type: str
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.checklist.gather import KINDS, Checklist
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.targets import CLUSTER_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.gate.arguments import CHECKS

ITEM: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "checks": CHECKS,
    "file": {
        "type": "dict",
        "options": {
            "path": {"type": "str", "required": True},
            "max_age": {"type": "str", "default": "24h"},
            "of_revision": {"type": "bool", "default": True},
        },
    },
    "migrated": {
        "type": "dict",
        "options": {"store": {"type": "str", "required": True}, "environment": {"type": "str", "default": ""}},
    },
    "secrets": {"type": "list", "elements": "str", "no_log": False},
    "backup": {
        "type": "dict",
        "options": {
            "dest": {"type": "str", "required": True},
            "databases": {"type": "list", "elements": "str", "required": True},
            "max_age": {"type": "str", "default": "24h"},
        },
    },
    "rollback": {
        "type": "dict",
        "options": {
            "portals": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"bucket": {"type": "str", "required": True}, "prefix": {"type": "str", "default": ""}},
            },
            "backups": {"type": "str", "default": ""},
            "allow_first": {"type": "bool", "default": False},
        },
    },
    "notified": {
        "type": "dict",
        "options": {
            "kind": {"type": "str", "choices": ["deployment", "maintenance"], "default": "deployment"},
            "notice": {"type": "str", "default": "1h"},
            "max_age": {"type": "str", "default": "7d"},
        },
    },
    "freezes": {"type": "list", "elements": "dict"},
    "found": {
        "type": "dict",
        "options": {
            "verdict": {"type": "str", "choices": ["pass", "warn", "fail", "error"], "required": True},
            "reason": {"type": "str", "required": True},
        },
    },
}
SPEC: Dict[str, Any] = {
    "items": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": ITEM,
        "mutually_exclusive": [KINDS],
        "required_one_of": [KINDS],
    },
    "release": {"type": "str", "default": ""},
    "revision": {"type": "str", "default": ""},
    "waive": {"type": "dict", "default": {}},
    "ledger": {"type": "str"},
    **CLUSTER_SPEC,
    "patience": {"type": "float", "default": 5},
    "report_only": {"type": "bool", "default": False},
    **AWS_SPEC,
}


def release_checklist(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    return Checklist(params).run()


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    run(module, lambda: release_checklist(module.params, module.check_mode), secrets(module.params))


if __name__ == "__main__":
    main()
