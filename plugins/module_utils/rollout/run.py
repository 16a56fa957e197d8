# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One call of ``service_rollout``, from its parameters to its result."""

from __future__ import annotations

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.process import distinct
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import Redactor

from .engine import BROKEN, ROLLING, STUCK, Engine, Report, Track
from .plan import plan as make_plan
from .plan import services as read_services
from .types import HEALTHY, Cause, Driver, Options, Plan, Problem, Step, Verdict

Json = Dict[str, Any]


class Failed(OpsError):
    """A rollout that failed: a line a fact, and what to type next on the last one."""

    @property
    def message(self) -> str:
        return f"Failed to {self.verb} {self.object}: {self.cause}\n{self.remedy}".rstrip()


def connect(params: Mapping[str, Any]) -> Driver:
    """The driver for ``target``."""
    if params.get("target") == "compose":
        from .compose import connect as compose

        return compose(params)
    from .kube import connect as kubernetes

    return kubernetes(params)


def rollout(
    params: Mapping[str, Any],
    check: bool = False,
    progress: Optional[Progress] = None,
    driver: Optional[Driver] = None,
    monitor: Optional[Callable[[], Optional[str]]] = None,
) -> Json:
    """Does what the module's parameters ask for; gives the module's result.

    :raises OpsError: it could not be planned (then nothing was touched), or it failed (then the result says where
        each service stands).
    """
    progress = progress or Progress()
    wanted = read_services(params["services"], params.get("restart_token"))
    state, release = params.get("state") or "deployed", params.get("release") or ""
    known: List[Problem] = []
    if state == "rolled_back" and params.get("ledger") and params.get("to_revision") is None:
        from . import lookup

        record = lookup.good_release(params, lookup.query_ledger)
        wanted, release = lookup.as_recorded(wanted, record), str(record["release"])
    if params.get("resolve_digests") and state in ("deployed", "rolled_back"):
        from . import lookup

        wanted, known = lookup.pinned(wanted)
    driver = driver or connect(params)
    try:
        wanted = driver.completed(wanted)
        states = driver.observe(wanted)
        histories = (
            {one.name: driver.history(one) for one in wanted if states[one.name].exists}
            if state == "rolled_back"
            else {}
        )
        steps = make_plan(wanted, states, state, release, histories=histories, to_revision=params.get("to_revision"))
        if state == "observed":
            return _observed(driver, steps)
        problems = _examine(driver, steps, params, known)
        result: Json = {
            "changed": steps.changed,
            "plan": [_step(step) for step in steps.steps],
            "warnings": [f"{one.service}: {one.text}" if one.service else one.text for one in problems],
            "diff": _diff(driver, steps),
        }
        if check or all(step.action == "none" for step in steps.steps):
            services = [
                _service(Track(step, "unchanged" if step.action == "none" else "planned")) for step in steps.steps
            ]
            return {**result, "services": services, "rolled_back": []}
        engine = Engine(driver, steps, _options(params), progress, monitor=monitor)
        report = engine.run()
        result.update(
            changed=report.changed,
            services=[_service(track, engine.start) for track in report.tracks],
            rolled_back=report.rolled_back,
            seconds=round(report.seconds, 1),
        )
        if not report.ok:
            raise _failure(report, params, result)
        return result
    finally:
        driver.close()


def _options(params: Mapping[str, Any]) -> Options:
    timeout = float(params.get("timeout") or Options.timeout)
    return Options(
        on_failure=params.get("on_failure") or Options.on_failure,
        max_parallel=int(params.get("max_parallel") or 0),
        timeout=timeout,
        rollback_timeout=float(params.get("rollback_timeout") or timeout),
        soak=max(float(params.get("soak") or 0), float((params.get("monitor") or {}).get("bake") or 0)),
        monitor_interval=0.5,  # the monitor asks in a thread of its own; this only looks at what it found
        graces={code: float(value) for code, value in (params.get("graces") or {}).items()},
    )


def _examine(driver: Driver, steps: Plan, params: Mapping[str, Any], known: Sequence[Problem]) -> List[Problem]:
    """Preflight and dry run; what is not fatal comes back, beside what is known already.

    :raises OpsError: all that is fatal, in one message.
    """
    problems = [*known, *(driver.preflight(steps) if params.get("preflight", True) else [])]
    acting = [step for step in steps.steps if step.acts]
    with ThreadPoolExecutor(max_workers=driver.at_once) as pool:
        refusals = list(pool.map(driver.validate, acting))
    problems += [Problem(step.name, "refused", said) for step, said in zip(acting, refusals) if said]
    fatal = [f"{one.service}: {one.text}" for one in problems if one.fatal]
    if fatal:
        raise OpsError("start", "the rollout", "; ".join(fatal), "Nothing was touched.")
    if acting:
        driver.ready()
    return problems


def _observed(driver: Driver, steps: Plan) -> Json:
    # Verdicts need more than the lists that plans are made of.
    driver.watch()
    services = []
    for step in steps.steps:
        verdict = driver.judge(step.name)
        track = Track(step, verdict.state, verdict, cause=verdict.cause if verdict.state != HEALTHY else None)
        if verdict.state != HEALTHY:
            track.evidence = driver.evidence(step.name)
        services.append(_service(track))
    return {"changed": False, "services": services, "rolled_back": [], "plan": [], "warnings": []}


def _step(step: Step) -> Json:
    return {"name": step.name, "action": step.action, "reason": step.reason}


def _diff(driver: Driver, steps: Plan) -> List[Json]:
    diffs = []
    for step in steps.steps:
        if step.acts:
            before, after = driver.diff(step)
            header = f"{step.service.object} ({step.name})"
            diffs.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": json.dumps(before, indent=2, sort_keys=True) + "\n",
                    "after": json.dumps(after, indent=2, sort_keys=True) + "\n",
                }
            )
    return diffs


def _service(track: Track, start: float = 0.0) -> Json:
    step, verdict = track.step, track.verdict
    redact = Redactor().text
    cause: Optional[Cause] = track.cause
    seconds: Json = {}
    if track.touched:
        end = track.healthy_at if track.healthy_at is not None else track.ended
        seconds["waiting"] = round(max(0.0, track.began - start), 1)
        if end is not None:
            seconds["rolling"] = round(end - track.began, 1)
    if track.back_ended is not None:
        seconds["putting_back"] = round(track.back_ended - track.back_began, 1)
    return {
        "name": step.name,
        "kind": step.service.kind,
        "workload": step.service.workload,
        "action": step.action,
        "reason": step.reason,
        "outcome": track.outcome(),
        "cause": {"code": cause.code, "text": redact(cause.text)} if cause else None,
        "rollback_cause": (
            {"code": track.back_cause.code, "text": redact(track.back_cause.text)} if track.back_cause else None
        ),
        "before": {
            "images": dict(step.before.images),
            "revision": step.before.revision,
            "release": step.before.release,
        },
        "after": {
            "images": dict(step.images),
            "revision": track.revision if step.acts else step.before.revision,
            "release": step.release or step.before.release,
        },
        "ready": verdict.ready,
        "wanted": verdict.wanted,
        "restarts": verdict.restarts,
        "detail": verdict.detail,
        "seconds": seconds,
        "events": [redact(event) for event in track.evidence.get("events") or ()],
        "logs": [
            {"container": log["container"], "text": redact(log["text"])} for log in track.evidence.get("logs") or ()
        ],
    }


def _failure(report: Report, params: Mapping[str, Any], result: Json) -> OpsError:
    """A few lines that an operator can act on; the last is what to type next."""
    failed = [track for track in report.tracks if track.cause is not None]
    stuck = [track for track in report.tracks if track.phase == STUCK]
    lines = [f"{track.name}: {track.cause.text}" for track in failed if track.cause]
    if report.cause is not None and report.cause.text not in " ".join(lines):
        lines.insert(0, report.cause.text)
    log = next((log for track in failed for log in track.evidence.get("logs") or () if log["text"]), None)
    if log is not None:
        last = "\n".join(f"    {line}" for line in distinct(Redactor().text(log["text"]).splitlines())[-5:])
        lines.append(f"last lines of {log['container']}:\n{last}")
    if report.rolled_back:
        lines.append(f"put back and healthy: {', '.join(report.rolled_back)}")
    for track in stuck:
        lines.append(f"NOT PUT BACK: {track.name}: {track.back_cause.text if track.back_cause else 'no reason known'}")
    left = [track for track in report.tracks if track.touched and track.phase in (BROKEN, ROLLING, "healthy")]
    if left:
        lines.append(f"left as they are: {', '.join(f'{track.name} ({track.phase})' for track in left)}")
    skipped = [track.name for track in report.tracks if track.phase == "waiting"]
    if skipped:
        lines.append(f"not started: {', '.join(skipped)}")
    release = f" {params['release']}" if params.get("release") else ""
    first = (stuck or failed or report.tracks)[0]
    return Failed(
        "roll out",
        f"release{release}" if release else ", ".join(track.name for track in report.tracks),
        "\n  ".join(lines),
        next_command(first.step, params, back=first.name in report.rolled_back, stuck=bool(stuck)),
        **{key: value for key, value in result.items() if key != "diff"},
    )


def next_command(step: Step, params: Mapping[str, Any], back: bool, stuck: bool) -> str:
    """What to type to see more of a service that failed, or of one that could not be put back.

    What was put back on Compose has taken its containers along: what they said is in the result.
    """
    if params.get("target") == "compose":
        if back:
            return ""
        compose = params["compose"]
        words = ["docker", *(["--host", compose["docker_host"]] if compose.get("docker_host") else []), "compose"]
        for option, flag in (("project_src", "--project-directory"), ("project_name", "--project-name")):
            if compose.get(option):
                words += [flag, compose[option]]
        for file in compose.get("files") or ():
            words += ["--file", file]
        words += ["logs", "--tail", "100", step.service.workload]
    else:
        words = ["kubectl"]
        for option, flag in (("kubeconfig", "--kubeconfig"), ("context", "--context"), ("namespace", "-n")):
            if params.get(option):
                words += [flag, str(params[option])]
        if stuck:
            words += ["rollout", "history", step.service.object]
        elif back:
            words += ["get", "events", "--field-selector", "type=Warning"]
        else:
            words += ["describe", *step.service.object.split("/")]
    return f"Next: {' '.join(shlex.quote(word) for word in words)}"


__all__ = ["Verdict", "connect", "rollout"]
