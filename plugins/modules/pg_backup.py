#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_backup
short_description: Takes, verifies, lists and prunes logical backups of PostgreSQL
version_added: 1.0.0
description:
  - Backs up one or several databases as one set, with the pg_dump of the server's own major version.
  - A backup exists only once its manifest does, which is written last. The manifest holds the checksum of every
    file, row
    counts, the applied migrations, rights and settings, so that M(eazepay.ops.pg_restore) can prove what it
    restores.
  - A verified backup of the same release that is not older than O(max_age) is used again, as long as no migration
    was applied
    since.
  - Whatever fails, no earlier backup is touched, and nothing is left that looks like one.
author:
  - The eazepay.ops authors (@eazepay)
options:
  state:
    description:
      - V(present) makes sure that there is a verified backup.
      - V(verified) verifies the newest one that O(id), O(databases) and O(release) describe.
      - V(listed) returns what there is.
      - V(absent) deletes the one named O(id), or those that O(keep) does not keep.
    type: str
    choices: [present, verified, listed, absent]
    default: present
  dest:
    description:
      - Where the backups are. A folder is made when it is missing.
      - With C(s3://bucket/prefix) they are written to S3 as they come. Nothing is stored here on the way.
    type: path
    required: true
  databases:
    description:
      - Databases of the set. Without it, with O(state=present), every database but C(postgres) and the templates.
    type: list
    elements: str
  release:
    description: Name of the release before which the backup is taken.
    type: str
    default: ""
  id:
    description: Name of one backup, as V(listed) gives it.
    type: str
  max_age:
    description: How old a backup may be to be used again, such as V(30m), V(24h) or V(7d). V(0) always takes a
      new one.
    type: str
    default: 24h
  own_migrations:
    description:
      - For each database, the names of the migrations that O(release) itself applied after its backup was taken.
      - They are no reason to take another backup, for the way back before the release is still the same.
    type: dict
    default: {}
  format:
    description:
      - Format of pg_dump. Only V(directory) is written, and restored, by several processes at once; it needs a
        folder, and cannot be encrypted.
      - V(auto) is V(directory) where that can be, and V(custom) elsewhere.
    type: str
    choices: [auto, directory, custom]
    default: auto
  compression:
    description:
      - What pg_dump gets as C(--compress). V(auto) takes zstd or lz4 where this pg_dump has them (from
        version 16 on), and
        none where it had only gzip, which is several times slower.
      - What is V(custom) goes through the program zstd then, if there is one.
    type: str
    default: auto
  jobs:
    description: How many processes dump and restore a database at once.
    type: int
    default: 2
  counts:
    description: Whether rows are counted, or taken from the statistics.
    type: str
    choices: [exact, estimated]
    default: exact
  age_recipients:
    description:
      - Public keys of age (C(age1...), or SSH's) for which everything but the manifest is encrypted before it leaves
        this host. The program age must be installed.
    type: list
    elements: str
    default: []
  age_identity:
    description:
      - File of the age identity that reads an encrypted backup. O(verify=restore) needs it. Without it,
        O(verify=read) proves the checksums alone.
    type: path
  encryption_mode:
    description: Encryption by S3 itself; without it what the bucket's rule says.
    type: str
    choices: [AES256, "aws:kms"]
  encryption_kms_key_id:
    description: Key for V(aws:kms), where it is not the account's own.
    type: str
  globals:
    description: Whether roles and tablespaces are written too. Passwords of roles need a superuser.
    type: str
    choices: [none, without_passwords, with_passwords]
    default: without_passwords
  verify:
    description:
      - How a backup is verified. V(read) reads every byte and every table of contents.
      - V(restore) restores it into a scratch database, too, compares what is in it, and drops it.
    type: str
    choices: [read, restore]
    default: read
  check_space:
    description: Whether there must be room for the dump before it starts; in S3, whether the account may write.
    type: bool
    default: true
  keep:
    description:
      - What stays when backups are pruned. Only verified backups count. The newest verified one of a set of
        databases always
        stays, and so do those of O(open_releases). With O(state=present), pruning follows a new backup.
    type: dict
    suboptions:
      last:
        description: How many of the newest.
        type: int
        default: 0
      days:
        description: Those that are not older than so many days.
        type: int
        default: 0
      daily:
        description: The newest of each of so many days.
        type: int
        default: 0
      weekly:
        description: The newest of each of so many weeks.
        type: int
        default: 0
      monthly:
        description: The newest of each of so many months.
        type: int
        default: 0
      yearly:
        description: The newest of each of so many years.
        type: int
        default: 0
  open_releases:
    description: Releases whose deployment is not over; their backups stay.
    type: list
    elements: str
    default: []
  force:
    description: Whether O(id) is deleted although it is the last verified backup, or belongs to an open release.
    type: bool
    default: false
extends_documentation_fragment:
  - eazepay.ops.postgres
  - eazepay.ops.aws
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
"""

EXAMPLES = r"""
- name: Back up before the deployment
  eazepay.ops.pg_backup:
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    databases: [identity, wallet]
    release: v1.1.0
    dest: /var/backups/deployments
    keep:
      last: 5
      weekly: 4
  register: backup

- name: Back up to S3, readable only for who holds the identity
  eazepay.ops.pg_backup:
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    dest: s3://example-backups/production
    region: eu-west-1
    encryption_mode: aws:kms
    age_recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]

- name: Prove that it restores
  eazepay.ops.pg_backup:
    state: verified
    verify: restore
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    id: "{{ backup.backup.id }}"
    dest: /var/backups/deployments

- name: See which backups a stricter rule would delete, with --check --diff
  eazepay.ops.pg_backup:
    state: absent
    dest: /var/backups/deployments
    keep:
      last: 2
"""

RETURN = r"""
backup:
  description: The backup that was taken, used again or verified. Null in check mode when one would be taken.
  returned: when present or verified
  type: dict
  contains:
    id:
      description: Its name.
      type: str
    manifest:
      description: Path of its manifest, for M(eazepay.ops.pg_restore).
      type: str
    created:
      description: When it was begun, in UTC.
      type: str
    release:
      description: The release it was taken before.
      type: str
    databases:
      description: The databases in it.
      type: list
    bytes:
      description: Size of its files.
      type: int
    verified:
      description: The level it was verified at; empty when it was not.
      type: str
    broken:
      description: Why it cannot be read; empty when it can.
      type: str
    seconds:
      description: How long the dump and the checksums took.
      type: dict
    migrations:
      description: For each database what each migration tool had applied.
      type: dict
reused:
  description: Whether an earlier backup serves.
  returned: when present
  type: bool
backups:
  description: What there is, newest first.
  returned: when listed
  type: list
  elements: dict
pruned:
  description: What was deleted, and why.
  returned: when absent, or present with O(keep)
  type: list
  elements: dict
  sample: [{id: 20261126T101500Z-v1.0.0-1f3a, reason: no rule keeps it}]
kept:
  description: What stayed, and why.
  returned: when absent
  type: list
  elements: dict
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.backup.take import Backups
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import LOGIN_SPEC

KEEP = ("last", "days", "daily", "weekly", "monthly", "yearly")
SPEC: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "verified", "listed", "absent"], "default": "present"},
    "dest": {"type": "path", "required": True},
    "databases": {"type": "list", "elements": "str"},
    "release": {"type": "str", "default": ""},
    "id": {"type": "str"},
    "max_age": {"type": "str", "default": "24h"},
    "own_migrations": {"type": "dict", "default": {}},
    "format": {"type": "str", "choices": ["auto", "directory", "custom"], "default": "auto"},
    "compression": {"type": "str", "default": "auto"},
    "jobs": {"type": "int", "default": 2},
    "counts": {"type": "str", "choices": ["exact", "estimated"], "default": "exact"},
    "globals": {
        "type": "str",
        "choices": ["none", "without_passwords", "with_passwords"],
        "default": "without_passwords",
    },
    "verify": {"type": "str", "choices": ["read", "restore"], "default": "read"},
    "check_space": {"type": "bool", "default": True},
    "keep": {"type": "dict", "options": {name: {"type": "int", "default": 0} for name in KEEP}},
    "open_releases": {"type": "list", "elements": "str", "default": []},
    "force": {"type": "bool", "default": False},
    "age_recipients": {"type": "list", "elements": "str", "default": []},
    "age_identity": {"type": "path"},
    "encryption_mode": {"type": "str", "choices": ["AES256", "aws:kms"]},
    "encryption_kms_key_id": {"type": "str", "no_log": False},
    **LOGIN_SPEC,
    **AWS_SPEC,
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)

    def work() -> Dict[str, Any]:
        result = Backups(module.params, module.check_mode).run()
        if not module._diff:
            result.pop("diff", None)
        return result

    run(module, work, [module.params["login_password"], *secrets(module.params)])


if __name__ == "__main__":
    main()
