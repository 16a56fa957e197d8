#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: db_migration
short_description: Shows, runs and reverts the migrations of services
version_added: 1.0.0
description:
  - Runs the migrations of one or several services with their own tool, and tells from the table in which the tool
    keeps its
    books, before and after, what was applied. What the tool prints or how it ends is not believed alone.
  - Refuses code without any migration, a database that has migrations which the code does not know, and a
    database that a
    backup, a restore or another migration has in hand.
  - Reverts to a recorded point, one migration at a time, each checked. A database that is at the point, or before
    it, stays as
    it is.
author:
  - The eazepay.ops authors (@eazepay)
options:
  state:
    description:
      - V(present) applies what is pending.
      - V(shown) only looks.
      - V(reverted) goes back to O(point).
      - V(decided) only says how each database gets back to O(point), by the tables in which the tools keep their books.
        It is reverted if the code can, restored if only O(backup_migrations) leads there, or left alone if it is there
        already.
      - V(rehearsed) restores O(manifest) into copies beside the live databases, runs, reverts and runs there what is
        pending, tells how long that took and what it locked, and drops the copies whatever happens.
    type: str
    choices: [present, shown, reverted, decided, rehearsed]
    default: present
  services:
    description: The services. Those of different databases are worked on at once, those of one in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the service.
        type: str
        required: true
      database:
        description: Its database.
        type: str
        required: true
      chdir:
        description: Folder in which the commands run; with O(services[].runner) other than V(local), in the container.
        type: str
        aliases: [directory]
      tool:
        description: The migration tool. V(command) is any other one.
        type: str
        choices: [typeorm, alembic, command]
        default: typeorm
      commands:
        description: Commands to use instead of the tool's own, each a list of words.
        type: dict
        suboptions:
          run:
            description: Applies everything that is pending.
            type: list
            elements: str
          show:
            description: Prints the migrations that the code has.
            type: list
            elements: str
          revert:
            description: Reverts the newest one.
            type: list
            elements: str
      table:
        description: Table in which the tool keeps its books.
        type: str
      column:
        description: Its column with the names.
        type: str
      order_by:
        description: Its column that sorts them, oldest first.
        type: str
      books:
        description: Whether the table has a row for each applied migration, or names the newest alone.
        type: str
        choices: [list, head]
      pattern:
        description: Regular expression whose first group is a migration's name, for each line that C(show) prints.
        type: str
      environment:
        description: Variables for the commands, besides those that say where the database is (E(PGHOST) and so on).
        type: dict
      secret_environment:
        description: More of them whose values must not show. Neither these nor the others show in
          what is quoted of a command's output.
        type: dict
      runner:
        description:
          - Where the commands run. V(local) is O(services[].chdir) on this host.
          - V(compose) is a one-off container of a Compose service, V(kubernetes) a Job made from a workload's pod
            template. Both have the workload's image, or O(services[].image), and its volumes and environment.
          - A Job is removed when its command succeeds, and kept when it fails.
        type: str
        choices: [local, compose, kubernetes]
        default: local
      image:
        description: The image that holds the migrations, as a release's own. The workload's present one by default.
        type: str
      workload:
        description: The Compose service or the Kubernetes workload. The service's name by default.
        type: str
      kind:
        description: The kind of the Kubernetes workload.
        type: str
        choices: [Deployment, StatefulSet, DaemonSet]
        default: Deployment
      container:
        description:
          - The container of the Kubernetes workload whose image and environment serve. By default the only one, or
            the one that is named like the workload or the service.
        type: str
      pass_login:
        description:
          - Whether the commands get this task's address, role and password of the server, in E(PGHOST), E(PGPORT),
            E(PGUSER) and E(PGPASSWORD). By default only with O(services[].runner=local); a workload has its own.
          - They never stand in a command line or in a Job; a Job gets them from a Secret that is gone after it.
        type: bool
  point:
    description: For each service what was applied at the point to go back to, as this module returned it.
    type: dict
  backup_migrations:
    description:
      - With O(state=decided), what the backup that could be restored has applied, as M(eazepay.ops.pg_backup)
        returned it.
      - Without it no database is to be restored.
    type: dict
  manifest:
    description: With O(state=rehearsed), the manifest of the backup, or its folder.
    type: path
  age_identity:
    description: With O(state=rehearsed), file of the age identity that reads an encrypted backup.
    type: path
  jobs:
    description: With O(state=rehearsed), how many processes restore a database at once.
    type: int
    default: 2
  prefer:
    description: With O(state=decided), which way to take where both lead to O(point). Reverting loses no rows.
    type: str
    choices: [revert, restore]
    default: revert
  timeout:
    description: Seconds after which a command is killed, with O(services[].runner=kubernetes) its pod.
    type: float
    default: 1800
  max_parallel:
    description: How many databases are worked on at once.
    type: int
    default: 4
notes:
  - On Kubernetes the account needs to read the workloads, to create, read, list, patch and delete Jobs, to create and
    delete Secrets, and to read pods, their logs and, for better messages, events.
requirements:
  - "kubernetes >= 12 (Python), for O(services[].runner=kubernetes)"
  - "docker compose >= 2, for O(services[].runner=compose)"
extends_documentation_fragment:
  - eazepay.ops.targets.services
  - eazepay.ops.postgres
  - eazepay.ops.aws
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
"""

EXAMPLES = r"""
- name: Migrate
  eazepay.ops.db_migration:
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    services:
      - {name: identity, database: identity, chdir: /srv/releases/v1.1.0/services/identity-service}
      - {name: wallet, database: wallet, chdir: /srv/releases/v1.1.0/services/wallet-service}
  register: migrated

- name: Go back to where it was
  eazepay.ops.db_migration:
    state: reverted
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    services:
      - {name: identity, database: identity, chdir: /srv/releases/v1.1.0/services/identity-service}
      - {name: wallet, database: wallet, chdir: /srv/releases/v1.1.0/services/wallet-service}
    point: "{{ migrated.point }}"

- name: How do they get back there?
  eazepay.ops.db_migration:
    state: decided
    login_host: db.example.com
    login_user: deploy
    login_password: "{{ database_password }}"
    services:
      - {name: identity, database: identity, chdir: /srv/releases/v1.1.0/services/identity-service}
    point: {identity: [CreateUsers1735689600000]}
    backup_migrations: "{{ backed_up.backup.migrations }}"

- name: Migrate with Alembic, as a Job of the release's image
  eazepay.ops.db_migration:
    login_host: db.example.com
    namespace: production
    services:
      - name: reports
        database: reports
        tool: alembic
        runner: kubernetes
        workload: reports-service
        image: registry.example.com/reports:v1.1.0
        chdir: /app
"""

RETURN = r"""
services:
  description: What became of each service.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The service.
      type: str
    database:
      description: Its database.
      type: str
    changed:
      description: Whether anything was applied or reverted.
      type: bool
    before:
      description: What was applied before, oldest first.
      type: list
    after:
      description: What is applied now.
      type: list
    applied:
      description: What was applied by this run.
      type: list
    reverted:
      description: What was reverted by this run, newest first.
      type: list
    pending:
      description: What the code has and the database does not.
      type: list
    pending_known:
      description: Whether that could be told without a change to the database.
      type: bool
    output:
      description: The last lines that the tool printed while it applied or reverted, without secrets and parameters.
      type: str
    seconds:
      description: How long it took.
      type: float
point:
  description: For each service what was applied before; O(point) takes it to go back.
  returned: always
  type: dict
  sample: {identity: [CreateUsers1735689600000]}
rehearsals:
  description: What was pending and how it went on copies. Empty when nothing was pending.
  returned: when rehearsed
  type: list
  elements: dict
  contains:
    name:
      description: The service.
      type: str
    database:
      description: Its database.
      type: str
    migrations:
      description: What was applied, reverted and applied again.
      type: list
    run:
      description:
        - How applying went. C(seconds), and C(locks) that keep others from reading or writing, each with its
          C(relation), C(mode) and C(seconds), the longest first. They are looked at every 10 ms.
      type: dict
      sample: {seconds: 2.1, locks: [{relation: public.users, mode: AccessExclusiveLock, seconds: 0.31}]}
    revert:
      description: How reverting went, likewise.
      type: dict
    again:
      description: How applying again went, likewise.
      type: dict
ways:
  description: How each database gets back to the point.
  returned: when decided
  type: list
  elements: dict
  contains:
    database:
      description: The database.
      type: str
    way:
      description: V(nothing), V(revert) or V(restore).
      type: str
    services:
      description: For each service its C(name), the C(migrations) that go, newest first, and the C(reason).
      type: list
      elements: dict
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import AWS_SPEC, secrets
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.targets import SERVICES_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.migration.migrate import migrate
from ansible_collections.eazepay.ops.plugins.module_utils.postgres.server import LOGIN_SPEC

WORDS = {"type": "list", "elements": "str"}
SPEC: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "shown", "reverted", "decided", "rehearsed"], "default": "present"},
    "services": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "database": {"type": "str", "required": True},
            "chdir": {"type": "str", "aliases": ["directory"]},
            "tool": {"type": "str", "choices": ["typeorm", "alembic", "command"], "default": "typeorm"},
            "commands": {"type": "dict", "options": {"run": WORDS, "show": WORDS, "revert": WORDS}},
            "table": {"type": "str"},
            "column": {"type": "str"},
            "order_by": {"type": "str"},
            "books": {"type": "str", "choices": ["list", "head"]},
            "pattern": {"type": "str"},
            "environment": {"type": "dict"},
            "secret_environment": {"type": "dict", "no_log": True},
            "runner": {"type": "str", "choices": ["local", "compose", "kubernetes"], "default": "local"},
            "image": {"type": "str"},
            "workload": {"type": "str"},
            "kind": {"type": "str", "choices": ["Deployment", "StatefulSet", "DaemonSet"], "default": "Deployment"},
            "container": {"type": "str"},
            "pass_login": {"type": "bool"},
        },
    },
    "point": {"type": "dict"},
    "backup_migrations": {"type": "dict"},
    "manifest": {"type": "path"},
    "jobs": {"type": "int", "default": 2},
    "age_identity": {"type": "path"},
    "prefer": {"type": "str", "choices": ["revert", "restore"], "default": "revert"},
    "timeout": {"type": "float", "default": 1800},
    "max_parallel": {"type": "int", "default": 4},
    **SERVICES_SPEC,
    **LOGIN_SPEC,
    **AWS_SPEC,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[
            ("state", "reverted", ("point",)),
            ("state", "decided", ("point",)),
            ("state", "rehearsed", ("manifest",)),
        ],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        result = migrate(module.params, module.check_mode)
        if not module._diff:
            result.pop("diff", None)
        return result

    run(module, work, [module.params["login_password"], *secrets(module.params)])


if __name__ == "__main__":
    main()
