# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: migrations_since
short_description: What deployments did to the databases since a release was in place
version_added: 1.0.0
author: The eazepay.ops authors (@eazepay)
description:
  - Reads the records of the ledger and finds where the databases stood before the first deployment that migrated them
    after a release.
  - M(eazepay.ops.db_migration) takes the points and goes back there.
options:
  _input:
    description: The records, the newest first, as M(eazepay.ops.release_ledger) returns them.
    type: list
    elements: dict
    required: true
  release:
    description: The release to go back to.
    type: str
    required: true
positional: release
"""

EXAMPLES = r"""
- name: What has to be undone for v1.0.0?
  ansible.builtin.debug:
    msg: "{{ ledger_result.records | eazepay.ops.migrations_since('v1.0.0') }}"
"""

RETURN = r"""
_value:
  description:
    - C(release) is the newest that migrated, whose code can revert; empty when there is none.
    - C(point) says for each service what was applied before.
    - C(backup) is the manifest of the backup from before, and C(backup_migrations) what that had applied.
  type: dict
  sample:
    release: v1.1.0
    point: {identity: [CreateUsers1735689600000]}
    backup: /var/backups/deployments/20261126T101500Z-v1.1.0-1f3a/manifest.json
    backup_migrations: {identity: {migrations: [CreateUsers1735689600000]}}
"""

from typing import Any, Callable, Dict

from ansible_collections.eazepay.ops.plugins.module_utils.migration.plan import since


class FilterModule:
    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"migrations_since": since}
