"""A hundred checks in one call against `ansible.builtin.uri` in a loop, and how soon an alert stops a rollout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.table import Table
from tests.integration.gate.servers import Hostile, serving
from tests.modules import finish_module, start_module

CHECKS = 100
ATTEMPTS, PAUSE, SLOW = 3, 0.2, 0.5  # each contender asks the bad one so often, with such pauses; so long it takes
INTERVAL = 2.0

# Both say when their task began and ended: what Ansible needs to start is in neither.
PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {{began: "{{{{ now().timestamp() }}}}"}}
    - name: The contender
      {task}
      register: answer
      ignore_errors: true
    - ansible.builtin.copy:
        content: "{{{{ {{'seconds': now().timestamp() - began | float, 'bad': bad}} | to_json }}}}"
        dest: "{{{{ result }}}}"
        mode: "0600"
      vars: {{bad: "{bad}"}}
"""
URI = f"""ansible.builtin.uri: {{url: "{{{{ item }}}}", timeout: 5}}
      loop: "{{{{ urls }}}}"
      until: answer is succeeded
      retries: {ATTEMPTS - 1}
      delay: {PAUSE}"""
GATE = f"""eazepay.ops.health_gate: {{checks: "{{{{ checks }}}}", deadline: {ATTEMPTS * SLOW}, interval: {PAUSE}}}"""


class Service(Hostile):
    def on_bad(self):
        time.sleep(SLOW)
        self.answer(b"{}", 503)

    def on_turning(self):
        down = self.server.turned.is_set()
        self.answer(b"{}", 503 if down else 200)


def play(folder: Path, name: str, task: str, bad: str, variables: dict) -> dict:
    """The seconds of a contender's task, and which of the addresses it found to be bad."""
    result = folder / f"{name}.json"
    (folder / f"{name}.yml").write_text(PLAYBOOK.format(task=task, bad=bad))
    given = {**variables, "result": str(result), "ansible_python_interpreter": sys.executable}
    (folder / "vars.json").write_text(json.dumps(given))
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = [program, "-i", "localhost,", folder / f"{name}.yml", "-e", f"@{folder}/vars.json"]
    done = subprocess.run(argv, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False)
    if not result.exists():
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-1000:])
    return json.loads(result.read_text())


def hundred() -> tuple[list[float], list[float]]:
    """The seconds of the loop, and those of the gate."""
    times: tuple[list[float], list[float]] = [], []
    with serving(Service) as server, tempfile.TemporaryDirectory() as scratch:
        paths = [f"ok?{number}" for number in range(CHECKS)]
        paths[CHECKS // 2] = "bad"
        urls = [f"{server.url}/{path}" for path in paths]
        checks = [{"name": url, "http": {"url": url}} for url in urls]
        contenders = (
            ("uri", URI, "{{ answer.results | selectattr('failed') | map(attribute='item') }}"),
            ("gate", GATE, "{{ answer.checks | rejectattr('ok') | map(attribute='name') }}"),
        )
        # The loop takes a minute or two: once is enough, and the gate's turns lie before and after it.
        for index in (1, 0, 1):
            name, task, bad = contenders[index]
            before = asked(server)
            said = play(Path(scratch), name, task, bad, {"urls": urls, "checks": checks})
            if said["bad"] != [f"{server.url}/bad"] or asked(server) - before != ATTEMPTS:
                raise RuntimeError(f"{name} found {said['bad']} in {asked(server) - before} attempts")
            times[index].append(said["seconds"])
    return times


def asked(server) -> int:
    return sum(path == "/bad" for _method, path, _headers in server.seen)


def stopped() -> list[float]:
    """Seconds from the moment that a service stops serving until the rollout of others is stopped."""
    found = []
    for _round in range(3):
        with serving(Service) as server, tempfile.TemporaryDirectory() as scratch:
            server.turned = threading.Event()
            progress = Path(scratch) / "progress"
            found.append(one_stop(server, progress, Path(scratch)))
    return found


def one_stop(server, progress: Path, folder: Path) -> float:
    from tests.conftest import sandbox_env
    from tests.images import tiny
    from tests.integration.rollout.test_compose import Project, served

    env = sandbox_env()
    os.environ.update(env)
    v1, v2 = (tiny(env["REGISTRY"], version) for version in ("v1", "v2"))
    project = Project(folder)
    project.write("services:" + served("shop", v1))
    project.up()
    check = {"name": "shop is served", "http": {"url": f"{server.url}/turning"}}
    monitor = {"checks": [check], "interval": INTERVAL, "consecutive": 2, "bake": 300}
    try:
        process = start_module(
            "service_rollout", **project.arguments({"shop": v2}, monitor=monitor), progress_file=str(progress)
        )
        await_text(progress, "shop: healthy")
        server.turned.set()
        turned = time.monotonic()
        await_text(progress, "rollout: failed")
        seconds = time.monotonic() - turned
        result = finish_module(process)
        if result["rolled_back"] != ["shop"]:
            raise RuntimeError(result["msg"])
        return seconds
    finally:
        project.end()


def await_text(file: Path, text: str) -> None:
    deadline = time.monotonic() + 120
    while not file.exists() or text not in file.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {text!r} in {file}")
        time.sleep(0.02)


def measure() -> Table:
    table = Table(
        "Gates",
        "`health_gate` asks all at once; a loop over `ansible.builtin.uri` asks one after the other, and a bad address "
        "keeps all that come after it waiting. Both ask the bad one equally often, with the same pauses.",
    )
    loop, gate = hundred()
    table.at_least(
        f"{CHECKS} HTTP checks, one of them slow and failing: faster than a loop of `ansible.builtin.uri` with retries",
        loop[0] / max(gate),
        20,
        detail=f"{loop[0]:.1f} s against {max(gate):.1f} s, the task alone; {ATTEMPTS} attempts at the bad one",
    )
    seconds = stopped()
    table.at_most(
        f"a breach stops a rollout on Compose, watched every {INTERVAL:g} s",
        max(seconds) / INTERVAL,
        2,
        "intervals",
        f"the slowest of {len(seconds)}: {max(seconds):.1f} s from the first bad answer that could be had to the stop",
    )
    return table
