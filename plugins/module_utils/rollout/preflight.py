# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What can be known to go wrong before anything is touched."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..kubernetes.api import (
    CLAIMS,
    CONFIG_MAPS,
    LIMIT_RANGES,
    QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Api,
    ApiError,
    Resource,
)
from .claims import claims, unusable
from .types import NONE, Cause, Plan, Problem, Service, Step

Json = Dict[str, Any]

# What a container must say once a quota counts it.
COUNTED = {"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}

# How many of a unit one is, for the quantities of quotas.
UNITS = {
    "": 1.0,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}


def immovable(workload: Json) -> str:
    """Why changing the template would bring nothing about, in words; empty when it would."""
    spec = workload.get("spec") or {}
    if spec.get("paused"):
        return "it is paused: resume it first (kubectl rollout resume)"
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return "its update strategy is OnDelete, so that it never replaces a pod by itself"
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    replicas = spec.get("replicas", 1)
    if workload.get("kind") == "StatefulSet" and replicas and partition >= replicas:
        return f"its partition of {partition} keeps all {replicas} pods at the old template"
    return ""


def gone(service: Service) -> Cause:
    return Cause("driver", f"{service.object} was deleted meanwhile")


def references(template: Mapping[str, Any]) -> Iterator[Tuple[str, str, str]]:
    """The (kind, name, key) that a pod template cannot do without; the key may be empty."""
    spec = template.get("spec") or {}
    if spec.get("serviceAccountName"):
        yield "ServiceAccount", spec["serviceAccountName"], ""
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for source in container.get("envFrom") or ():
            for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if source.get(key) and not source[key].get("optional"):
                    yield kind, source[key].get("name", ""), ""
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if source.get(key) and not source[key].get("optional"):
                    yield kind, source[key].get("name", ""), source[key].get("key", "")
    for volume in spec.get("volumes") or ():
        for part in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
            for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                source = part.get(key)
                if source and not source.get("optional"):
                    name = source.get("secretName") or source.get("name", "")
                    items = [item.get("key", "") for item in source.get("items") or ()] or [""]
                    for item in items:
                        yield kind, name, item


def quantity(text: Any) -> float:
    """A quantity as a number.

    :raises ValueError: it is none.
    """
    said = str(text).strip()
    unit = said.lstrip("+-0123456789.")
    if unit[:1] in ("e", "E") and len(unit) > 1 and unit not in UNITS:
        return float(said)
    return float(said[: len(said) - len(unit)]) * UNITS[unit]


def container_needs(container: Mapping[str, Any]) -> Dict[str, float]:
    """A container's ``requests.*`` and ``limits.*``. What is only limited is requested up to its limit."""
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    groups = {"limits": limits, "requests": {**limits, **(resources.get("requests") or {})}}
    return {f"{group}.{name}": quantity(value) for group, of in groups.items() for name, value in of.items()}


def pod_needs(template: Mapping[str, Any]) -> Dict[str, float]:
    """What one pod counts for in a quota: its containers together, or its neediest init container if that is more."""
    spec = template.get("spec") or {}
    running: Dict[str, float] = {}
    for container in spec.get("containers") or ():
        running = _sum(running, container_needs(container))
    beside: Dict[str, float] = {}  # init containers that go on running
    starting: Dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        needs = container_needs(container)
        at_once = _sum(beside, needs)
        if container.get("restartPolicy") == "Always":
            beside = at_once
        starting = {name: max(starting.get(name, 0.0), at_once.get(name, 0.0)) for name in {**starting, **at_once}}
    running = _sum(running, beside)
    needs = {name: max(running.get(name, 0.0), starting.get(name, 0.0)) for name in {**running, **starting}}
    overhead = {f"requests.{name}": quantity(value) for name, value in (spec.get("overhead") or {}).items()}
    needs = _sum(needs, overhead)
    short_names = {name.partition(".")[2]: value for name, value in needs.items() if name.startswith("requests.")}
    return {"pods": 1.0, "count/pods": 1.0, **short_names, **needs}


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> Dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def defaulted(template: Json, ranges: Sequence[Json]) -> Json:
    """The template with what LimitRanges give to containers that do not say what they need."""
    items = [item for one in ranges for item in (one.get("spec") or {}).get("limits") or ()]
    given: Dict[str, Dict[str, Any]] = {"limits": {}, "requests": {}}
    for item in items:
        if item.get("type") == "Container":
            given["limits"].update(item.get("default") or {})
            given["requests"].update({**(item.get("default") or {}), **(item.get("defaultRequest") or {})})

    def filled(container: Json) -> Json:
        own = container.get("resources") or {}
        requests = {**(own.get("limits") or {}), **(own.get("requests") or {})}
        return {
            **container,
            "resources": {
                "limits": {**given["limits"], **(own.get("limits") or {})},
                "requests": {**given["requests"], **requests},
            },
        }

    spec = dict(template.get("spec") or {})
    for key in ("initContainers", "containers"):
        if spec.get(key):
            spec[key] = [filled(one) for one in spec[key]]
    return {**template, "spec": spec}


def unspecified(quota: Json, template: Json) -> List[str]:
    """What containers have to say for a quota to let their pod in, and do not; in words."""
    if not counts(quota, template):
        return []
    wanted = {name if "." in name else f"requests.{name}" for name in _hard(quota) if name in COUNTED}
    spec = template.get("spec") or {}
    return [
        f"container {container.get('name')} does not set {name}"
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        for name in sorted(wanted - set(container_needs(container)))
    ]


def must_surge(workload: Json) -> bool:
    """Whether the first new pod comes before any old one goes."""
    spec = workload.get("spec") or {}
    if workload.get("kind") != "Deployment" or (spec.get("strategy") or {}).get("type") == "Recreate":
        return False
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    replicas = spec.get("replicas", 1)
    surge = _of(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    # Where both come to nothing, Kubernetes lets one pod go first.
    return replicas > 0 and surge > 0 and _of(rolling.get("maxUnavailable", "25%"), replicas, math.floor) == 0


def _of(allowed: Any, replicas: int, rounded: Callable[[float], int]) -> int:
    text = str(allowed)
    return rounded(replicas * int(text[:-1]) / 100) if text.endswith("%") else int(text)


def together(plan: Plan, max_parallel: int = 0) -> List[List[str]]:
    """The services that start at the same moment, because they wait for the same ones."""
    waiting = [step for step in plan.steps if step.action != NONE]
    names = {step.name for step in waiting}
    groups: Dict[FrozenSet[str], List[str]] = {}
    for step in waiting:
        groups.setdefault(frozenset(names & set(step.service.depends_on)), []).append(step.name)
    return [group[: max_parallel or len(group)] for group in groups.values()]


def short_of(quota: Json, needs: Mapping[str, float]) -> List[str]:
    """What of a quota does not suffice for these needs, in words."""
    missing = []
    for name, hard in _hard(quota).items():
        used = ((quota.get("status") or {}).get("used") or {}).get(name, "0")
        if name in needs and quantity(used) + needs[name] > quantity(hard) + 1e-9:
            missing.append(f"{name} ({used} of {hard} used)")
    return missing


def _scopes(quota: Json) -> List[Json]:
    spec = quota.get("spec") or {}
    plain = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return [*plain, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def counts(quota: Json, template: Json) -> bool:
    """Whether a pod of this template (with its defaults) counts in a quota. No, where a template does not tell."""
    return all(_in_scope(scope, template.get("spec") or {}) for scope in _scopes(quota))


def _in_scope(scope: Json, spec: Json) -> bool:
    name = scope.get("scopeName")
    if name in ("BestEffort", "NotBestEffort"):
        every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        needs = [pair for one in every for pair in container_needs(one).items()]
        said = any(value and what.endswith((".cpu", ".memory")) for what, value in needs)
        return said == (name == "NotBestEffort")
    if name in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) == (name == "Terminating")
    if name == "PriorityClass" and spec.get("priorityClassName"):
        # Without a name the cluster's default class may be it.
        asked = {"key": name, "operator": scope.get("operator"), "values": scope.get("values")}
        return selects({"matchExpressions": [asked]}, {name: spec["priorityClassName"]})
    return False


def _hard(quota: Json) -> Json:
    return (quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}


def preflight(
    api: Api, acting: Sequence[Tuple[Step, Json, Optional[Json]]], groups: Sequence[Sequence[str]] = ()
) -> List[Problem]:
    """All that is wrong with what the steps name and need.

    :param acting: the steps that write, each with its pod template and its workload as it stands.
    :param groups: the names of those that start at the same moment.
    """
    if not acting:
        return []
    problems: List[Problem] = []
    known: Dict[Tuple[str, str], Any] = {}
    for step, template, workload in acting:
        problems += _references(api, step, template, known)
        if workload is not None and (workload.get("spec") or {}).get("replicas") == 0:
            problems.append(Problem(step.name, "no_replicas", "it has no replicas: nothing will prove it", False))
    return [*problems, *_claims(api, acting), *_quotas(api, acting, groups), *_budgets(api, acting)]


def _quotas(
    api: Api, acting: Sequence[Tuple[Step, Json, Optional[Json]]], groups: Sequence[Sequence[str]]
) -> List[Problem]:
    quotas = _tried(lambda: api.list(QUOTAS)[0])
    if isinstance(quotas, ApiError):
        return [Problem("", "unchecked", f"quotas were not checked: {quotas.message}", False)]
    if not quotas:
        return []
    ranges = _tried(lambda: api.list(LIMIT_RANGES)[0])
    problems: List[Problem] = []
    if isinstance(ranges, ApiError):
        problems.append(Problem("", "unchecked", f"limit ranges were not checked: {ranges.message}", False))
        ranges = None
        # Whether a pod counts in a scope may hang on its defaults.
        quotas = [quota for quota in quotas if not _scopes(quota)]
    surges: Dict[str, Json] = {}
    for step, bare, workload in acting:
        if workload is None or (workload.get("spec") or {}).get("replicas") == 0:
            continue
        template = defaulted(bare, ranges or ())
        if must_surge(workload):
            surges[step.name] = template
        for quota in quotas:
            unsaid = unspecified(quota, template) if ranges is not None else []
            if unsaid:
                text = f"quota {quota['metadata']['name']} lets no pod in that does not say its needs: "
                problems.append(Problem(step.name, "quota", text + ", ".join(unsaid)))
    return problems + _room(quotas, surges, groups)


def _room(quotas: Sequence[Json], surges: Mapping[str, Json], groups: Sequence[Sequence[str]]) -> List[Problem]:
    """Whether there is room for the pods that come before others go: for each by itself, then for all at once.

    :param surges: their templates, by service.
    """
    problems: List[Problem] = []
    for quota in quotas:
        counted = {name: pod_needs(template) for name, template in surges.items() if counts(quota, template)}
        full = f"quota {quota['metadata']['name']} has no room for"
        alone: Set[str] = set()
        for name, needs in counted.items():
            missing = short_of(quota, needs)
            if missing:
                alone.add(name)
                problems.append(Problem(name, "quota", f"{full} one more pod: {', '.join(missing)}"))
        for group in groups:
            names = [name for name in group if name in counted and name not in alone]
            needs = {}
            for name in names:
                needs = _sum(needs, counted[name])
            missing = short_of(quota, needs) if len(names) > 1 else []
            if missing:
                text = (
                    f"{full} one more pod of each of {', '.join(names)} at once: {', '.join(missing)}; "
                    "a lower max_parallel rolls them one after the other"
                )
                problems.append(Problem("", "quota", text))
    return problems


def _references(api: Api, step: Step, template: Json, known: Dict[Tuple[str, str], Any]) -> List[Problem]:
    resources: Dict[str, Resource] = {
        "Secret": SECRETS,
        "ConfigMap": CONFIG_MAPS,
        "ServiceAccount": SERVICE_ACCOUNTS,
    }
    problems: List[Problem] = []
    told: Set[str] = set()
    for kind, name, key in references(template):
        if (kind, name) not in known:
            known[kind, name] = _tried(lambda kind=kind, name=name: _keys(api.get(resources[kind], name)))  # type: ignore[misc]
        found = known[kind, name]
        if isinstance(found, ApiError):
            missing = found.status == 404
            text = f"{kind} {name} does not exist" if missing else f"{kind} {name} was not checked: {found.message}"
            problem = Problem(step.name, "config_missing" if missing else "unchecked", text, missing)
        elif key and key not in found:
            problem = Problem(step.name, "config_missing", f"{kind} {name} has no key {key}")
        else:
            continue
        if problem.text not in told:
            told.add(problem.text)
            problems.append(problem)
    return problems


def _claims(api: Api, acting: Sequence[Tuple[Step, Json, Optional[Json]]]) -> List[Problem]:
    needed = {
        (step.name, name): (must, must_surge(workload))
        for step, template, workload in acting
        if workload is not None
        for name, must in claims(template, workload)
    }
    if not needed:
        return []
    listed = _tried(lambda: api.list(CLAIMS)[0])
    if isinstance(listed, ApiError):
        return [Problem("", "unchecked", f"volume claims were not checked: {listed.message}", False)]
    known = {one["metadata"]["name"]: one for one in listed}
    problems = []
    for (service, name), (must, surges) in needed.items():
        if name in known:
            text, sure = unusable(known[name], surges)
            if text:
                problems.append(Problem(service, "volume", text, sure))
        elif must:
            problems.append(Problem(service, "config_missing", f"PersistentVolumeClaim {name} does not exist"))
    return problems


def _keys(thing: Json) -> Set[str]:
    # The values of secrets are none of our business: only names leave this function.
    return {*(thing.get("data") or {}), *(thing.get("binaryData") or {})}


def _budgets(api: Api, acting: Sequence[Tuple[Step, Json, Optional[Json]]]) -> List[Problem]:
    """Budgets that are overdrawn already. They bind evictions, not rollouts: worth a word, not a stop."""
    groups = _tried(lambda: api.json("GET", "/apis/policy"))
    if isinstance(groups, ApiError):
        return []
    path = f"/apis/{groups['preferredVersion']['groupVersion']}"
    budgets = _tried(lambda: api.list(Resource(path, "poddisruptionbudgets", "PodDisruptionBudget"))[0])
    if isinstance(budgets, ApiError):
        return []
    problems = []
    for step, template, dummy in acting:
        labels = (template.get("metadata") or {}).get("labels") or {}
        for budget in budgets:
            status = budget.get("status") or {}
            if selects((budget.get("spec") or {}).get("selector"), labels) and status.get(
                "currentHealthy", 0
            ) < status.get("desiredHealthy", 0):
                text = (
                    f"PodDisruptionBudget {budget['metadata']['name']} is overdrawn already: "
                    f"{status.get('currentHealthy', 0)} of {status.get('desiredHealthy', 0)} pods are healthy"
                )
                problems.append(Problem(step.name, "budget", text, False))
    return problems


def selects(selector: Optional[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    """Whether a label selector means an object with these labels. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for one in selector.get("matchExpressions") or ():
        key, operator, values = one.get("key", ""), one.get("operator"), one.get("values") or ()
        holds = {
            "In": key in labels and labels[key] in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not holds.get(operator, False):
            return False
    return True


def _tried(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ApiError as error:
        return error
