#!/usr/bin/python
# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slack_message
short_description: Sends a message to Slack, in a thread, or in place of an earlier one
version_added: 1.0.0
description:
  - Sends by an incoming webhook, or by the Web API, which can answer in a thread and edit.
  - Obeys Retry-After, tries again after errors of the server and time-outs, and not after what Slack refuses for good.
  - Fails only where O(must_arrive) is set; otherwise RV(delivered) and RV(error) say how it went.
author:
  - The eazepay.ops authors (@eazepay)
options:
  text:
    description: What to say.
    type: str
    required: true
  webhook_url:
    description: An incoming webhook.
    type: str
  token:
    description: A bot's token.
    type: str
  channel:
    description: The channel's id. Needed with O(token).
    type: str
  api:
    description: Address of the Web API.
    type: str
    default: https://slack.com/api
  thread:
    description: The RV(ts) of the message that this one answers. A webhook cannot, and sends a plain message.
    type: str
    default: ""
  edit:
    description: The RV(ts) of the message that this one replaces. A webhook cannot, and sends a plain message.
    type: str
    default: ""
  attempts:
    description: How often it is tried.
    type: int
    default: 5
  retry_limit:
    description: Seconds that are waited at most before another attempt, whatever Slack asks.
    type: float
    default: 60
  must_arrive:
    description: Whether the task fails when it does not arrive.
    type: bool
    default: false
extends_documentation_fragment:
  - eazepay.ops.attributes
attributes:
  check_mode:
    details:
      - Sends nothing.
  idempotent:
    support: none
    details:
      - Each call sends a message, but for O(edit).
"""

EXAMPLES = r"""
- name: Say that it begins
  eazepay.ops.slack_message:
    token: "{{ lookup('env', 'SLACK_TOKEN') }}"
    channel: C0123456
    text: deploy v1.1.0 begins
  register: first

- name: Go on in its thread
  eazepay.ops.slack_message:
    token: "{{ lookup('env', 'SLACK_TOKEN') }}"
    channel: "{{ first.channel }}"
    thread: "{{ first.ts }}"
    text: the databases are backed up
"""

RETURN = r"""
delivered:
  description: Whether Slack took it.
  returned: always
  type: bool
attempts:
  description: How often it was tried.
  returned: always
  type: int
error:
  description: Why Slack did not take it; empty when it did.
  returned: always
  type: str
channel:
  description: The channel's id; empty for a webhook.
  returned: always
  type: str
ts:
  description: The message's name, for O(thread) and O(edit); empty for a webhook.
  returned: always
  type: str
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eazepay.ops.plugins.module_utils.announce.slack import send
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.module import run

SPEC: Dict[str, Any] = {
    "text": {"type": "str", "required": True},
    "webhook_url": {"type": "str", "no_log": True},
    "token": {"type": "str", "no_log": True},
    "channel": {"type": "str"},
    "api": {"type": "str", "default": "https://slack.com/api"},
    "thread": {"type": "str", "default": ""},
    "edit": {"type": "str", "default": ""},
    "attempts": {"type": "int", "default": 5},
    "retry_limit": {"type": "float", "default": 60},
    "must_arrive": {"type": "bool", "default": False},
}


def slack_message(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    if check:
        return {"changed": True, "delivered": True, "attempts": 0, "error": "", "channel": "", "ts": ""}
    sent = send(
        params,
        params["text"],
        thread=params["thread"],
        edit=params["edit"],
        attempts=max(1, params["attempts"]),
        limit=params["retry_limit"],
    )
    result = {"changed": sent.delivered, **sent._asdict()}
    if params["must_arrive"] and not sent.delivered:
        raise OpsError("send", "the message to Slack", sent.error, "Tell them yourself, or run again.", **result)
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        required_one_of=[("webhook_url", "token")],
        mutually_exclusive=[("webhook_url", "token")],
        required_together=[("token", "channel")],
        supports_check_mode=True,
    )
    secrets = [module.params[name] for name in ("webhook_url", "token") if module.params[name]]
    run(module, lambda: slack_message(module.params, module.check_mode), secrets)


if __name__ == "__main__":
    main()
