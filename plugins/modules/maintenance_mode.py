#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: maintenance_mode
short_description: Turns maintenance on and off as a lease that lifts itself
version_added: 1.0.0
description:
  - Switches a proxy by a file that it watches, or leads Kubernetes Services or Ingresses to a maintenance backend, and
    puts back exactly what it found.
  - Maintenance belongs to an owner, has a reason, and ends at a time. A small process of its own lifts it then, also
    when the run
    that began it was killed. That process ends with the machine or container it runs in; an overdue lease may be
    lifted by anybody.
author:
  - The eazepay.ops authors (@eazepay)
options:
  state:
    description: Whether maintenance is on; V(status) only looks.
    type: str
    choices: [enabled, disabled, status]
    default: status
  target:
    description: What is switched - V(compose) by the file O(switch), V(kubernetes) by O(services) and O(ingresses).
    type: str
    choices: [compose, kubernetes]
    required: true
  switch:
    description: Path of the file; the proxy answers 503 while it exists. Needed for O(target=compose).
    type: path
  namespace:
    description: Of the Services and Ingresses. The context's own by default.
    type: str
  services:
    description: Names of the Services that are led to O(backend).
    type: list
    elements: str
    default: []
  ingresses:
    description:
      - Names of the Ingresses all of whose paths, and default backend, are led to O(ingress_backend). Hosts, paths and
        TLS stay.
      - O(target=kubernetes) needs Services or Ingresses. For users who come by an Ingress one of the two is enough.
    type: list
    elements: str
    default: []
  backend:
    description:
      - Selector of the maintenance backend's pods, at least one of which must be ready in the same namespace. Its
        ports must have the
        names or numbers that the Services lead to. Needed to switch on with O(services).
    type: dict
  ingress_backend:
    description:
      - The Service that answers with 503 and Retry-After, in the same namespace; one of its pods must be ready. Needed
        to switch on with O(ingresses).
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      port:
        description: The name or number of its port.
        type: str
        default: "80"
  owner:
    description: Whose maintenance it is. Needed to turn it.
    type: str
  reason:
    description: Why it is on; needed to switch it on. With O(force), why it is turned although it is somebody else's.
    type: str
    default: ""
  duration:
    description: Seconds after which it lifts itself. Switching it on again as the same owner renews that.
    type: int
    default: 3600
  until:
    description:
      - Moment at which it ends at the latest, as in V(2026-12-05T01:00:00Z); the window that was announced.
      - One that is over is refused.
    type: str
    default: ""
  allow:
    description:
      - IP addresses that are let in all the same, to try what was done before everybody is. With O(target=compose)
        only. For each the proxy looks for a file of its name, in the folder O(switch) with C(.allow) behind it.
      - Behind another proxy each request has that one's address, unless the proxy restores the client's.
    type: list
    elements: str
    default: []
  force:
    description: Whether to turn what is somebody else's. O(reason) must say why.
    type: bool
    default: false
extends_documentation_fragment:
  - eazepay.ops.targets
  - eazepay.ops.attributes
attributes:
  idempotent:
    details:
      - Switching on again as the same owner renews the lease and reports no change.
"""

EXAMPLES = r"""
- name: Answer 503 for half an hour at most
  eazepay.ops.maintenance_mode:
    target: compose
    switch: /srv/maintenance/on
    state: enabled
    owner: "{{ run_id }}"
    reason: database upgrade
    duration: 1800
    allow: [10.1.2.3]

- name: Serve again
  eazepay.ops.maintenance_mode:
    target: compose
    switch: /srv/maintenance/on
    state: disabled
    owner: "{{ run_id }}"

- name: Lead a Service to the maintenance page
  eazepay.ops.maintenance_mode:
    target: kubernetes
    namespace: shop
    services: [edge]
    backend: {app: maintenance}
    state: enabled
    owner: "{{ run_id }}"
    reason: database upgrade

- name: Lead an Ingress there
  eazepay.ops.maintenance_mode:
    target: kubernetes
    namespace: shop
    ingresses: [shop]
    ingress_backend: {name: maintenance, port: http}
    state: enabled
    owner: "{{ run_id }}"
    reason: database upgrade
"""

RETURN = r"""
enabled:
  description: Whether maintenance is on.
  returned: success
  type: bool
overdue:
  description: Whether it is on although its time is over.
  returned: success
  type: bool
lease:
  description:
    - Whose it is, why (C(purpose)), since when and until when, and whom it lets in (C(allow)); empty when it is off.
  returned: success, and when refused
  type: dict
  sample: {owner: run-1, purpose: database upgrade, expires: "2026-11-26T12:00:00+00:00"}
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.targets import CLUSTER_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.api import INGRESSES, SERVICES, Api
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.cluster_switch import ClusterSwitch, Led
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.file_switch import FileSwitch
from ansible_collections.eazepay.ops.plugins.module_utils.maintenance.maintenance import Maintenance

SPEC: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["enabled", "disabled", "status"], "default": "status"},
    "target": {"type": "str", "choices": ["compose", "kubernetes"], "required": True},
    "switch": {"type": "path"},
    "namespace": {"type": "str"},
    "services": {"type": "list", "elements": "str", "default": []},
    "ingresses": {"type": "list", "elements": "str", "default": []},
    "backend": {"type": "dict"},
    "ingress_backend": {
        "type": "dict",
        "options": {"name": {"type": "str", "required": True}, "port": {"type": "str", "default": "80"}},
    },
    "owner": {"type": "str"},
    "reason": {"type": "str", "default": ""},
    "duration": {"type": "int", "default": 3600},
    "until": {"type": "str", "default": ""},
    "allow": {"type": "list", "elements": "str", "default": []},
    "force": {"type": "bool", "default": False},
    **CLUSTER_SPEC,
}


def open_switch(params: Dict[str, Any]) -> Any:
    if params["target"] == "compose":
        return FileSwitch(params["switch"])
    if not params["services"] and not params["ingresses"]:
        raise InputError("services", "neither services nor ingresses are named")
    if params["allow"]:
        raise InputError("allow", "Services and Ingresses lead all users to the same place; it is for target compose")
    if params["state"] == "enabled":
        for led, backend in (("services", "backend"), ("ingresses", "ingress_backend")):
            if params[led] and not params[backend]:
                raise InputError(backend, f"it is needed to switch {led}")
    pods = {str(key): str(value) for key, value in (params["backend"] or {}).items()}
    page = params["ingress_backend"] or {"name": "", "port": ""}
    port = {"number": int(page["port"])} if page["port"].isdigit() else {"name": page["port"]}
    all_led = [Led(SERVICES, name, pods) for name in params["services"]]
    all_led += [Led(INGRESSES, name, {"service": {"name": page["name"], "port": port}}) for name in params["ingresses"]]

    def connect() -> Api:
        return Api(params["kubeconfig"], params["context"], params["namespace"])

    return ClusterSwitch(connect, all_led)


def maintenance_mode(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    reason = params["reason"].strip()
    if not reason and (params["force"] or params["state"] == "enabled"):
        raise InputError("reason", "maintenance, and force, need one")
    if params["duration"] < 1:
        raise InputError("duration", "it is 1 second at least")
    maintenance = Maintenance(open_switch(params))
    force = reason if params["force"] else ""
    if params["state"] == "enabled":
        until, allow = params["until"].strip(), params["allow"]
        return maintenance.enable(params["owner"], reason, params["duration"], force, check, until, allow)
    if params["state"] == "disabled":
        return maintenance.disable(params["owner"], force, check)
    return maintenance.status()


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[
            ("state", "enabled", ("owner",)),
            ("state", "disabled", ("owner",)),
            ("target", "compose", ("switch",)),
        ],
        supports_check_mode=True,
    )

    def work() -> Dict[str, Any]:
        result = maintenance_mode(module.params, module.check_mode)
        if module._diff and result["changed"]:
            words = ["maintenance is off\n", "maintenance is on\n"]
            result["diff"] = {"before": words[not result["enabled"]], "after": words[result["enabled"]]}
        return result

    run(module, work)


if __name__ == "__main__":
    main()
