#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnostics
short_description: Gather everything about services in trouble into one bundle that names the likely cause
version_added: 1.0.0
description:
  - Writes logs (also those before a restart), descriptions, events, limits and usage, the names of environment
    variables, the state of images, what the database says, names and certificates, and what was released last, into
    one folder or zip file. Its first page is C(index.html), for a terminal C(index.txt).
  - The likely cause stands at the top. It comes from the causes that M(eazepay.ops.service_rollout) knows, from the
    logs, the database, and the names.
  - A rollout that fails puts back before anything can be gathered. What it returned can be given (O(rollout)); the
    first page then tells what was at the failure and what is now.
  - Secrets are taken out of all that is written. Only the owner may read the bundle.
  - What cannot be had is said in its place and stops nothing.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.targets.services
  - eazepay.ops.attributes
options:
  dest:
    description:
      - Where the bundle is to be; a zip file when it ends in C(.zip), a folder otherwise.
      - A bundle that is there already is left alone.
    type: path
    required: true
  title:
    description: What the index page is about, as in C(deploy v1.1.0).
    type: str
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: What the service is called., type: str, required: true}
      workload: {description: The name of its workload or Compose service. Its name without it., type: str}
      kind:
        description: The kind of its workload.
        type: str
        choices: [Deployment, StatefulSet, DaemonSet]
        default: Deployment
  target:
    description: What the services run on.
    type: str
    choices: [kubernetes, compose]
    default: kubernetes
  rollout:
    description:
      - The C(services) that a failed M(eazepay.ops.service_rollout) returned. Their causes come before all that is seen
        now.
      - Their last lines and events are kept as C(at_failure/WORKLOAD/logs.txt) and C(at_failure/WORKLOAD/events.txt).
    type: list
    elements: dict
    default: []
  failure:
    description: The message with which a run failed. It is shown, and stands at the top when no cause is found.
    type: str
  lines:
    description: Lines of each log.
    type: int
    default: 500
  hosts:
    description:
      - Names under which users reach the services, each as C(name) or C(name:port).
      - They are resolved, and it is seen until when their certificate is good.
    type: list
    elements: str
    default: []
  ledger:
    description: The store of M(eazepay.ops.release_ledger), whose last records are shown.
    type: str
  login_host:
    description: Host of the PostgreSQL server. Without it and O(login_unix_socket) no database is asked.
    type: str
  login_port:
    description: Port of the server.
    type: int
  login_user:
    description: Role to ask as; one with pg_monitor sees everything.
    type: str
  login_password:
    description: Password of the role.
    type: str
  login_unix_socket:
    description: Folder of the server's Unix socket.
    type: path
  login_db:
    description: Database to ask.
    type: str
    default: postgres
  ssl_mode:
    description: How TLS is used, as libpq says it.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: File of the authorities that may have signed the server's certificate.
    type: path
"""

EXAMPLES = r"""
- name: What is wrong with the wallet?
  eazepay.ops.diagnostics:
    dest: /var/lib/deployments/diagnostics-{{ now(utc=true).strftime('%Y%m%dT%H%M%SZ') }}.zip
    namespace: production
    services: [{name: wallet, workload: wallet-service}]
    login_host: db.example.com
    login_user: monitor
    login_password: "{{ database_password }}"

- name: Why did the rollout fail that was put back?
  eazepay.ops.diagnostics:
    dest: /var/lib/deployments/diagnostics-v1.1.0
    namespace: production
    services: [{name: wallet, workload: wallet-service}]
    rollout: "{{ rolled.services }}"
    failure: "{{ rolled.msg }}"
"""

RETURN = r"""
dest:
  description: Where the bundle is.
  returned: always
  type: str
likely_cause:
  description:
    - What is probably wrong, and what to do.
    - Empty when nothing wrong was found, or with O(failure), nothing that explains it.
  returned: when a bundle was made
  type: str
findings:
  description:
    - All that was seen, each with C(service), C(text), C(next), C(sure) from 0 to 100, and C(at).
    - C(at) is V(failure) for what O(rollout) told, which comes first, and V(now). Of each, the surest comes first.
  returned: always
  type: list
  elements: dict
services:
  description: The C(name), C(outcome) and C(cause) of each service, as it stands now.
  returned: always
  type: list
  elements: dict
files:
  description: What is in the bundle.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.targets import SERVICES_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.diagnostics import bundle
from ansible_collections.eazepay.ops.plugins.module_utils.gate.arguments import LOGIN

SERVICE = {
    "name": {"type": "str", "required": True},
    "workload": {"type": "str"},
    "kind": {"type": "str", "choices": ["Deployment", "StatefulSet", "DaemonSet"], "default": "Deployment"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "title": {"type": "str"},
            "services": {"type": "list", "elements": "dict", "required": True, "options": SERVICE},
            "target": {"type": "str", "choices": ["kubernetes", "compose"], "default": "kubernetes"},
            **SERVICES_SPEC,
            "rollout": {"type": "list", "elements": "dict", "default": []},
            "failure": {"type": "str"},
            "lines": {"type": "int", "default": 500},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "ledger": {"type": "str"},
            **LOGIN,
        },
        required_if=[("target", "compose", ["compose"])],
        supports_check_mode=True,
    )
    run(module, lambda: bundle.run(module.params, module.check_mode))


if __name__ == "__main__":
    main()
