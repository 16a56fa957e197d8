#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_ledger
short_description: Records what was released where, knows the last good release, and holds the deployment lock
version_added: 1.0.0
description:
  - Keeps one JSON document a release, and one lock, for an environment - in a folder, an S3 prefix, or a namespace's
    ConfigMaps.
  - Every write is atomic and conditional, so that two runs never both hold the lock and no record is lost.
  - A lock expires unless it is renewed, as the callback plugin C(eazepay.ops.heartbeat) does while a run lives. A
    holder whose run has certainly ended on the same machine is taken over at once.
author:
  - The eazepay.ops authors (@eazepay)
options:
  store:
    description:
      - Where the ledger lives - the absolute path of a folder, V(s3://bucket/prefix), or
        V(configmap://namespace/name).
    type: str
    required: true
  state:
    description:
      - V(locked) takes the lock, or renews it when O(owner) holds it already.
      - V(unlocked) frees it.
      - V(recorded) merges O(record), O(release) and O(outcome) into the record O(id).
      - V(noticed) keeps O(record) as the notice O(id) - that people were told of something. It is dated here, and never
        changed again.
      - V(queried) tells what the records say.
    type: str
    choices: [locked, unlocked, recorded, noticed, queried]
    default: queried
  owner:
    description:
      - Who holds the lock; different for each run. Needed for V(locked) and V(unlocked). With V(recorded), the run
        must still hold
        the lock under this name.
    type: str
  purpose:
    description: What the lock is held for; others are told.
    type: str
    default: ""
  ttl:
    description: Seconds after which the lock expires without another V(locked) of its owner.
    type: int
    default: 3600
  force:
    description: Whether to take or free a lock that somebody else holds. O(reason) must say why.
    type: bool
    default: false
  reason:
    description: Why O(force) is used; it is kept in the ledger.
    type: str
    default: ""
  id:
    description:
      - Name of the record or notice, C(<time>-<release>) as in V(20261126T113000Z-v1.1.0). Needed for V(recorded) and
        V(noticed).
    type: str
  release:
    description:
      - The release; needed when a record is begun.
      - With V(queried), the one that RV(roll_back_to) is to be.
    type: str
  target:
    description:
      - With V(queried), the target, such as V(kubernetes), whose records count, where an environment has several. So do
        those that name none in C(target). All without it.
    type: str
  outcome:
    description:
      - How the release stands; V(running) when a record is begun. V(rolled_back) means that what was good before is
        in place again. A
        rollback that was asked for is a V(good) record of the earlier release.
    type: str
    choices: [running, good, failed, rolled_back]
  record:
    description: Whatever else is to be kept. Dictionaries are merged into what the record has, level by level.
    type: dict
    default: {}
  limit:
    description: How many of the newest records V(queried) returns.
    type: int
    default: 10
extends_documentation_fragment:
  - eazepay.ops.targets
  - eazepay.ops.aws
  - eazepay.ops.attributes
"""

EXAMPLES = r"""
- name: Take the deployment lock
  eazepay.ops.release_ledger:
    store: /var/lib/ledger/production
    state: locked
    owner: "{{ run_id }}"
    purpose: deploy v1.1.0

- name: Record how it ended
  eazepay.ops.release_ledger:
    store: s3://ledger/production
    state: recorded
    id: 20261126T113000Z-v1.1.0
    owner: "{{ run_id }}"
    release: v1.1.0
    outcome: good
    record:
      services: "{{ rollout.services }}"

- name: Where to go back to?
  eazepay.ops.release_ledger:
    store: /var/lib/ledger/production
  register: ledger
"""

RETURN = r"""
lock:
  description: The lock as it now is; empty when it is free.
  returned: when locked, unlocked or queried, and when refused
  type: dict
  sample: {owner: 20261126T113000Z-v1.1.0, purpose: deploy v1.1.0, since: "2026-11-26T11:30:00+00:00", generation: 7}
taken_from:
  description:
    - Who held the lock before, and why it was taken - V(expired), V(dead) or V(forced); empty when it was free.
  returned: when locked
  type: dict
record:
  description: The record as it now is.
  returned: when recorded
  type: dict
notice:
  description: The notice as it is kept, with C(at), when that was.
  returned: when noticed
  type: dict
notices:
  description: The newest notices, the newest first.
  returned: when queried
  type: list
  elements: dict
in_place:
  description: The release that serves now, as far as the records tell.
  returned: when queried
  type: str
newest:
  description: The release that was tried last. Another one than RV(in_place) when it failed and was put back.
  returned: when queried
  type: str
last_good:
  description: The newest record that ended well; empty without one.
  returned: when queried
  type: dict
roll_back_to:
  description:
    - The newest good record of O(release); without that, of the release that was good before the one tried last.
    - One from before the ledger has only C(release) and C(images), as a deployment found them. Empty without any.
  returned: when queried
  type: dict
records:
  description: The newest records, the newest first.
  returned: when queried
  type: list
  elements: dict
unreadable:
  description: Older records that cannot be read, and why. One that matters is a failure.
  returned: when queried
  type: dict
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.targets import CLUSTER_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.ledger import Ledger
from ansible_collections.eazepay.ops.plugins.module_utils.ledger.stores import open_store

SPEC: Dict[str, Any] = {
    "store": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["locked", "unlocked", "recorded", "noticed", "queried"], "default": "queried"},
    "owner": {"type": "str"},
    "purpose": {"type": "str", "default": ""},
    "ttl": {"type": "int", "default": 3600},
    "force": {"type": "bool", "default": False},
    "reason": {"type": "str", "default": ""},
    "id": {"type": "str"},
    "release": {"type": "str"},
    "target": {"type": "str"},
    "outcome": {"type": "str", "choices": ["running", "good", "failed", "rolled_back"]},
    "record": {"type": "dict", "default": {}},
    "limit": {"type": "int", "default": 10},
    **CLUSTER_SPEC,
    **AWS_SPEC,
}


def release_ledger(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    if params["force"] and not params["reason"].strip():
        raise InputError("force", "it needs a reason")
    if params["ttl"] < 1 or params["limit"] < 1:
        raise InputError("ttl", "ttl and limit are 1 at least")
    force = params["reason"].strip() if params["force"] else ""
    ledger = Ledger(open_store(params["store"], params))
    if params["state"] == "locked":
        return ledger.lock(params["owner"], params["purpose"], params["ttl"], force, check)
    if params["state"] == "unlocked":
        return ledger.unlock(params["owner"], force, check)
    if params["state"] == "recorded":
        named = {key: params[key] for key in ("release", "outcome") if params[key]}
        return ledger.record(params["id"], {**params["record"], **named}, params["owner"], check)
    if params["state"] == "noticed":
        named = {"release": params["release"]} if params["release"] else {}
        return ledger.notice(params["id"], {**params["record"], **named}, check)
    said = ledger.query(params["limit"], params["target"] or "", params["release"] or "")
    return {**said, "notices": ledger.notices(params["limit"])}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[
            ("state", "locked", ("owner",)),
            ("state", "unlocked", ("owner",)),
            ("state", "recorded", ("id",)),
            ("state", "noticed", ("id",)),
        ],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        result = release_ledger(module.params, module.check_mode)
        if not module._diff:
            result.pop("diff", None)
        return result

    run(module, work, secrets(module.params))


if __name__ == "__main__":
    main()
