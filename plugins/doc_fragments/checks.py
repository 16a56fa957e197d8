# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ruff: noqa: E501 - a line an option
from __future__ import annotations

import textwrap

# As module_utils/gate/logs.py has it, which a documentation fragment cannot import; ansible-test compares them.
PATTERN = r'(^|[^A-Za-z])(ERROR|FATAL|CRITICAL|PANIC|Traceback)|"(level|severity)": ?"(error|fatal|critical|panic)"'

LIMITS = """
type: dict
suboptions:
  warn: {description: 'The target; beyond it the check warns.', type: float}
  fail: {description: 'The alert; beyond it the check fails.', type: float}
  direction: {description: 'On which side the bad values lie.', type: str, choices: [above, below], default: above}
"""

TLS = """
validate_certs: {description: 'Whether the server''s certificate must be trusted and be for its name.', type: bool, default: true}
ca_cert: {description: 'File of the authorities that are trusted. The system''s own without it.', type: path}
client_cert: {description: 'File of the certificate to show.', type: path}
client_key: {description: 'File of that certificate''s key.', type: path}
"""

STEP = """
url: {description: 'The address. C(${name}) stands for what an earlier step captured under that name.', type: str}
host: {description: 'The Host header; also the name that the certificate must be for.', type: str}
headers: {description: 'More headers.', type: dict}
body: {description: 'What to send.', type: str}
body_json: {description: 'What to send as JSON.', type: raw}
json:
  description:
    - What the answer's JSON must hold, by path, as in C(status) or C(items[0].state).
    - A value, or a dictionary of C(equals), C(not_equals), C(in), C(matches), C(gt), C(ge), C(lt), C(le), C(exists).
  type: dict
body_matches: {description: 'A regular expression that must match somewhere in the body.', type: str}
headers_match: {description: 'Regular expressions that headers must match, by name.', type: dict}
capture: {description: 'Names for later steps, each with the JSON path of its value.', type: dict}
warn_seconds: {description: 'The check warns when the answer takes longer.', type: float}
fail_seconds: {description: 'The check fails when the answer takes longer.', type: float}
"""

CHECK = f"""
name: {{description: 'What the check is called; unique.', type: str, required: true}}
no_data:
  description: What it means that there is nothing to judge by. An error is never a pass, whatever is said here.
  type: str
  choices: [fail, warn, pass]
  default: fail
http:
  description: An HTTP request, or several in a row. Proxies of the environment are not used.
  type: dict
  suboptions:
{textwrap.indent(STEP, "    ")}
    method: {{description: 'The method.', type: str, default: GET}}
    status: {{description: 'The statuses that are good.', type: list, elements: int, default: [200]}}
    bearer_token: {{description: 'A token to send.', type: str}}
    redirects:
      description: Whether redirects are followed. A refused one is judged by its own status.
      type: str
      choices: [refuse, follow]
      default: refuse
    max_redirects: {{description: 'How many redirects are followed.', type: int, default: 5}}
    max_bytes: {{description: 'How large a body may be; also once it is unpacked.', type: int, default: 1048576}}
    timeout: {{description: 'Seconds for everything together; of a scenario, for all its steps.', type: float, default: 5}}
    ip_version: {{description: 'Which addresses are used.', type: str, choices: [any, '4', '6'], default: any}}
    warn_days: {{description: 'The check warns when the certificate lasts fewer days.', type: float}}
    fail_days: {{description: 'The check fails when the certificate lasts fewer days.', type: float}}
{textwrap.indent(TLS, "    ")}
    steps:
      description: The requests of a scenario, in order. What a step does not say is taken from the check.
      type: list
      elements: dict
      suboptions:
        name: {{description: 'What the step is called in reasons.', type: str}}
        method: {{description: 'The method.', type: str}}
        status: {{description: 'The statuses that are good.', type: list, elements: int}}
{textwrap.indent(STEP, "        ")}
tcp:
  description: Whether a port can be connected to.
  type: dict
  suboptions:
    host: {{description: 'The host.', type: str, required: true}}
    port: {{description: 'The port.', type: int, required: true}}
    timeout: {{description: 'Seconds.', type: float, default: 5}}
    ip_version: {{description: 'Which addresses are used.', type: str, choices: [any, '4', '6'], default: any}}
tls:
  description: Whether a certificate is trusted, for the right name, and lasts.
  type: dict
  suboptions:
    host: {{description: 'The host.', type: str, required: true}}
    port: {{description: 'The port.', type: int, default: 443}}
    server_name: {{description: 'The name that the certificate must be for. The host without it.', type: str}}
    ca_cert: {{description: 'File of the authorities that are trusted. The system''s own without it.', type: path}}
    client_cert: {{description: 'File of the certificate to show.', type: path}}
    client_key: {{description: 'File of that certificate''s key.', type: path}}
    warn_days: {{description: 'The check warns when the certificate lasts fewer days.', type: float, default: 30}}
    fail_days: {{description: 'The check fails when the certificate lasts fewer days.', type: float, default: 7}}
    timeout: {{description: 'Seconds.', type: float, default: 5}}
postgres:
  description: Whether a PostgreSQL server answers, and is well by what it says of itself.
  type: dict
  suboptions:
    login_host: {{description: 'Host of the server.', type: str}}
    login_port: {{description: 'Port of the server.', type: int}}
    login_user: {{description: 'Role to ask as; one with pg_monitor sees everything.', type: str}}
    login_password: {{description: 'Password of the role.', type: str}}
    login_unix_socket: {{description: 'Folder of the server''s Unix socket.', type: path}}
    login_db: {{description: 'Database to ask.', type: str, default: postgres}}
    ssl_mode: {{description: 'How TLS is used.', type: str, choices: [allow, disable, prefer, require, verify-ca, verify-full], default: prefer}}
    ca_cert: {{description: 'File of the authorities that are trusted.', type: path}}
    query: {{description: 'A query that gives one value. It runs read-only.', type: str}}
    query_limits:
      description: The limits of that value.
{textwrap.indent(LIMITS, "      ")}
    connections_limits:
      description: The limits of the connections in use, in percent of max_connections.
{textwrap.indent(LIMITS, "      ")}
    replication_lag_limits:
      description: The limits of the replication's lag, in seconds. No standby is no data.
{textwrap.indent(LIMITS, "      ")}
    oldest_transaction_limits:
      description: The limits of the oldest transaction's age, in seconds.
{textwrap.indent(LIMITS, "      ")}
    invalid_indexes: {{description: 'Whether an index that a failed build left behind is a failure.', type: bool, default: false}}
    timeout: {{description: 'Seconds.', type: float, default: 10}}
prometheus:
  description: A question to Prometheus.
  type: dict
  suboptions:
    url: {{description: 'Address of Prometheus.', type: str, required: true}}
    query: {{description: 'The query. C($window) stands for the time that it may look back, as in C(30s).', type: str, required: true}}
    warn: {{description: 'The target; beyond it the check warns.', type: float}}
    fail: {{description: 'The alert; beyond it the check fails.', type: float}}
    direction: {{description: 'On which side the bad values lie.', type: str, choices: [above, below], default: above}}
    any_value: {{description: 'Whether any number will do, for it is only asked whether there is data. Without limits only.', type: bool, default: false}}
    unit: {{description: 'Unit for people; C(ratio) is shown in percent.', type: str}}
    series: {{description: 'How many series the answer must have, exactly. 0 is any number but none.', type: int, default: 1}}
    window: {{description: 'Seconds to look back; never to before the moment that O(ignore:since) says.', type: float, default: 300}}
    min_window: {{description: 'Seconds that have to be there to look back at; less is no data.', type: float, default: 20}}
    step: {{description: 'Seconds between points. With it the whole window is judged point by point.', type: float}}
    judge: {{description: 'What counts of the points.', type: str, choices: [worst, last, mean], default: worst}}
    min_points: {{description: 'How many points each series must have.', type: int, default: 1}}
    volume:
      description: How much there has to be to judge by; less is no data.
      type: dict
      suboptions:
        query: {{description: 'A query that counts.', type: str, required: true}}
        min: {{description: 'The least.', type: float, required: true}}
    baseline:
      description: A comparison with the value at the moment that the rollout began.
      type: dict
      suboptions:
        factor: {{description: 'How many times worse it may be.', type: float, default: 2}}
        floor: {{description: 'A value that is good whatever the baseline was.', type: float, required: true}}
    headers: {{description: 'More headers.', type: dict}}
    bearer_token: {{description: 'A token to send.', type: str}}
    timeout: {{description: 'Seconds.', type: float, default: 10}}
    max_bytes: {{description: 'How large the answer may be.', type: int, default: 8388608}}
{textwrap.indent(TLS, "    ")}
kubernetes:
  description: Whether a workload is healthy, as M(eazepay.ops.service_rollout) judges it.
  type: dict
  suboptions:
    workload: {{description: 'Its name.', type: str, required: true}}
    kind: {{description: 'Its kind.', type: str, choices: [Deployment, StatefulSet, DaemonSet], default: Deployment}}
    namespace: {{description: 'Its namespace.', type: str}}
    kubeconfig: {{description: 'The kubeconfig file.', type: path}}
    context: {{description: 'The context of it.', type: str}}
    timeout: {{description: 'Seconds.', type: float, default: 30}}
docker:
  description: Whether a container runs, and is healthy where it has a health check.
  type: dict
  suboptions:
    container: {{description: 'Its name.', type: str}}
    project: {{description: 'The Compose project.', type: str}}
    service: {{description: 'The Compose service; all its containers have to be healthy.', type: str}}
    docker_host: {{description: 'Address of the engine.', type: str}}
    timeout: {{description: 'Seconds.', type: float, default: 20}}
command:
  description: A program, run without a shell.
  type: dict
  suboptions:
    argv: {{description: 'The program and its arguments.', type: list, elements: str, required: true}}
    rc: {{description: 'The exit codes that are good.', type: list, elements: int, default: [0]}}
    stdout_matches: {{description: 'A regular expression that must match somewhere in the output.', type: str}}
    env: {{description: 'Added to the environment.', type: dict}}
    chdir: {{description: 'Where it runs.', type: path}}
    timeout: {{description: 'Seconds.', type: float, default: 60}}
logs:
  description:
    - A log, which must hold no burst of errors. Without any line that has a time there is no data.
    - Needs O(ignore:argv) or O(ignore:pods).
  type: dict
  suboptions:
    argv: {{description: 'A program that prints the log, and its arguments.', type: list, elements: str}}
    pods:
      description:
        - The pods on Kubernetes whose logs they are, all containers and what they wrote before a restart included.
        - A pod that is ending need not have its log any more; each other one must.
      type: dict
      suboptions:
        selector: {{description: 'Their labels, as in V(app=wallet).', type: str, required: true}}
        namespace: {{description: 'Their namespace. That of the context without it.', type: str}}
        kubeconfig: {{description: 'File with the access; as usual without it.', type: path}}
        context: {{description: 'The context in it; the current one without it.', type: str}}
        since: {{description: 'An RFC 3339 time from which on lines count. All without it.', type: str}}
    pattern:
      description: A regular expression for lines that are errors.
      type: str
      default: '{PATTERN}'
    most: {{description: 'How many errors within O(ignore:window) are no burst.', type: int, default: 10}}
    window:
      description: Seconds. When a line was written is taken from its first ISO time; one without any counts to every window.
      type: float
      default: 60
    chdir: {{description: 'Where it runs.', type: path}}
    timeout: {{description: 'Seconds.', type: float, default: 60}}
"""


def option(name: str, description: str, indent: int, required: bool) -> str:
    """A list of checks as an option."""
    text = f"{name}:\n  description: {description}\n  type: list\n  elements: dict\n"
    text += f"  {'required: true' if required else 'default: []'}\n  suboptions:\n{textwrap.indent(CHECK, '    ')}"
    return textwrap.indent(text, " " * indent)


class ModuleDocFragment:
    DOCUMENTATION: str = "options:\n" + option("checks", "What is asked, all at once. Each names one kind.", 2, True)

    MONITOR: str = """
options:
  monitor:
    description:
      - Checks that are made every few seconds while the rollout is under way, and after it for as long as O(monitor.bake).
      - An alert condition stops the rollout at once, and O(on_failure) applies. A lack of data is no alert.
    type: dict
    suboptions:
      interval: {description: 'Seconds between two attempts.', type: float, default: 5}
      consecutive: {description: 'So many bad answers in a row are an alert.', type: int, default: 2}
      bake: {description: 'Seconds that the watch goes on once all services are healthy.', type: int, default: 0}
      since: {description: 'No window reaches back before this moment (seconds since 1970). The task''s beginning without it.', type: float}
""" + option("checks", "As in M(eazepay.ops.health_gate). None is no monitor.", 6, False)

    ITEMS: str = """
options:
  items:
    description: The checklist. Each item names one kind of evidence.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: 'What the item is called; unique.', type: str, required: true}
      file:
        description: A file with the outcome, which somebody or something left.
        type: dict
        suboptions:
          path:
            description:
              - The file, JSON with C(state) (C(success)), C(revision), C(at) (ISO 8601), and perhaps C(detail).
              - C($revision) and C($release) stand for those of the release.
            type: str
            required: true
          max_age: {description: 'How old it may be, as in V(24h) or V(7d).', type: str, default: 24h}
          of_revision: {description: 'Whether it must be about this revision.', type: bool, default: true}
      migrated:
        description: The ledger of another environment, in which this release must have been deployed, migrations included.
        type: dict
        suboptions:
          store: {description: 'As O(ledger).', type: str, required: true}
          environment: {description: 'What the reader calls it.', type: str, default: ''}
      secrets:
        description: Names in AWS Secrets Manager. It is asked about them; none is read.
        type: list
        elements: str
      backup:
        description: The last verified backup.
        type: dict
        suboptions:
          dest: {description: 'As in M(eazepay.ops.pg_backup).', type: str, required: true}
          databases: {description: 'What it must hold.', type: list, elements: str, required: true}
          max_age: {description: 'How old it may be.', type: str, default: 24h}
      rollback:
        description: What the last good release of O(ledger) needs to come back - its images, portals and a backup.
        type: dict
        suboptions:
          portals:
            description: Buckets of portals.
            type: list
            elements: dict
            default: []
            suboptions:
              bucket: {description: 'The bucket.', type: str, required: true}
              prefix: {description: 'The prefix in it.', type: str, default: ''}
          backups: {description: 'Where backups are. Empty asks for none.', type: str, default: ''}
          allow_first: {description: 'Whether a ledger without a good release is no reason to stop.', type: bool, default: false}
      notified:
        description: A notice in O(ledger) that people were told.
        type: dict
        suboptions:
          kind: {description: 'What was announced.', type: str, choices: [deployment, maintenance], default: deployment}
          notice: {description: 'How long before they must have been told.', type: str, default: 1h}
          max_age: {description: 'How long ago at most.', type: str, default: 7d}
      freezes:
        description:
          - Times in which nothing is deployed, each with C(reason), and C(from) and C(until) in ISO 8601; or, every week,
            C(days) (V(mon) to V(sun)), C(from) and C(until) (V(15:00)) and C(offset) from UTC (V(+03:00)).
        type: list
        elements: dict
      found:
        description: What was found elsewhere, by a task before.
        type: dict
        suboptions:
          verdict: {description: 'What it means.', type: str, choices: [pass, warn, fail, error], required: true}
          reason: {description: 'Why, in a sentence.', type: str, required: true}
""" + option(
        "checks",
        "As in M(eazepay.ops.health_gate); C($revision) and C($release) stand for those of the release.",
        6,
        False,
    ).replace("        default: []\n", "")
