#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_restore
short_description: Restores a verified backup of PostgreSQL beside the live database, proves it, and swaps it in
version_added: 1.0.0
description:
  - Reads a backup of M(eazepay.ops.pg_backup), and nothing else; one changed byte in it and nothing is touched.
  - Restores it under another name while the live database goes on working, compares rows, owners, constraints,
    extensions and
    indexes with the manifest, and gives it the rights and settings that the live database has.
  - Then it keeps clients out, renames both in one transaction, and lets clients in again. Several databases are
    swapped
    together, or none.
  - The replaced database is kept under another name, so that the restore itself can be undone.
author:
  - The eazepay.ops authors (@eazepay)
options:
  state:
    description:
      - V(present) restores. A database that is already the one restored from this backup stays as it is.
      - V(undone) puts back the database that the last restore replaced.
      - V(absent) drops the databases that were kept for that.
    type: str
    choices: [present, undone, absent]
    default: present
  manifest:
    description: Path of a backup's manifest, or of its folder; or the same in S3, such as
      C(s3://bucket/prefix/id/manifest.json).
    type: path
  databases:
    description: Databases to restore; without it, all that are in the backup.
    type: list
    elements: str
    aliases: [database]
  target:
    description: Name to restore the one database in O(databases) under, instead of its own.
    type: str
  allow:
    description:
      - What is refused otherwise. V(other_server) is a backup of another server, V(newer_version) one of an
        older major version.
    type: list
    elements: str
    choices: [other_server, newer_version]
    default: []
  force:
    description: Whether a database that was restored from this backup is restored from it again.
    type: bool
    default: false
  jobs:
    description: How many processes restore a database at once. A backup in S3, or an encrypted one, is a stream, which
      one process restores unless there is a O(spool).
    type: int
    default: 2
  spool:
    description:
      - Folder in which a backup in S3, or an encrypted one, is put down so that several processes restore it.
      - It needs room for a database's dump. The file is for the owner only, not encrypted, and gone afterwards; a
        killed run's goes with the next restore.
    type: path
  fence_timeout:
    description: Seconds in which the sessions of the live database must have ended; then the restore fails, and
      clients go on.
    type: float
    default: 10
  older_than:
    description: With O(state=absent), drops only what was kept for at least so long, such as V(7d).
    type: str
    default: "0"
  age_identity:
    description: File of the age identity that reads an encrypted backup.
    type: path
extends_documentation_fragment:
  - eazepay.ops.postgres
  - eazepay.ops.aws
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
"""

EXAMPLES = r"""
- name: See what a restore would lose, with --check
  eazepay.ops.pg_restore:
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    manifest: /var/backups/deployments/20261126T101500Z-v1.1.0-1f3a/manifest.json
    databases: [wallet]

- name: Undo the restore
  eazepay.ops.pg_restore:
    state: undone
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    databases: [wallet]

- name: Drop what was kept for a week
  eazepay.ops.pg_restore:
    state: absent
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    databases: [wallet]
    older_than: 7d
"""

RETURN = r"""
backup:
  description: Name of the backup.
  returned: when present
  type: str
databases:
  description: What was swapped.
  returned: when present or undone
  type: list
  elements: dict
  sample: [{name: wallet, kept: wallet_kept_20261126102000, rows: {'"public"."wallets"': 2000}}]
loss:
  description: For each database the tables whose row count the restore changes, now and in the backup.
  returned: when present
  type: dict
  sample: {wallet: {'"public"."wallets"': {now: 2010, backup: 2000}}}
seconds_lost:
  description: Age of the backup; what was written since is lost.
  returned: when present
  type: int
window:
  description: Seconds for which clients were kept out.
  returned: when present or undone
  type: float
seconds:
  description: How long all of it took.
  returned: when restored
  type: float
dropped:
  description: The databases that were dropped.
  returned: when absent
  type: list
  elements: str
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import LOGIN_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.restore.restore import Restores

SPEC: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "undone", "absent"], "default": "present"},
    "manifest": {"type": "path"},
    "databases": {"type": "list", "elements": "str", "aliases": ["database"]},
    "target": {"type": "str"},
    "allow": {"type": "list", "elements": "str", "choices": ["other_server", "newer_version"], "default": []},
    "force": {"type": "bool", "default": False},
    "jobs": {"type": "int", "default": 2},
    "spool": {"type": "path"},
    "fence_timeout": {"type": "float", "default": 10},
    "older_than": {"type": "str", "default": "0"},
    "age_identity": {"type": "path"},
    **LOGIN_SPEC,
    **AWS_SPEC,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[
            ("state", "present", ("manifest",)),
            ("state", "undone", ("databases",)),
            ("state", "absent", ("databases",)),
        ],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        result = Restores(module.params, module.check_mode).run()
        if not module._diff:
            result.pop("diff", None)
        return result

    run(module, work, [module.params["login_password"], *secrets(module.params)])


if __name__ == "__main__":
    main()
