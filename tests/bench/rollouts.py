"""service_rollout against what people use in its place, on the sandbox's cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.eazepay.ops.plugins.module_utils.rollout.run import rollout

from tests.bench.table import Table, race
from tests.conftest import ROOT, sandbox_env
from tests.images import tiny
from tests.kubernetes import Namespace, container, namespace, until, workload

SIX = [f"service-{number}" for number in range(6)]
SAMPLE = 10  # of the hundred, that the loop is measured on
SIZES = (25, 50, 100, 200)

# The tasks take turns within one play, so that starting Ansible counts for neither.
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    times: []
  tasks:
    - ansible.builtin.include_tasks: round.yml
      loop: "{{ range(rounds) | list }}"
    - ansible.builtin.copy: {content: "{{ times | to_json }}", dest: "{{ playbook_dir }}/times", mode: "0600"}
"""
ROUND = """
- ansible.builtin.set_fact: {t0: "{{ now(utc=true).timestamp() }}"}
- eazepay.ops.service_rollout:
    namespace: "{{ namespace }}"
    services: "{{ services }}"
  register: ours
- ansible.builtin.set_fact: {t1: "{{ now(utc=true).timestamp() }}"}
- kubernetes.core.k8s:
    namespace: "{{ namespace }}"
    definition: "{{ each }}"
    wait: true
  loop: "{{ definitions }}"
  loop_control: {loop_var: each, label: "{{ each.metadata.name }}"}
  register: theirs
- ansible.builtin.set_fact: {t2: "{{ now(utc=true).timestamp() }}"}
- ansible.builtin.assert: {that: [ours is not changed, theirs is not changed]}
- ansible.builtin.set_fact:
    times: "{{ times + [[t1 | float - t0 | float, t2 | float - t1 | float]] }}"
"""


def unchanged(shop: Namespace, services: list[dict], definitions: list[dict], rounds: int = 3) -> tuple[float, float]:
    """The median seconds of one task of ours, and of a loop over kubernetes.core.k8s; nothing differs for either."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "play.yml").write_text(PLAY)
        (folder / "round.yml").write_text(ROUND)
        given = {"namespace": shop.name, "services": services, "definitions": definitions, "rounds": rounds}
        (folder / "vars.json").write_text(json.dumps(given))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [program, str(folder / "play.yml"), "-i", "localhost,", "-e", f"@{folder}/vars.json"],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        times = json.loads((folder / "times").read_text())
    ours, theirs = (sorted(column)[len(times) // 2] for column in zip(*times, strict=True))
    return ours, theirs


def done(result: dict[str, Any]) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    return result


def peak(process: subprocess.Popen) -> float:
    """Awaits a module that ends well; the MiB that it had at most."""
    assert process.stdout
    printed = process.stdout.read()
    _, process.returncode, usage = os.wait4(process.pid, 0)
    assert process.returncode == 0, printed
    return usage.ru_maxrss / 1024


def needed(shop: Namespace, names: list[str]) -> float:
    """The MiB that a call takes at most in which nothing differs."""
    given = shop.arguments([{"name": name} for name in names])
    rollout(given)  # what is imported counts for neither
    tracemalloc.start()
    try:
        result = rollout(given)
        assert not result["changed"]
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def roll(shop: Namespace, images: list[str]) -> dict[str, Callable[[], object]]:
    """Both ways to roll all six; each goes to the other image with every turn."""

    def other() -> str:
        images.reverse()
        return images[0]

    def ours() -> None:
        image = other()
        done(shop.rollout([{"name": name, "image": image} for name in SIX]))

    def theirs() -> None:
        image = other()
        for name in SIX:
            shop.kubectl("set", "image", f"deployment/{name}", f"app={image}")
        for name in SIX:
            shop.kubectl("rollout", "status", f"deployment/{name}", "--timeout=110s")

    return {"ours": ours, "kubectl": theirs}


def verdicts(shop: Namespace, v1: str, v2: str, registry: str) -> tuple[dict[str, float], float]:
    """Seconds from the cluster's first event to the verdict; and until six services were put back and proved."""
    password = [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}}]
    shop.put("Secret", "keys", stringData={"password": "x"})
    shop.apply(
        workload("image", [container(v1)]),
        workload("key", [container(v1, env=password)]),
        workload("quota", [container(v1, resources={})]),
    )
    shop.settled()
    shop.kubectl("patch", "secret", "keys", "--type=json", "-p", '[{"op": "remove", "path": "/data/password"}]')
    shop.put("ResourceQuota", "small", spec={"scopes": ["BestEffort"], "hard": {"pods": "1"}})
    until(lambda: (shop.get("resourcequota", "small").get("status") or {}).get("used") == {"pods": "1"})
    missing = f"{registry}/t/tiny:nowhere"
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch) / "lines"
        asked = [{"name": "image", "image": missing}, {"name": "key", "image": v2}, {"name": "quota", "image": v2}]
        broken = [
            *({"name": name, "image": v2} for name in SIX[:5]),
            {"name": SIX[5], "image": missing, "depends_on": list(SIX[:5])},
        ]
        shop.rollout(asked, on_failure="hold", preflight=False, progress_file=str(lines))
        events = [json.loads(line) for line in lines.read_text().splitlines()]
    told = {one["data"]["service"]: one["at"] for one in events if one["data"].get("code")}
    began = int(events[0]["at"])
    after = {}
    for name in ("image", "key", "quota"):
        firsts = [
            datetime.fromisoformat(one["firstTimestamp"] or one["eventTime"]).timestamp()
            for one in shop.items("events")
            if one["type"] == "Warning" and one["involvedObject"]["name"].startswith(f"{name}-")
        ]
        after[name] = told[name] - min(at for at in firsts if at >= began)
    for name in SIX:
        shop.kubectl("set", "image", f"deployment/{name}", f"app={v1}")
    for name in SIX:
        shop.kubectl("rollout", "status", f"deployment/{name}", "--timeout=110s")
    result = shop.rollout(broken)
    assert set(result["rolled_back"]) == set(SIX), result["msg"]
    return after, max(one["seconds"]["putting_back"] for one in result["services"])


def empty(name: str, image: str) -> dict:
    return workload(name, [container(image)], replicas=0)


def chart(times: dict[int, float]) -> str:
    top = int(max(times.values()) * 1.2) + 1
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta",
            '  title "Seconds to roll Deployments without pods in one call"',
            f"  x-axis [{', '.join(map(str, times))}]",
            f'  y-axis "seconds" 0 --> {top}',
            f"  line [{', '.join(f'{value:.2f}' for value in times.values())}]",
            "```",
        ]
    )


def measure() -> Table:
    env = sandbox_env()
    os.environ.update(env)
    load = os.getloadavg()[0]
    v1, v2 = (tiny(env["REGISTRY"], version) for version in ("v1", "v2"))
    table = Table(
        "Rollouts",
        "`service_rollout` on the sandbox's cluster, against a loop over `kubernetes.core.k8s` with `wait`, and "
        "against `kubectl set image` on all at once with `kubectl rollout status` on each.",
    )
    with namespace(env) as shop:
        six = {name: workload(name, [container(v1)]) for name in SIX}
        shop.apply(*six.values())
        shop.settled()
        ours, theirs = unchanged(shop, [{"name": name, "image": v1} for name in SIX], list(six.values()), rounds=5)
        table.at_least(
            "six unchanged services",
            theirs / ours,
            8,
            detail=f"{ours:.2f} s, the loop {theirs:.2f} s; the median of five each, in turn",
        )
        times = race(roll(shop, [v1, v2]), rounds=5)
        detail = f"{times['ours']:.1f} s, kubectl {times['kubectl']:.1f} s; the median of five each, in turn"
        table.at_most("six services rolled", times["ours"] / times["kubectl"], 1.25, detail=detail)
        after, back = verdicts(shop, v1, v2, env["REGISTRY"])
        detail = ", ".join(f"{name} {value:.1f} s" for name, value in after.items()) + "; events tell whole seconds"
        table.at_most("verdict after the first event", max(after.values()), 5, "s", detail)
        table.at_most(
            "six services put back and proved", back, 60, "s", "five were rolled when the last one's image was missing"
        )
    with namespace(env) as shop:
        names = [f"empty-{number:03}" for number in range(max(SIZES))]
        every = {name: empty(name, v1) for name in names}
        shop.apply(*every.values())
        shop.settled()
        hundred = [{"name": name, "image": v1} for name in names[:100]]
        ours, theirs = unchanged(shop, hundred, [every[name] for name in names[:SAMPLE]], rounds=1)
        whole = theirs * 100 / SAMPLE
        detail = f"{ours:.2f} s; the loop {theirs:.2f} s for {SAMPLE}, taken times {100 // SAMPLE}"
        table.at_least("a hundred unchanged Deployments", whole / ours, 40, detail=detail)
        times: dict[int, list[float]] = {size: [] for size in SIZES}
        held: dict[int, float] = {}
        for number in range(3):
            for size in SIZES:
                services = [{"name": name} for name in names[:size]]
                began = time.monotonic()
                held[size] = peak(shop.start(services, state="restarted", restart_token=f"{number}-{size}"))
                times[size].append(time.monotonic() - began)
        # Whatever else the machine does only adds to it.
        took = {size: min(of) for size, of in times.items()}
        detail = ", ".join(f"{size}: {value:.1f} s" for size, value in took.items()) + "; the best of three, in turn"
        # Twice as many may not take more than twice as long; a tenth is the machine's.
        worst = max(took[size] / took[size // 2] / 2 for size in SIZES[1:])
        table.at_most("each doubling of the Deployments in one call, over twice the time", worst, 1.1, detail=detail)
        few, many = SIZES[0], SIZES[-1]
        used = {size: needed(shop, names[:size]) for size in (few, many)}
        detail = (
            f"{many} unchanged with {used[many]:.1f} MiB, {few} with {used[few]:.1f} MiB, of Python's own count; the "
            f"process when they are rolled {held[many]:.0f} and {held[few]:.0f} MiB"
        )
        table.at_most("memory of many over that of few, of the same lists", used[many] / used[few], 1.1, detail=detail)
    table.about += f" The machine's load was {load:.0f} at the beginning and {os.getloadavg()[0]:.0f} at the end."
    table.about += f"\n\n{chart(took)}"
    return table
