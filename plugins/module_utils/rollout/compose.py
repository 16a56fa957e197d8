# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The Compose driver: a project's services by an override file that stands beside the project's own files.

The override holds each rolled service's image, so that a plain ``docker compose -f ... -f <override> up`` comes to the
same; and, where Compose does not look, what is needed to come back.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.images.registry import Registry, split

from . import compose_verdict as pure
from .compose_project import STATE, Board, Project
from .compose_replace import Replacement
from .compose_verdict import GENERATION, SOAK, Container, Target
from .images import parse
from .order import Cycle, ordered
from .types import (
    FAILED,
    FAILING,
    HEALTHY,
    PROGRESSING,
    ROLL,
    Cause,
    Driver,
    Plan,
    Problem,
    Revision,
    Service,
    State,
    Step,
    Verdict,
)

Json = Dict[str, Any]

TOKEN = "ops-rollout.restart"  # noqa: S105
KEPT = 10  # earlier states of each service
PULLING = 1800.0


def connect(params: Mapping[str, Any]) -> Driver:
    """The driver for the project that the module's ``compose`` option names."""
    given = params.get("compose") or {}
    return Compose(
        Project(
            given["project_src"],
            given.get("project_name"),
            given.get("files") or (),
            given.get("env_files") or (),
            given.get("profiles") or (),
            given.get("docker_host"),
        )
    )


class Compose(Driver):
    """All services of one project on one engine."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.board = Board(project)
        self.base: Dict[str, Json] = {}
        self.workloads: Dict[str, str] = {}
        self.shots: Dict[str, Optional[bool]] = {}
        self.counts: Dict[str, int] = {}
        self.targets: Dict[str, Target] = {}
        self.work: Dict[str, Replacement] = {}
        self.refused: Dict[str, Cause] = {}
        self.steps: List[Step] = []
        self.pulled = False
        self.ids: Dict[str, str] = {}  # of the images that were pulled
        self.seen = -1

    # Looking.

    def _read(self) -> None:
        if self.project.services:
            return
        reads = [self.project.read]
        plain = self.project
        if self.project.content()["services"]:
            # Without the override too, to know what comes back when an entry is taken out of it.
            plain = Project.__new__(Project)
            plain.__dict__.update(self.project.__dict__, override="", services={})
            reads.append(plain.read)
        with ThreadPoolExecutor(max_workers=2) as pool:
            for read in [pool.submit(one) for one in reads]:
                read.result()
        self.base = {name: dict(one) for name, one in plain.services.items()}

    def completed(self, services: List[Service]) -> List[Service]:
        """The services with the ``depends_on`` of the Compose file, where the caller names none."""
        self._read()
        names = {one.workload: one.name for one in services}
        found = []
        for one in services:
            needed = (self.project.services.get(one.workload) or {}).get("depends_on") or {}
            known = tuple(names[other] for other in needed if other in names and names[other] != one.name)
            found.append(replace(one, depends_on=one.depends_on or known))
        try:
            ordered({one.name: one.depends_on for one in found})
        except Cycle:
            return list(services)
        return found

    def observe(self, services: Iterable[Service]) -> Dict[str, State]:
        self._read()
        content, containers = self.project.content(), self.board.refresh()
        return {one.name: self._state(one, content, containers) for one in services}

    def _state(self, service: Service, content: Json, containers: Sequence[Container]) -> State:
        workload = service.workload
        self.workloads[service.name] = workload
        spec = self.base.get(workload) and self.project.services.get(workload)
        if not spec:
            known = ", ".join(sorted(self.base)) or "none"
            return State(service.name, exists=False, problem=f"the project has no service {workload}, only {known}")
        mine = pure.pick(containers, workload)
        shot = self.shots[workload] = pure.one_shot(workload, self.project.services, mine)
        standing = [
            one for one in mine if one.alive or (shot is not False and one.status == "exited" and one.exit_code == 0)
        ]
        record, entry = content[STATE].get(workload) or {}, content["services"].get(workload)
        unfinished = record.get("unfinished")
        configured = self._image(spec, workload)
        labels = (entry or {}).get("labels") or {}
        generation = labels.get(GENERATION, "")
        wanted = service.images.get(workload) or service.images.get("") or ""
        count = max(len(standing), pure.replicas(spec))
        if unfinished is not None:
            count = max(int(unfinished.get("replicas") or 0), pure.replicas(spec))
        self.counts[workload] = count
        image = pure.found_image(wanted, configured, standing)
        if not standing and count == 0:
            image = configured
        if unfinished is not None and (len(standing) < count or any(one.generation != generation for one in standing)):
            # A run died half-way here: whatever was asked for, it has to be brought about.
            image = next((one.image for one in standing if one.image != wanted), "")
        first = standing[0] if standing else None
        snapshot = {
            "entry": entry,
            "image": first.image if first else configured,
            "image_id": first.image_id if first else "",
            "generation": first.generation if first else generation,
            "replicas": count if standing else 0,
            "release": record.get("release") or _tag(first.image if first else ""),
        }
        target = Target(
            snapshot["image"], snapshot["image_id"], snapshot["generation"], count, None if shot is None else shot
        )
        self.targets[workload] = target
        verdict = pure.judge(target, mine, {one.id: True for one in mine})
        return State(
            name=service.name,
            images={workload: image},
            main=(workload,),
            revision=str(record.get("revision") or 1),
            release=snapshot["release"],
            restart_token=labels.get(TOKEN) if not first or first.generation == generation else None,
            replicas=count,
            settled=verdict.state == HEALTHY and unfinished is None,
            snapshot=snapshot,
            unfinished=unfinished,
            unfinished_images={workload: unfinished["image"]} if unfinished else {},
            unfinished_release=(unfinished or {}).get("release") or "",
        )

    def _image(self, spec: Mapping[str, Any], workload: str) -> str:
        return spec.get("image") or f"{self.project.name}-{workload}"

    def history(self, service: Service) -> List[Revision]:
        record = self.project.content()[STATE].get(service.workload) or {}
        past = [
            Revision(one["revision"], {service.workload: one["image"]}, one.get("release") or "", one["snapshot"])
            for one in record.get("history") or ()
        ]
        if not record.get("revision") or record.get("unfinished") is not None:
            return past
        now = self.project.services.get(service.workload) or {}
        current = Revision(
            str(record["revision"]),
            {service.workload: self._image(now, service.workload)},
            record.get("release") or "",
            None,
            current=True,
        )
        return [current, *past]

    def validate(self, step: Step) -> Optional[str]:
        self.steps = [one for one in self.steps if one.name != step.name] + [step]
        return None

    def preflight(self, plan: Plan) -> List[Problem]:
        self.steps = [step for step in plan.steps if step.acts]
        problems = []
        for step in self.steps:
            workload = self.workloads[step.name]
            reason = self._in_place(workload)
            if reason and self.shots[workload] is not True and self.counts[workload]:
                text = f"its old container ends before the new one starts, for {reason}"
                problems.append(Problem(step.name, "gap", text, fatal=False))
        pulled = [step for step in self.steps if step.target is None and step.action == ROLL]
        images = sorted({step.images[self.workloads[step.name]] for step in pulled})
        with ThreadPoolExecutor(max_workers=4) as pool:
            missing = dict(zip(images, pool.map(self._missing, images)))
        for step in pulled:
            said = missing[step.images[self.workloads[step.name]]]
            if said:
                problems.append(Problem(step.name, "image_not_found", said))
        return problems

    def _missing(self, image: str) -> str:
        """Says so when neither this host nor the registry has an image; silent when that cannot be told."""
        if self.project.image_id(image):
            return ""
        parsed = parse(image)
        host, path = split(parsed.repository)
        try:
            found = Registry(host, timeout=10).find(path, parsed.digest or parsed.tag or "latest")
        except OpsError:
            return ""
        return "" if found else f"image {image} is neither on this host nor in its registry"

    def _in_place(self, workload: str) -> str:
        if self.shots.get(workload) is not False:
            return "it may be a job that ends"
        return pure.stop_first(self.project.services[workload])

    # Acting.

    def apply(self, step: Step) -> bool:
        workload = self.workloads[step.name]
        self._pull(step)
        if step.name in self.refused:
            return False
        if step.target is not None:
            return self._go(workload, {**step.target, "replicas": self.counts[workload]}, unfinished=step.back)
        image = step.images[workload]
        image_id = self.ids.get(image) or self.project.image_id(image)
        key = json.dumps([image, image_id, step.restart_token])
        generation = hashlib.sha256(key.encode()).hexdigest()[:16]
        labels = {GENERATION: generation}
        if step.restart_token is not None:
            labels[TOKEN] = step.restart_token
        wanted = {
            "entry": {"image": image, "labels": labels},
            "image": image,
            "image_id": image_id,
            "generation": generation,
            "replicas": self.counts[workload],
            "release": step.release,
        }
        return self._go(workload, wanted, unfinished=step.back)

    def put_back(self, step: Step) -> bool:
        workload = self.workloads[step.name]
        if workload in self.work:
            self.work[workload].stop()
        elif step.name in self.refused:
            # Nothing was written: it stands as it stood.
            self.refused.pop(step.name)
            self.targets[workload] = self._target(workload, step.back)
            return False
        self.refused.pop(step.name, None)
        return self._go(workload, step.back, unfinished=step.back)

    def _go(self, workload: str, wanted: Json, unfinished: Any) -> bool:
        """Writes the override, with what to come back to, and starts to replace the containers."""
        entry = self._present(workload, wanted)
        content = self.project.content()
        before = json.dumps(content, sort_keys=True)
        if entry is None:
            content["services"].pop(workload, None)
        else:
            content["services"][workload] = entry
        content[STATE].setdefault(workload, {})["unfinished"] = unfinished
        if json.dumps(content, sort_keys=True) != before:
            self.project.write(content)
        target = self.targets[workload] = self._target(workload, wanted)
        work = self.work[workload] = Replacement(self.project, self.board, workload, target, self._in_place(workload))
        work.start()
        return True

    def _target(self, workload: str, wanted: Json) -> Target:
        return Target(
            wanted["image"],
            wanted["image_id"],
            wanted.get("generation") or "",
            int(wanted["replicas"]),
            self.shots[workload],
        )

    def _present(self, workload: str, wanted: Json) -> Optional[Json]:
        """Sees to it that the image of a state is here, also when its tag has moved on; gives the override's entry."""
        image, known = wanted["image"], wanted["image_id"]
        entry = wanted.get("entry")
        if entry is None and image != self._image(self.base[workload], workload):
            entry = {"image": image}
        if not known or not wanted["replicas"]:
            return entry
        if self.ids.get(image) == known or self.project.image_id(image) == known:
            return entry
        if self.project.image_id(known):
            if "@" in image:
                return {**(entry or {}), "image": known}
            self.project.docker("tag", known, image)
            self.ids.pop(image, None)
            return entry
        pulled = self.project.docker("pull", "--quiet", image, timeout=PULLING)
        if pulled.rc or self.project.image_id(image) != known:
            raise OpsError("bring back", image, f"its image {known[:19]} is gone from this host and its registry")
        return entry

    def _pull(self, step: Step) -> None:
        """Pulls all images of the plan, once, before the first container is touched."""
        if self.pulled:
            return
        self.pulled = True
        steps = [one for one in self.steps if one.target is None and one.action == ROLL] or [step]
        images = sorted({one.images[self.workloads[one.name]] for one in steps if one.target is None})
        with ThreadPoolExecutor(max_workers=4) as pool:
            causes = dict(zip(images, pool.map(self._pull_one, images)))
        missing = {image: cause for image, cause in causes.items() if cause}
        for one in self.steps if missing else ():
            own = missing.get(one.images.get(self.workloads[one.name], ""))
            image, cause = next(iter(missing.items()))
            text = f"image {image} cannot be pulled, so that nothing is touched: {cause.text}"
            self.refused[one.name] = own or Cause(cause.code, text)

    def _pull_one(self, image: str) -> Optional[Cause]:
        if "@" in image:
            self.ids[image] = self.project.image_id(image)
            if self.ids[image]:
                return None
        ended = self.project.docker("pull", "--quiet", image, timeout=PULLING)
        self.ids[image] = self.project.image_id(image)
        # A registry that is away does no harm when the image is here already.
        if ended.rc == 0 or self.ids[image]:
            return None
        cause = pure.refusal(ended.stderr)
        return Cause(cause.code, f"image {image} cannot be pulled: {cause.text}")

    # Following.

    def watch(self) -> None:
        """One look is all that there will be: what runs without a healthcheck is taken for well."""
        self.board.steady_since = {one.id: (one.started, float("-inf")) for one in self.board.containers}

    def changes(self, timeout: float) -> Set[str]:
        self.board.start()
        self.seen = self.board.wait(self.seen, timeout)
        return set(self.workloads)

    def judge(self, name: str) -> Verdict:
        workload = self.workloads[name]
        if name in self.refused:
            return Verdict(FAILED, self.refused[name], wanted=self.counts[workload])
        containers = pure.pick(self.board.containers, workload)
        verdict = pure.judge(self.targets[workload], containers, self.board.steady(SOAK))
        work = self.work.get(workload)
        if self.board.error:
            return replace(verdict, state=FAILING, cause=Cause("driver", self.board.error))
        if work is None:
            return verdict
        if work.cause is not None:
            return replace(verdict, state=FAILED, cause=self._why(work.cause, verdict))
        if not work.begun and verdict.state in (FAILING, FAILED):
            return replace(verdict, state=PROGRESSING, cause=None)
        if work.gap is not None:
            verdict = replace(verdict, detail=f"{verdict.detail}, {work.gap:.1f} s without it")
        if verdict.state == HEALTHY and not work.done:
            verdict = replace(verdict, state=PROGRESSING)
        if verdict.state == PROGRESSING and self.project.away_since is not None:
            verdict = replace(verdict, detail="the Docker engine does not answer")
        return verdict

    def _why(self, said: Cause, verdict: Verdict) -> Cause:
        # Docker's own words about a container tell more than Compose's about its command.
        return verdict.cause if verdict.cause is not None else said

    def evidence(self, name: str) -> Dict[str, Any]:
        workload = self.workloads[name]
        target = self.targets[workload]
        steady = self.board.steady(SOAK)
        events, logs = [], []
        for one in pure.pick(self.board.containers, workload):
            if not target.matches(one):
                continue
            state, cause = pure.fault(one, target, bool(steady.get(one.id)))
            if cause is not None:
                events.append(f"{one.id[:12]}: {cause.text}")
            if state != HEALTHY:
                logs.append({"container": f"{workload} ({one.id[:12]})", "text": self.project.logs(one)})
        return {"events": events, "logs": logs}

    # Remembering.

    def finish(self, step: Step) -> None:
        workload = self.workloads[step.name]
        content = self.project.content()
        record = content[STATE].setdefault(workload, {})
        before = step.back
        if before is not None:
            number = int(record.get("revision") or 1)
            past = {
                "revision": str(number),
                "image": before["image"],
                "release": before.get("release") or "",
                "snapshot": before,
            }
            kept = [past] if before["replicas"] else []
            record["history"] = [*kept, *(record.get("history") or [])][:KEPT]
            record["revision"] = number + 1
        record["release"] = step.release or _tag(step.images.get(workload, ""))
        record.pop("unfinished", None)
        self.project.write(content)

    def close(self) -> None:
        for workload, work in self.work.items():
            work.stop()
            # Proved to stand as before: there is nothing left to come back from.
            content = self.project.content()
            record = content[STATE].get(workload) or {}
            if work.done and self._is_back(record.get("unfinished"), work.target):
                record.pop("unfinished")
                self.project.write(content)
        self.board.close()

    def _is_back(self, unfinished: Any, target: Target) -> bool:
        return unfinished is not None and (unfinished["image_id"], unfinished.get("generation") or "") == (
            target.image_id,
            target.generation,
        )


def _tag(image: str) -> str:
    try:
        return parse(image).tag
    except ValueError:
        return ""
