#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_rollout
short_description: Roll one or many services out, in order, watched, and all put back when one fails
version_added: 1.0.0
description:
  - Brings services to given images, restarts them, or puts them back, on Kubernetes or on a Compose host.
  - Works on all services in one call, as parallel as their dependencies allow. A dependent starts only when all that
    it depends on is healthy.
  - Plans before it acts. What cannot work (an unknown container, a missing Secret, an exhausted quota, a paused
    workload, a forbidden verb) fails before anything is touched.
  - Tells the root cause of a failure (an image that does not exist, the exit code and last words of a container that
    ends, the probe's or the scheduler's own message) as soon as the cluster knows it, not when a time-out passes.
  - Puts every touched service back to the pod template that stood before, in the reverse order, and proves it.
  - A run that died (even by SIGKILL) is taken up by the next one where it stands.
  - Leaves C(replicas) alone, and every field and annotation that it does not set itself.
author:
  - The eazepay.ops authors (@eazepay)
extends_documentation_fragment:
  - eazepay.ops.targets.services
  - eazepay.ops.attributes
  - eazepay.ops.attributes.progress
  - eazepay.ops.checks.monitor
requirements:
  - "kubernetes >= 12 (Python), for O(target=kubernetes)"
  - "docker compose >= 2, for O(target=compose)"
options:
  services:
    description: The services. One that nothing differs for is not touched.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the service is called here, in O(services[].depends_on) and in the result.
        type: str
        required: true
      kind:
        description: The kind of its workload. Ignored with O(target=compose).
        type: str
        choices: [Deployment, StatefulSet, DaemonSet]
        default: Deployment
      workload:
        description: The name of its workload, or of its Compose service. The service's name by default.
        type: str
      image:
        description: The image of its only container, or of the one that is named like the workload or the service.
        type: str
      images:
        description: Images by container, init containers included. Containers that are not named keep theirs.
        type: dict
      depends_on:
        description: Names of services, of this call, that have to be healthy before this one starts.
        type: list
        elements: str
        default: []
      restart_token:
        description:
          - Any text. When it differs from the last one, the pods are replaced though the images stay.
          - The same token restarts once only, so that the second run changes nothing.
        type: str
      to_revision:
        description: The revision to go back to, for O(state=rolled_back).
        type: int
  state:
    description:
      - V(deployed) brings the images about.
      - V(restarted) replaces the pods, images as they are; needs a restart token or O(release).
      - >-
        V(rolled_back) goes back: to a revision, to the given images, to what O(ledger) has recorded as good, to the
        revision that was released as O(release), or, without any of these, to what stood before a run that did not end.
      - V(observed) touches nothing and returns how each service stands.
    type: str
    choices: [deployed, restarted, rolled_back, observed]
    default: deployed
  target:
    description: What the services run on.
    type: str
    choices: [kubernetes, compose]
    default: kubernetes
  release:
    description: The name of the release. It is recorded on every workload, with a change cause.
    type: str
  restart_token:
    description: The restart token of all services that have none of their own.
    type: str
  to_revision:
    description: The revision to go back to, for O(state=rolled_back), of all services that do not name their own.
    type: int
  ledger:
    description:
      - For O(state=rolled_back). The release ledger to ask for the way back, an address like those of
        O(eazepay.ops.release_ledger#module:store). S3 is reached by the environment's credentials.
      - The services go back to O(release), or, without one, to the newest good release other than the one in place.
        The record's C(images), by the names of services, are brought about; a service that is not among them goes
        back to the revision that was released under that name.
      - Services with images or a revision of their own keep to these.
    type: str
  resolve_digests:
    description:
      - Ask the registries for the digest of each image that is given by its tag, and roll that out as
        C(repository:tag@digest), so that a tag that was moved rolls and one that moves later does not.
      - A registry that cannot be asked from the host that runs the module is a warning, and the tag stays. An image
        that a registry does not have is an error before anything is touched.
      - The login is the one that C(docker login) left.
    type: bool
    default: false
  on_failure:
    description:
      - V(rollback_all) puts every touched service back. V(rollback_failed) puts only those back that failed, and lets
        those finish that are rolling. V(hold) puts nothing back.
      - No service is started after a failure, whatever is chosen.
      - SIGTERM and SIGINT count as a failure.
    type: str
    choices: [rollback_all, rollback_failed, hold]
    default: rollback_all
  max_parallel:
    description: How many services may roll at once. 0 is as many as the dependencies allow.
    type: int
    default: 0
  timeout:
    description: Seconds for all services to become healthy.
    type: int
    default: 600
  rollback_timeout:
    description: Seconds for a service that is put back to become healthy. O(timeout) by default.
    type: int
  soak:
    description:
      - Seconds for which all services have to stay healthy once they all are.
      - A container that ends meanwhile is a failure.
    type: int
    default: 0
  graces:
    description:
      - Seconds that a cause which may pass is given before it counts as a failure, by its code.
      - >-
        The defaults are C(crash_loop) 20, C(init_failed) 20, C(oom_killed) 10, C(start_error) 10, C(image_pull) 20,
        C(unschedulable) 30, C(volume) 30, C(sandbox) 60, C(evicted) 60, C(refused) 2, C(config_pending) 60,
        C(config_invalid) 5; C(not_ready) has until O(timeout).
    type: dict
    default: {}
  preflight:
    description:
      - Look for missing Secrets, ConfigMaps, keys, volume claims and service accounts, and for exhausted quotas, before
        anything is touched.
      - The server's dry run is made in any case.
    type: bool
    default: true
seealso:
  - module: eazepay.ops.health_gate
  - module: eazepay.ops.release_ledger
"""

EXAMPLES = r"""
- name: Deploy a release of two services, one after the other
  eazepay.ops.service_rollout:
    namespace: production
    release: v1.1.0
    services:
      - name: identity
        workload: identity-service
        image: registry.example.com/shop/identity-service:v1.1.0
      - name: transaction
        workload: transaction-service
        images:
          app: registry.example.com/shop/transaction-service:v1.1.0
          migrate: registry.example.com/shop/transaction-migrations:v1.1.0
        depends_on: [identity]
    soak: 30

- name: Restart after a secret was changed, once for this change
  eazepay.ops.service_rollout:
    namespace: production
    state: restarted
    restart_token: "{{ lookup('ansible.builtin.file', 'secrets.version') }}"
    services:
      - name: identity-service

- name: Back to the release before
  eazepay.ops.service_rollout:
    namespace: production
    state: rolled_back
    release: v1.0.0
    services:
      - name: identity-service
      - name: transaction-service

- name: Back to the last good release, whichever that was
  eazepay.ops.service_rollout:
    namespace: production
    state: rolled_back
    ledger: s3://ledger/production
    services:
      - name: identity-service
      - name: transaction-service

- name: Back to a revision that kubectl rollout history shows
  eazepay.ops.service_rollout:
    namespace: production
    state: rolled_back
    to_revision: 7
    services:
      - name: identity-service

- name: How do they stand?
  eazepay.ops.service_rollout:
    namespace: production
    state: observed
    services:
      - name: identity-service
  register: standing
"""

RETURN = r"""
services:
  description: Every service, in the order in which they were rolled. Returned on failure, too.
  returned: when it could be planned
  type: list
  elements: dict
  contains:
    name:
      description: The service's name.
      type: str
    kind:
      description: The kind of its workload.
      type: str
    workload:
      description: The name of its workload.
      type: str
    action:
      description: What was to be done. V(none), V(roll), V(restart), or V(adopt) for one that was already rolling.
      type: str
    reason:
      description: Why, as in V(v1.0.0 -> v1.1.0).
      type: str
    outcome:
      description:
        - V(unchanged), V(healthy), V(adopted), V(failed), V(rolled_back), V(rollback_failed), or V(skipped) when it was
          never started.
        - V(planned) in check mode.
        - The verdict (V(healthy), V(progressing), V(failing), V(failed)) with O(state=observed).
      type: str
    cause:
      description: The C(code) and C(text) of why it failed.
      type: dict
    rollback_cause:
      description: The C(code) and C(text) of why it could not be put back.
      type: dict
    before:
      description: Its C(images) by container, C(revision) and C(release) before.
      type: dict
    after:
      description:
        - Its C(images) by container and C(release) as planned, and the C(revision) that they got. That is empty in
          check mode and when it was never started.
      type: dict
    ready:
      description: How many pods of the new template are available.
      type: int
    wanted:
      description: How many pods are wanted.
      type: int
    restarts:
      description: How often containers of the new template were started again.
      type: int
    detail:
      description: The counts in words.
      type: str
    seconds:
      description: The seconds that each phase took, V(waiting), V(rolling) and V(putting_back).
      type: dict
    events:
      description: The warnings about it, oldest first. Only of one that is not healthy.
      type: list
      elements: str
    logs:
      description:
        - The last lines (C(text)) of each C(container) that is not well, also before its restart, without secrets.
      type: list
      elements: dict
  sample:
    - {name: identity, outcome: healthy, reason: v1.0.0 -> v1.1.0, seconds: {rolling: 7.2}}
rolled_back:
  description: The names of the services that were put back and proved healthy.
  returned: when it could be planned
  type: list
  elements: str
plan:
  description: The C(name), C(action) and C(reason) of every step.
  returned: when it could be planned
  type: list
  elements: dict
monitor:
  description: The monitor's checks with their samples, as M(eazepay.ops.health_gate) returns them.
  returned: with O(monitor)
  type: list
  elements: dict
seconds:
  description: How long it took.
  returned: when something was rolled
  type: float
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor
from ansible_collections.eazepay.ops.plugins.module_utils.common.targets import SERVICES_SPEC
from ansible_collections.eazepay.ops.plugins.module_utils.gate.arguments import MONITOR
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.run import rollout

SERVICE = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["Deployment", "StatefulSet", "DaemonSet"], "default": "Deployment"},
    "workload": {"type": "str"},
    "image": {"type": "str"},
    "images": {"type": "dict"},
    "depends_on": {"type": "list", "elements": "str", "default": []},
    "restart_token": {"type": "str", "no_log": False},
    "to_revision": {"type": "int"},
}


def monitored(options, check_mode, progress):
    """The monitor for the length of a block. Without checks there is none, and nothing of it is loaded."""
    if not (options or {}).get("checks"):
        return contextlib.nullcontext()
    from ansible_collections.eazepay.ops.plugins.module_utils.gate.monitor import watching

    return watching(options, check_mode, progress)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True, "options": SERVICE},
            "state": {
                "type": "str",
                "choices": ["deployed", "restarted", "rolled_back", "observed"],
                "default": "deployed",
            },
            "target": {"type": "str", "choices": ["kubernetes", "compose"], "default": "kubernetes"},
            **SERVICES_SPEC,
            "release": {"type": "str"},
            "restart_token": {"type": "str", "no_log": False},
            "to_revision": {"type": "int"},
            "ledger": {"type": "str"},
            "resolve_digests": {"type": "bool", "default": False},
            "on_failure": {
                "type": "str",
                "choices": ["rollback_all", "rollback_failed", "hold"],
                "default": "rollback_all",
            },
            "max_parallel": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 600},
            "rollback_timeout": {"type": "int"},
            "soak": {"type": "int", "default": 0},
            "graces": {"type": "dict", "default": {}},
            "preflight": {"type": "bool", "default": True},
            "monitor": {"type": "dict", "options": MONITOR},
            "progress_file": {"type": "path"},
        },
        required_if=[("target", "compose", ["compose"])],
        mutually_exclusive=[("ledger", "to_revision")],
        supports_check_mode=True,
    )
    progress = Progress(module.params["progress_file"], Redactor().text)

    def warn(result):
        for warning in result.pop("warnings", ()):
            module.warn(warning)

    def work():
        try:
            with monitored(module.params["monitor"], module.check_mode, progress) as monitor:
                result = rollout(module.params, module.check_mode, progress, monitor=monitor and monitor.breach)
                if monitor:
                    result["monitor"] = monitor.report()
        except OpsError as error:
            warn(error.result)
            raise
        warn(result)
        if not module._diff:
            result.pop("diff", None)
        return result

    run(module, work)


if __name__ == "__main__":
    main()
