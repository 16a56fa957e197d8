#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health_gate
short_description: Let a run go on only when it is proved healthy, and stays so
version_added: 1.0.0
description:
  - Asks HTTP, TCP, TLS, PostgreSQL, Prometheus, Kubernetes, Docker and programs, all in one call and concurrently.
  - Waits until each check was good O(consecutive) times in a row; then, with O(hold), watches that they stay so.
  - Fails closed. What could not be asked, or gave nothing to judge by, did not pass.
  - In check mode each check is made once and the verdict is returned without failing. Programs, and requests other than
    GET and HEAD, are not made.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
  - eazepay.ops.checks
requirements:
  - "psycopg2 (Python), for PostgreSQL checks"
  - "kubernetes (Python), for Kubernetes checks"
options:
  deadline:
    description: Seconds for all checks to become good. Each is asked at least once; 0 does not wait for any.
    type: float
    default: 60
  interval:
    description: Seconds between two attempts at a check.
    type: float
    default: 2
  consecutive:
    description: How often in a row a check has to be good.
    type: int
    default: 1
  hold:
    description: Seconds that all checks have to stay good afterwards.
    type: float
    default: 0
  warm_up:
    description: Seconds at the beginning of O(hold) in which nothing counts.
    type: float
    default: 0
  hold_failures:
    description: So many bad answers in a row break the watch.
    type: int
    default: 3
  hold_window:
    description: How many of the last answers O(hold_bad) counts in.
    type: int
    default: 10
  hold_bad:
    description: So many bad answers among the last O(hold_window) break the watch.
    type: int
    default: 4
  since:
    description: When the rollout began, in seconds since 1970. No Prometheus window reaches back before it.
    type: float
  threads:
    description: How many attempts are under way at most.
    type: int
    default: 16
  report_only:
    description: Return the verdict without failing.
    type: bool
    default: false
seealso:
  - module: eazepay.ops.service_rollout
"""

EXAMPLES = r"""
- name: Both services answer, and the database has connections left
  eazepay.ops.health_gate:
    deadline: 120
    consecutive: 3
    checks:
      - name: identity
        http: {url: https://identity.example.com/health, json: {status: UP}, fail_days: 7}
      - name: transactions
        http: {url: https://transactions.example.com/actuator/health, json: {status: UP}}
      - name: database
        postgres:
          login_host: db.example.com
          login_user: monitor
          login_password: "{{ database_password }}"
          connections_limits: {warn: 70, fail: 90}

- name: The error rate stays low for five minutes
  eazepay.ops.health_gate:
    hold: 300
    since: "{{ rollout_began }}"
    checks:
      - name: error rate
        prometheus:
          url: https://prometheus.example.com
          query: sum(rate(http_requests_total{code=~"5.."}[$window])) / sum(rate(http_requests_total[$window]))
          volume: {query: 'sum(increase(http_requests_total[$window]))', min: 50}
          warn: 0.001
          fail: 0.01
          unit: ratio

- name: A customer can open a wallet and put money into it
  eazepay.ops.health_gate:
    checks:
      - name: wallet
        http:
          url: https://wallet.example.com/wallets
          timeout: 20
          steps:
            - {name: open, method: POST, body_json: {owner: smoke}, status: [201], capture: {wallet: id}}
            - name: deposit
              url: https://wallet.example.com/wallets/${wallet}/deposit
              method: POST
              body_json: {amount: 100}
              json: {balance: 100}
"""

RETURN = r"""
verdict:
  description: The gravest of all verdicts, from V(pass) over V(warn), V(no_data) and V(fail) to V(error).
  returned: always
  type: str
  sample: pass
checks:
  description: Each check.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str}
    kind: {description: What was asked., type: str}
    verdict: {description: 'V(pass), V(warn) (between target and alert), V(fail), V(no_data) or V(error).', type: str}
    ok: {description: Whether the run may go on with it., type: bool}
    reason: {description: "Why, in a sentence.", type: str}
    attempts: {description: How often it was asked., type: int}
    seconds: {description: How long all attempts took., type: float}
    limits: {description: Its C(warn) and C(fail)., type: dict}
    unit: {description: The unit of its values., type: str}
    samples:
      description: The last attempts with C(at) (seconds since 1970), C(verdict) and C(value).
      type: list
      elements: dict
    query: {description: The query as it was sent last., type: str, returned: for Prometheus}
    warnings: {description: What Prometheus warned of., type: list, elements: str, returned: for Prometheus}
    baseline: {description: The value before., type: float, returned: with a baseline}
skipped_checks:
  description: Checks that check mode does not make, for they may change something.
  returned: always
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: always
  type: float
msg:
  description: A line for each check.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor
from ansible_collections.eazepay.ops.plugins.module_utils.gate import gate
from ansible_collections.eazepay.ops.plugins.module_utils.gate.arguments import CHECKS
from ansible_collections.eazepay.ops.plugins.module_utils.gate.options import examine


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "checks": {**CHECKS, "required": True},
            "deadline": {"type": "float", "default": 60},
            "interval": {"type": "float", "default": 2},
            "consecutive": {"type": "int", "default": 1},
            "hold": {"type": "float", "default": 0},
            "warm_up": {"type": "float", "default": 0},
            "hold_failures": {"type": "int", "default": 3},
            "hold_window": {"type": "int", "default": 10},
            "hold_bad": {"type": "int", "default": 4},
            "since": {"type": "float"},
            "threads": {"type": "int", "default": 16},
            "report_only": {"type": "bool", "default": False},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    progress = Progress(module.params["progress_file"], Redactor().text)

    def work():
        examine(module.params["checks"])
        result = gate.run(module.params, module.check_mode, progress)
        for one in result["checks"]:
            for warning in one.get("warnings") or ():
                module.warn(f"{one['name']}: {warning}")
        return result

    run(module, work)


if __name__ == "__main__":
    main()
